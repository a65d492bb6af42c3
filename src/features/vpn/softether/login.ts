// A login: which hub, who, by what proof, by which policy; in SoftEther's own order, so that its clients show what is meant.
import { createPublicKey, timingSafeEqual, verify, X509Certificate } from 'node:crypto';
import { Fault, toFault } from '../../../core/fault.ts';
import type { Address, Principal } from '../../../core/parts.ts';
import { type Pack, packData, packInt, packText } from '../../../wire/softether-pack.ts';
import type { VpnDeps } from '../deps.ts';
import type { HubEntry, Hubs } from '../hubs.ts';
import type { Member, Members } from '../members.ts';
import { Refusal } from './errors.ts';
import { answerChallenge, hashPassword } from './sha0.ts';

export interface Login {
  readonly entry: HubEntry;
  /** Undefined for an anonymous one. */
  readonly member: Member | undefined;
  readonly who: Principal;
}

export interface LoginDeps extends Pick<VpnDeps, 'attempts' | 'authenticator' | 'passwords' | 'people' | 'clock'> {
  readonly hubs: Pick<Hubs, 'find'>;
  readonly members: Members;
}

export const nobody: Principal = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };

const authTypes = ['anonymous', 'password', 'plain', 'certificate', 'smart-card'] as const;
/** SoftEther's own sizes; others cannot be asked for in its client. */
const keySizes = new Set([1024, 1536, 2048, 3072, 4096]);

/** Who somebody says they are, and where from; by whatever protocol. */
export interface Wish {
  readonly hub: string;
  readonly name: string;
  readonly from: Address;
}

/**
 * @throws Refusal with SoftEther's number, its message saying for the audit what was wrong; never which part of a proof
 * on the wire.
 */
export async function proveLogin(
  pack: Pack,
  random: Uint8Array,
  from: Address,
  deps: LoginDeps,
  signal: AbortSignal,
): Promise<Login> {
  const name = packText(pack, 'username').slice(0, 255);
  const at = await reach({ hub: packText(pack, 'hubname').slice(0, 255), name, from }, deps);
  const type = authTypes[packInt(pack, 'authtype')];
  if (type === undefined) throw new Refusal('auth-type-not-supported', 'an unknown way to prove who one is');
  if (type !== 'anonymous')
    return proveAt(at, name, deps, member => proofs[type]({ pack, random, from, name, member, signal }, deps));
  if (!at.entry.settings.anonymous) throw new Refusal('auth-failed', 'the hub lets nobody in without proof');
  await deps.attempts.succeeded(at.guess);
  return { entry: at.entry, member: undefined, who: nobody };
}

/** A member by another protocol: `prove` says who they are, or nothing. @throws Refusal */
export async function proveMember(wish: Wish, deps: LoginDeps, prove: Proving): Promise<Login> {
  return proveAt(await reach(wish, deps), wish.name, deps, prove);
}
type Proving = (member: Member | undefined) => Promise<Principal | undefined>;

interface Reached {
  readonly entry: HubEntry;
  readonly guess: { readonly from: Address; readonly subject: string };
}
async function reach({ hub, name, from }: Wish, deps: LoginDeps): Promise<Reached> {
  const entry = deps.hubs.find(hub);
  // Guessing names of hubs costs as much as guessing passwords.
  await begin(deps, { from, ...(entry ? { subject: `vpn:${entry.name}/${name.toLowerCase()}` } : {}) });
  if (!entry) throw new Refusal('no-such-hub', 'there is no hub of this name');
  if (!entry.hub) throw new Refusal('hub-stopping', 'the hub is offline');
  return { entry, guess: { from, subject: `vpn:${entry.name}/${name.toLowerCase()}` } };
}

async function proveAt({ entry, guess }: Reached, name: string, deps: LoginDeps, prove: Proving): Promise<Login> {
  const { members, attempts, people, clock } = deps;
  const member = members.find(entry.name, name);
  const proven = await prove(member);
  if (!member || !proven) throw new Refusal('auth-failed', `the proof for "${name}" is wrong`);
  await attempts.succeeded(guess);
  if (people.find(member.name)?.state !== 'active') throw new Refusal('denied', `the user ${member.name} is disabled`);
  if (member.expires && member.expires <= clock.now())
    throw new Refusal('denied', `the membership of ${name} has ended`);
  return { entry, member, who: proven };
}

async function begin({ attempts }: LoginDeps, guess: Parameters<VpnDeps['attempts']['begin']>[0]): Promise<void> {
  try {
    await attempts.begin(guess);
  } catch (error) {
    if (toFault(error).code === 'limit') throw new Refusal('server-refuses', 'too many tries');
    throw error;
  }
}

interface Shown {
  readonly pack: Pack;
  readonly random: Uint8Array;
  readonly from: Address;
  readonly name: string;
  readonly member: Member | undefined;
  readonly signal: AbortSignal;
}
type Prove = (shown: Shown, deps: LoginDeps) => Promise<Principal | undefined>;

const proofs: Readonly<Record<Exclude<(typeof authTypes)[number], 'anonymous'>, Prove>> = {
  async password({ pack, random, member }, { members }) {
    const shown = packData(pack, 'secure_password');
    const kept = member && members.softEtherHash(member);
    // Who has no such form is compared with one that nothing fits.
    const expected = answerChallenge(kept ?? noForm, random);
    const fits = shown?.length === expected.length && timingSafeEqual(shown, expected);
    return fits && member && kept ? members.principal(member) : undefined;
  },

  plain: ({ pack, ...shown }, deps) => provePlain(packText(pack, 'plain_password').slice(0, 1024), shown, deps),

  async certificate({ pack, random, from, member, signal }, { members, authenticator, clock }) {
    const der = packData(pack, 'cert');
    const signature = packData(pack, 'sign');
    const certificate = der && parse(der);
    if (!certificate || !signature || !member || !signed(certificate, random, signature)) return undefined;
    if (member.certificate) {
      const now = clock.now();
      const inTime = new Date(certificate.validFrom) <= now && now <= new Date(certificate.validTo);
      if (certificate.raw.equals(member.certificate)) return inTime ? members.principal(member) : undefined;
    }
    // Issued by this gate, to this user, not revoked: the authenticator looks at the signature of our own CA.
    const who = await authenticator
      .prove({ kind: 'certificate', leaf: certificate.raw, from }, signal)
      .catch(notProven);
    if (who?.kind !== 'user' || who.id !== member.name) return undefined;
    if (member.commonName && !who.attributes.get('cn')?.includes(member.commonName)) return undefined;
    if (member.serial && BigInt(`0x${certificate.serialNumber}`) !== BigInt(`0x${member.serial}`)) return undefined;
    return who;
  },

  'smart-card': (shown, deps) => proofs.certificate(shown, deps),
};

/** The password itself, as it came inside TLS. */
export async function provePlain(
  password: string,
  { from, name, member, signal }: Omit<Shown, 'pack' | 'random'>,
  { members, passwords, authenticator }: LoginDeps,
): Promise<Principal | undefined> {
  if (member?.proof === 'gate') {
    const who = await authenticator
      .prove({ kind: 'password', user: member.name, password, from }, signal)
      .catch(notProven);
    return who && members.principal(member);
  }
  // One hash of the slow kind is always computed, so that the time does not tell what there is.
  const hashed = await passwords.verify(password, member && members.plainHash(member));
  const kept = member && members.softEtherHash(member);
  const same = timingSafeEqual(hashPassword(member?.name ?? name, password), kept ?? noForm);
  return member && password !== '' && (hashed || (kept !== undefined && same)) ? members.principal(member) : undefined;
}

const noForm = Buffer.alloc(20, 0xa5);

function notProven(error: unknown): undefined {
  const { code } = toFault(error);
  if (code === 'unknown-caller' || code === 'limit' || code === 'protocol') return undefined;
  throw error;
}

function parse(der: Buffer): X509Certificate | undefined {
  try {
    return new X509Certificate(der);
  } catch {
    return undefined;
  }
}

/** RSASSA-PKCS1-v1_5 with SHA-1, the one signature that the protocol has; over 20 random bytes of ours. */
function signed(certificate: X509Certificate, random: Uint8Array, signature: Buffer): boolean {
  try {
    const key = createPublicKey(certificate.publicKey.export({ type: 'spki', format: 'pem' }));
    const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
    if (key.asymmetricKeyType !== 'rsa' || !keySizes.has(bits)) return false;
    return verify('sha1', random, key, signature);
  } catch {
    return false;
  }
}

/** A member's own change of their password. @throws Refusal */
export async function changePassword(
  pack: Pack,
  random: Uint8Array,
  from: Address,
  deps: LoginDeps,
): Promise<{ readonly member: Member; readonly hash: Buffer }> {
  const { hubs, members, attempts } = deps;
  const entry = hubs.find(packText(pack, 'hubname').slice(0, 255));
  const name = packText(pack, 'username').slice(0, 255);
  const guess = { from, ...(entry ? { subject: `vpn:${entry.name}/${name.toLowerCase()}` } : {}) };
  await begin(deps, guess);
  if (!entry) throw new Refusal('no-such-hub', 'there is no hub of this name');
  const member = members.find(entry.name, name);
  const kept = member && members.softEtherHash(member);
  const shown = packData(pack, 'secure_old_password');
  const expected = answerChallenge(kept ?? noForm, random);
  const fits = shown?.length === expected.length && timingSafeEqual(shown, expected);
  if (!member || !kept || !fits) throw new Refusal('old-password-wrong', `the old password of "${name}" is wrong`);
  await attempts.succeeded(guess);
  const hash = packData(pack, 'new_password');
  if (hash?.length !== 20) throw new Refusal('invalid-parameter', 'no new password');
  if (hashPassword(member.name, '').equals(hash)) throw new Fault('invalid', 'an empty password is none');
  return { member, hash };
}
