// Passkeys in the browser: what the gate asks goes in, what the gate checks comes out, both as JSON (WebAuthn level 3).
import { call, Refusal } from './api.ts';
import { t } from './text.ts';

/** Some browsers know passkeys, but not their JSON. */
export const knowsPasskeys = (): boolean =>
  typeof PublicKeyCredential === 'function' && 'parseRequestOptionsFromJSON' in PublicKeyCredential;

type Answered = { id: string; type: string };

/** @throws Refusal when its owner gave up, or the browser refused */
export async function makePasskey(user: string): Promise<Answered> {
  const options = await call('user.passkey-ask', { params: { name: user } });
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options as never);
  return answer(navigator.credentials.create({ publicKey }));
}

/** @throws Refusal as above */
export async function showPasskey(): Promise<Answered> {
  const options = await call('auth.passkey-ask');
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options as never);
  return answer(navigator.credentials.get({ publicKey }));
}

async function answer(asked: Promise<Credential | null>): Promise<Answered> {
  const credential = await asked.catch((error: unknown) => {
    const isKnown = error instanceof DOMException && error.name === 'InvalidStateError';
    throw new Refusal('invalid', t(isKnown ? 'passkeyKnown' : 'passkeyNot'));
  });
  return (credential as PublicKeyCredential).toJSON() as Answered;
}
