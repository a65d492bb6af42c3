// Members: users of the gate who may join a hub, how each proves it, and the policy that each has.
import { randomBytes, X509Certificate } from 'node:crypto';
import type { Clock } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import type { Principal } from '../../core/parts.ts';
import { ntHash } from '../../wire/mschap.ts';
import type { VpnDeps } from './deps.ts';
import type { SecurityPolicy } from './hub.ts';
import { hashPassword } from './softether/sha0.ts';
import type { GroupRow, MemberRow, VpnStore } from './store.ts';

/** `password`: SoftEther's form, kept encrypted · `plain`: a modern hash, so the client must send the password itself · */
/** `gate`: the gate's own password of that user · `certificate`: only that. Certificates of the gate's CA count always. */
export type Proof = MemberRow['proof'];

export interface Member {
  readonly hub: string;
  /** The user of the gate. */
  readonly name: string;
  readonly id: string;
  readonly proof: Proof;
  /** DER of the one certificate that counts besides those that the gate issued to this user. */
  readonly certificate?: Buffer;
  readonly commonName: string;
  readonly serial: string;
  readonly realname: string;
  readonly note: string;
  readonly group: string;
  readonly policy?: Partial<SecurityPolicy>;
  readonly expires?: Date;
  readonly created: Date;
  readonly updated: Date;
  readonly logins: number;
  readonly lastLogin?: Date;
}

export interface MemberChange {
  readonly realname?: string;
  readonly note?: string;
  readonly group?: string;
  /** null takes it away. */
  readonly policy?: Partial<SecurityPolicy> | null;
  readonly expires?: Date | null;
  readonly proof?: NewProof;
}
export type NewProof =
  | { readonly kind: 'password' | 'plain'; readonly password: string }
  /** SoftEther's form, already hashed: what vpncmd sends. */
  | { readonly kind: 'hashed'; readonly hash: Uint8Array }
  | { readonly kind: 'gate' }
  | {
      readonly kind: 'certificate';
      readonly der?: Uint8Array;
      readonly commonName?: string;
      readonly serial?: string;
    };

export interface Group {
  readonly hub: string;
  readonly name: string;
  readonly realname: string;
  readonly note: string;
  readonly policy?: Partial<SecurityPolicy>;
}

export interface Members {
  list(hub: string): readonly Member[];
  /** By the name as SoftEther's client writes it: case does not matter unless two differ by it alone. */
  find(hub: string, name: string): Member | undefined;
  /** @throws Fault `missing` */
  get(hub: string, name: string): Member;
  /** The user of the gate is made when missing. @throws Fault `conflict`, `invalid` */
  add(hub: string, name: string, change: MemberChange & { readonly proof: NewProof }): Promise<Member>;
  /** Live sessions see a new policy at once; another proof ends them. */
  change(hub: string, name: string, change: MemberChange): Promise<Member>;
  /** The membership only; the user stays. */
  remove(hub: string, name: string): Promise<void>;
  loggedIn(member: Member): Promise<void>;
  /** What SoftEther's challenge is answered with; undefined where that form is not kept. */
  softEtherHash(member: Member): Buffer | undefined;
  /** What MS-CHAPv2 is answered with: kept where the hub spoke SSTP when the password was set. */
  ntHash(member: Member): Buffer | undefined;
  /** argon2id. */
  plainHash(member: Member): string | undefined;
  groups(hub: string): readonly Group[];
  saveGroup(group: Group): Promise<void>;
  removeGroup(hub: string, name: string): Promise<void>;
  /** How many have SoftEther's form, which is as good as the password. */
  countSoftEtherForms(): number;
  /** The same of the form that Windows proves a password with. */
  countNtForms(): number;
  principal(member: Member): Principal;
  /** The returned function takes the listener away. */
  onChange(call: (hub: string, name: string | undefined) => void): () => void;
}

export const vpnCredential = 'vpn';
const shortest = 8;

export function openMembers(
  store: VpnStore,
  { sealer, passwords, people, clock }: Pick<VpnDeps, 'sealer' | 'passwords' | 'people'> & { readonly clock: Clock },
  /** Whether this hub speaks SSTP: only then is the form kept that Windows needs. */
  keepsNt: (hub: string) => boolean = () => false,
): Members {
  const listeners = new Set<(hub: string, name: string | undefined) => void>();
  const tell = (hub: string, name?: string): void => {
    for (const call of listeners) call(hub, name);
  };
  const find = (hub: string, name: string): MemberRow | undefined => {
    const exact = store.member(hub, name.normalize('NFC'));
    if (exact) return exact;
    const alike = store.members(hub).filter(({ user }) => user.toLowerCase() === name.normalize('NFC').toLowerCase());
    return alike.length === 1 ? alike[0] : undefined;
  };
  const get = (hub: string, name: string): MemberRow => {
    const row = find(hub, name);
    if (!row) throw new Fault('missing', `there is no member "${name}" in the hub ${hub}`);
    return row;
  };

  people.vouch(vpnCredential, {
    counts: (id, who) =>
      [...store.allMembers()].some(row => row.id === id && (row.user === who.id || who.kind === 'anonymous')),
    of: user => [...store.allMembers()].filter(row => row.user === user).map(({ id }) => `${vpnCredential}:${id}`),
    forget(user) {
      const hubs = [...store.allMembers()].filter(row => row.user === user).map(({ hub }) => hub);
      store.forgetUser(user);
      for (const hub of hubs) tell(hub, user);
    },
  });

  async function proofOf(
    hub: string,
    user: string,
    proof: NewProof,
  ): Promise<Pick<MemberRow, 'id' | 'proof' | 'secret' | 'hash' | 'certificate' | 'common_name' | 'serial'>> {
    const none = { secret: null, hash: null, certificate: null, common_name: '', serial: '' };
    const id = randomBytes(12).toString('base64url');
    const seal = (...forms: readonly Uint8Array[]): string =>
      sealer.seal(forms.map(form => Buffer.from(form).toString('hex')).join(formsEnd), contextOf(hub, user));
    switch (proof.kind) {
      case 'password':
        checkPassword(proof.password);
        return {
          ...{ ...none, id, proof: 'password' },
          secret: seal(hashPassword(user, proof.password), ...(keepsNt(hub) ? [ntHash(proof.password)] : [])),
        };
      case 'hashed': {
        if (proof.hash.length !== 20) throw new Fault('invalid', 'a hashed password has 20 bytes');
        // The form of no password at all is no proof: such a member cannot join until one is set.
        const isEmpty = hashPassword(user, '').equals(proof.hash) || proof.hash.every(byte => byte === 0);
        return { ...none, id, proof: 'password', secret: isEmpty ? null : seal(proof.hash) };
      }
      case 'plain':
        checkPassword(proof.password);
        return { ...none, id, proof: 'plain', hash: await passwords.hash(proof.password) };
      case 'gate':
        return { ...none, id, proof: 'gate' };
      case 'certificate': {
        const { der, commonName = '', serial = '' } = proof;
        const certificate = der ? pinned(der) : null;
        return {
          ...none,
          id,
          proof: 'certificate',
          certificate,
          common_name: commonName,
          serial: serial.toLowerCase(),
        };
      }
    }
  }

  /** SoftEther's form, and Windows' behind it where it is kept. */
  const formsOf = (row: MemberRow | undefined): Buffer[] =>
    row === undefined || row.secret === null
      ? []
      : sealer
          .unseal(row.secret, contextOf(row.hub, row.user))
          .split(formsEnd)
          .map(form => Buffer.from(form, 'hex'));

  const textual = ({ realname, note, group, policy, expires }: MemberChange): Partial<MemberRow> => ({
    ...(realname === undefined ? {} : { realname }),
    ...(note === undefined ? {} : { note }),
    ...(group === undefined ? {} : { group }),
    ...(policy === undefined ? {} : { policy: policy === null ? null : JSON.stringify(policy) }),
    ...(expires === undefined ? {} : { expires: expires?.toISOString() ?? null }),
  });
  const checkGroup = (hub: string, group: string | undefined): void => {
    if (group && !store.groups(hub).some(({ name }) => name === group))
      throw new Fault('missing', `the hub ${hub} has no group "${group}"`, { facts: { what: 'group' } });
  };

  return {
    list: hub => store.members(hub).map(toMember),
    find: (hub, name) => {
      const row = find(hub, name);
      return row && toMember(row);
    },
    get: (hub, name) => toMember(get(hub, name)),
    async add(hub, name, change) {
      if (find(hub, name)) throw new Fault('conflict', `"${name}" is a member of the hub ${hub} already`);
      checkGroup(hub, change.group);
      const user = people.find(name)?.name ?? name.normalize('NFC');
      const proof = await proofOf(hub, user, change.proof);
      await people.ensure({ name: user });
      const now = clock.now().toISOString();
      const row: MemberRow = {
        ...{ hub, user, realname: '', note: '', group: '', policy: null, expires: null },
        ...{ created: now, updated: now, logins: 0, last_login: null },
        ...textual(change),
        ...proof,
      };
      await store.saveMember(row);
      tell(hub, user);
      return toMember(row);
    },
    async change(hub, name, change) {
      const before = get(hub, name);
      checkGroup(hub, change.group);
      const proof = change.proof ? await proofOf(hub, before.user, change.proof) : {};
      const row = { ...get(hub, name), ...textual(change), ...proof, updated: clock.now().toISOString() };
      await store.saveMember(row);
      if (change.proof) people.ended(`${vpnCredential}:${before.id}`);
      tell(hub, row.user);
      return toMember(row);
    },
    async remove(hub, name) {
      const { user, id } = get(hub, name);
      await store.deleteMember(hub, user);
      people.ended(`${vpnCredential}:${id}`);
      tell(hub, user);
    },
    async loggedIn({ hub, name }) {
      const row = store.member(hub, name);
      if (row) await store.saveMember({ ...row, logins: row.logins + 1, last_login: clock.now().toISOString() });
    },
    softEtherHash: ({ hub, name }) => formsOf(store.member(hub, name))[0],
    ntHash: ({ hub, name }) => formsOf(store.member(hub, name))[1],
    plainHash: ({ hub, name }) => store.member(hub, name)?.hash ?? undefined,
    groups: hub => store.groups(hub).map(toGroup),
    async saveGroup({ hub, name, realname, note, policy }) {
      await store.saveGroup({ hub, name, realname, note, policy: policy ? JSON.stringify(policy) : null });
      tell(hub);
    },
    async removeGroup(hub, name) {
      if (!store.groups(hub).some(group => group.name === name))
        throw new Fault('missing', `the hub ${hub} has no group "${name}"`, { facts: { what: 'group' } });
      for (const row of store.members(hub)) if (row.group === name) await store.saveMember({ ...row, group: '' });
      await store.deleteGroup(hub, name);
      tell(hub);
    },
    countSoftEtherForms: () => [...store.allMembers()].filter(({ secret }) => secret !== null).length,
    countNtForms: () => [...store.allMembers()].filter(row => formsOf(row).length > 1).length,
    principal: ({ name, id }) => ({
      ...{ kind: 'user', id: name, groups: [], credential: `${vpnCredential}:${id}` },
      attributes: new Map(),
    }),
    onChange(call) {
      listeners.add(call);
      return () => listeners.delete(call);
    },
  };
}

/** Between forms of one password. An earlier version reads the first of them. */
const formsEnd = '.';

/** It opens under the same hub and user only. */
const contextOf = (hub: string, user: string): string => `vpn-member:${hub}/${user}`;

function checkPassword(password: string): void {
  if ([...password].length < shortest || password.length > 1024)
    throw new Fault('invalid', `a password has ${shortest} to 1024 characters`);
}

function pinned(der: Uint8Array): string {
  try {
    return new X509Certificate(der).raw.toString('base64');
  } catch (cause) {
    throw new Fault('invalid', 'this is not an X.509 certificate', { cause });
  }
}

function toMember(row: MemberRow): Member {
  const { hub, user, id, proof, realname, note, group, logins } = row;
  return {
    ...{ hub, name: user, id, proof, realname, note, group, logins, serial: row.serial, commonName: row.common_name },
    ...(row.certificate === null ? {} : { certificate: Buffer.from(row.certificate, 'base64') }),
    ...(row.policy === null ? {} : { policy: JSON.parse(row.policy) as Partial<SecurityPolicy> }),
    ...(row.expires === null ? {} : { expires: new Date(row.expires) }),
    ...(row.last_login === null ? {} : { lastLogin: new Date(row.last_login) }),
    created: new Date(row.created),
    updated: new Date(row.updated),
  };
}

const toGroup = ({ hub, name, realname, note, policy }: GroupRow): Group => ({
  ...{ hub, name, realname, note },
  ...(policy === null ? {} : { policy: JSON.parse(policy) as Partial<SecurityPolicy> }),
});
