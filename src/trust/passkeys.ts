// Passkeys (WebAuthn level 3): set up, listed, taken away, and checked. The library is loaded when first needed.
import { randomBytes } from 'node:crypto';
import type {
  AuthenticationResponseJSON,
  PublicKeyCredentialCreationOptionsJSON,
  PublicKeyCredentialRequestOptionsJSON,
  RegistrationResponseJSON,
} from '@simplewebauthn/server';
import { z } from 'zod';
import { type Clock, systemClock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Log, Principal } from '../core/parts.ts';
import type { PasskeyTable, Store } from '../store/index.ts';
import { createChallenges } from './challenges.ts';
import type { Directory } from './directory.ts';

/** Who the browser is told that it proves itself to. */
export interface PasskeySite {
  /** The RP id: the gate's own host name. */
  readonly id: string;
  /** Pages that may ask, exactly: an endpoint's page on another port of this host is somebody else's. */
  readonly origins: readonly string[];
}

export interface PasskeyOptions {
  readonly store: Store;
  readonly directory: Pick<Directory, 'get' | 'find' | 'vouch' | 'endSignIns'>;
  readonly site: () => PasskeySite;
  readonly clock?: Clock;
  readonly log: Log;
}

export interface Passkey {
  readonly id: string;
  readonly user: string;
  readonly label: string;
  /** Whether its owner's other devices may have it too. */
  readonly synced: boolean;
  readonly transports: readonly string[];
  readonly created: Date;
  readonly used?: Date;
}

export interface Passkeys {
  of(user: string): readonly Passkey[];
  has(user: string): boolean;
  /** What the browser is asked to make. `asker` is the sign-in that asks: nobody else may answer. */
  registration(user: string, asker: string): Promise<PublicKeyCredentialCreationOptionsJSON>;
  /** @throws Fault `invalid`, `conflict`, `limit` */
  add(user: string, asker: string, label: string, response: unknown): Promise<Passkey>;
  /** The sign-ins of its user end. @throws Fault `missing` */
  remove(user: string, id: string): Promise<void>;
  /** What the browser is asked to sign; `purpose` is where it counts. It names nobody, whoever asks. */
  challenge(purpose: string): Promise<PublicKeyCredentialRequestOptionsJSON>;
  /** Whose passkey has signed it, with the user verified. undefined: nobody's that counts here. */
  check(purpose: string, response: unknown): Promise<Principal | undefined>;
}

/** Milliseconds to find the telephone, and to answer a sign-in. */
const life = 5 * 60_000;
const mostOfOne = 20;
/** Without the post-quantum ones: Node calls them experimental, loudly. */
const algorithms = [-8, -7, -257];

const text = (most: number): z.ZodString =>
  z
    .string()
    .regex(/^[A-Za-z0-9_-]+$/)
    .max(most);
const credential = { id: text(1400), rawId: text(1400), type: z.literal('public-key') };
const attested = z.object({
  ...credential,
  response: z.object({
    clientDataJSON: text(8192),
    attestationObject: text(32_768),
    transports: z.array(z.string().max(32)).max(8).optional(),
  }),
});
const asserted = z.object({
  ...credential,
  response: z.object({
    clientDataJSON: text(8192),
    authenticatorData: text(8192),
    signature: text(8192),
    userHandle: text(128),
  }),
});

export async function openPasskeys(options: PasskeyOptions): Promise<Passkeys> {
  const { store, directory, site, clock = systemClock, log } = options;
  const { db } = store;
  const challenges = createChallenges(clock, life);
  const known = new Map<string, PasskeyTable>();
  for (const row of await db.selectFrom('passkey').selectAll().orderBy('created').execute()) known.set(row.id, row);
  const rowsOf = (user: string): PasskeyTable[] => [...known.values()].filter(row => row.user === user);
  directory.vouch('passkey', {
    counts: (id, who) => known.get(id)?.user === who.id,
    of: user => rowsOf(user).map(({ id }) => `passkey:${id}`),
    forget(user) {
      for (const { id } of rowsOf(user)) known.delete(id);
      promised.delete(user);
    },
  });
  const library = (): Promise<typeof import('@simplewebauthn/server')> => import('@simplewebauthn/server');
  /** One a user, random: what the authenticator keeps must not say who somebody is (§14.6.1). */
  const promised = new Map<string, string>();
  const handleOf = (user: string): string => {
    const handle = rowsOf(user)[0]?.handle ?? promised.get(user) ?? randomBytes(32).toString('base64url');
    promised.set(user, handle);
    return handle;
  };
  const expected = () => {
    const { id, origins } = site();
    return { expectedRPID: id, expectedOrigin: [...origins], requireUserVerification: true };
  };

  return {
    of: user => rowsOf(directory.get(user).name).map(passkeyOf),
    has: user => rowsOf(user.normalize('NFC')).length > 0,
    async registration(user, asker) {
      const { name } = directory.get(user);
      const own = rowsOf(name);
      if (own.length >= mostOfOne) throw new Fault('limit', `${name} has ${mostOfOne} passkeys; remove one first`);
      const { id } = site();
      if (/^[\d.]+$|:/.test(id))
        throw new Fault('invalid', `passkeys need a host name; set gate.name, which is ${id} (WebAuthn §5.1.2)`);
      const { generateRegistrationOptions } = await library();
      return generateRegistrationOptions({
        ...{ rpName: `Sekisho ${id}`, rpID: id, userName: name, userDisplayName: name },
        userID: bytesOf(handleOf(name)),
        challenge: bytesOf(challenges.issue(`add ${name} ${asker}`)),
        ...{ timeout: life, attestationType: 'none', supportedAlgorithmIDs: algorithms },
        authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
        excludeCredentials: own.map(row => ({ id: row.id, transports: JSON.parse(row.transports) as [] })),
      });
    },
    async add(user, asker, label, sent) {
      const { name } = directory.get(user);
      const response = readAs(attested, sent);
      const facts = readClientData(response.response.clientDataJSON);
      // None was asked for. A chain of certificates would make the library fetch the lists that strangers name in it.
      await refuseChains(response.response.attestationObject);
      const { verifyRegistrationResponse } = await library();
      const { verified, registrationInfo } = await verifyRegistrationResponse({
        ...expected(),
        response: { ...response, clientExtensionResults: {} } as RegistrationResponseJSON,
        expectedChallenge: challenge => challenges.isGood(challenge, `add ${name} ${asker}`),
        supportedAlgorithmIDs: algorithms,
      }).catch((cause: unknown) => {
        log.info({ user: name, cause: textOf(cause) }, 'a passkey was not accepted');
        throw notAccepted();
      });
      if (!verified || !registrationInfo || !challenges.spend(facts.challenge)) throw notAccepted();
      const own = rowsOf(name);
      if (own.length >= mostOfOne) throw new Fault('limit', `${name} has ${mostOfOne} passkeys; remove one first`);
      const { id, publicKey, counter } = registrationInfo.credential;
      if (known.has(id)) throw new Fault('conflict', 'this passkey is set up already');
      const row: PasskeyTable = {
        ...{ id, user: name, label, counter },
        handle: handleOf(name),
        public_key: Buffer.from(publicKey).toString('base64url'),
        transports: JSON.stringify(response.response.transports ?? []),
        synced: registrationInfo.credentialDeviceType === 'multiDevice' ? 1 : 0,
        created: clock.now().toISOString(),
        used: null,
      };
      await db.insertInto('passkey').values(row).execute();
      known.set(id, row);
      return passkeyOf(row);
    },
    async remove(user, id) {
      const { name } = directory.get(user);
      if (known.get(id)?.user !== name) throw new Fault('missing', `${name} has no passkey ${id}`);
      await db.deleteFrom('passkey').where('id', '=', id).execute();
      known.delete(id);
      await directory.endSignIns(name);
    },
    async challenge(purpose) {
      const { generateAuthenticationOptions } = await library();
      const challenge = bytesOf(challenges.issue(purpose));
      return generateAuthenticationOptions({ rpID: site().id, challenge, timeout: life, userVerification: 'required' });
    },
    async check(purpose, sent) {
      const response = readAs(asserted, sent);
      const row = known.get(response.id);
      const { userHandle } = response.response;
      if (!row || directory.find(row.user)?.state !== 'active') return undefined;
      const { challenge } = readClientData(response.response.clientDataJSON);
      const { verifyAuthenticationResponse } = await library();
      const answer = await verifyAuthenticationResponse({
        ...expected(),
        response: { ...response, clientExtensionResults: {} } as AuthenticationResponseJSON,
        expectedChallenge: one => challenges.isGood(one, purpose),
        // The counter is compared below, in one statement with its change.
        credential: { id: row.id, publicKey: bytesOf(row.public_key), counter: 0 },
      }).catch((cause: unknown) => {
        log.info({ passkey: row.id, user: row.user, cause: textOf(cause) }, 'a passkey was not accepted');
        return undefined;
      });
      // §7.2 step 6: the authenticator says whose it is. Step 21: whether it may be copied never changes.
      if (!answer?.verified || userHandle !== row.handle) return undefined;
      if ((answer.authenticationInfo.credentialDeviceType === 'multiDevice') !== (row.synced === 1)) return undefined;
      if (!challenges.spend(challenge)) return undefined;
      return (await take(row, answer.authenticationInfo.newCounter))
        ? { kind: 'user', id: row.user, groups: [], attributes: new Map(), credential: `passkey:${row.id}` }
        : undefined;
    },
  };

  /** §7.2 step 22: a counter that does not go up, where there is one, is a copy's. */
  async function take(row: PasskeyTable, counter: number): Promise<boolean> {
    const used = clock.now().toISOString();
    const change = db.updateTable('passkey').set({ counter, used }).where('id', '=', row.id);
    const taken = await (counter === 0
      ? change.where('counter', '=', 0)
      : change.where('counter', '<', counter)
    ).executeTakeFirst();
    if (Number(taken.numUpdatedRows) === 1) {
      if (known.has(row.id)) known.set(row.id, { ...row, counter, used });
      return known.has(row.id);
    }
    log.warn(
      { passkey: row.id, user: row.user, counter },
      'the counter of a passkey went back: there may be a copy of it',
    );
    throw new Fault('denied', 'this passkey may have been copied; sign in another way and remove it', {
      facts: { passkey: row.id, user: row.user, counter, last: known.get(row.id)?.counter },
    });
  }
}

const notAccepted = (): Fault =>
  new Fault('invalid', 'this passkey was not accepted; try again, on the page that asked for it');

const bytesOf = (base64url: string): Uint8Array<ArrayBuffer> => Uint8Array.from(Buffer.from(base64url, 'base64url'));
const textOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause)).slice(0, 300);

/** @throws Fault `invalid` */
function readAs<T>(schema: z.ZodType<T>, sent: unknown): T {
  const { success, data } = schema.safeParse(sent);
  if (!success) throw new Fault('invalid', 'this is not what a browser answers about a passkey');
  return data;
}

/** What the browser says of the page that asked. @throws Fault `invalid` */
function readClientData(base64url: string): { readonly challenge: string } {
  const shape = z.object({ challenge: z.string().max(256), crossOrigin: z.boolean().optional() });
  let sent: unknown;
  try {
    sent = JSON.parse(Buffer.from(base64url, 'base64url').toString('utf8'));
  } catch {
    sent = undefined;
  }
  const facts = readAs(shape, sent);
  // A frame in somebody else's page: ours are in none.
  if (facts.crossOrigin === true) throw new Fault('invalid', 'a page in a frame may not ask for a passkey');
  return facts;
}

async function refuseChains(attestation: string): Promise<void> {
  const { decodeAttestationObject } = await import('@simplewebauthn/server/helpers');
  try {
    const object = decodeAttestationObject(bytesOf(attestation));
    if (['none', 'packed'].includes(object.get('fmt')) && object.get('attStmt').get('x5c') === undefined) return;
  } catch {
    // not CBOR: as little accepted
  }
  throw notAccepted();
}

function passkeyOf({ id, user, label, synced, transports, created, used }: PasskeyTable): Passkey {
  return {
    ...{ id, user, label, synced: synced === 1, transports: JSON.parse(transports) as string[] },
    created: new Date(created),
    ...(used === null ? {} : { used: new Date(used) }),
  };
}
