// Members as vpncmd administers them: UserCreate, UserPasswordSet, UserList and their relatives.
import { Fault } from '../../../core/fault.ts';
import {
  type Pack,
  type PackFields,
  packBool,
  packData,
  packInt,
  packText,
  packTime,
  timeOrNever,
  unistr,
} from '../../../wire/softether-pack.ts';
import type { Member, MemberChange, NewProof, Proof } from '../members.ts';
import { Refusal } from '../softether/errors.ts';
import { completeSecurity, defaultSecurity, packPolicy, unpackPolicy } from '../softether/policy.ts';
import { type Ask, aboutMember, hubOf, noCounts, type RpcTable, trafficFields } from './table.ts';

/** SoftEther's numbers: 0 anonymous, 1 password, 2 one certificate, 3 a signed one, 4 RADIUS, 5 NT domain. */
const authTypes = { anonymous: 0, password: 1, certificate: 2, signed: 3, radius: 4, nt: 5 } as const;

const authTypeOf = ({ proof, certificate }: Member): number =>
  proof === 'certificate'
    ? certificate
      ? authTypes.certificate
      : authTypes.signed
    : proof === 'gate'
      ? authTypes.radius
      : authTypes.password;

/** The forms of passwords are never given out: who sends them back unchanged changes nothing. */
const authFields = (member: Member): PackFields => {
  const base = { AuthType: authTypeOf(member) };
  if (member.proof === 'certificate') {
    return member.certificate
      ? { ...base, UserX: member.certificate }
      : {
          ...base,
          ...(member.serial === '' ? {} : { Serial: Buffer.from(member.serial, 'hex') }),
          CommonName: unistr(member.commonName),
        };
  }
  if (member.proof === 'gate') return { ...base, RadiusUsername: unistr('') };
  return { ...base, HashedKey: unchanged, NtLmSecureHash: Buffer.alloc(16) };
};
/** Stands for a password that stays as it is. */
const unchanged = Buffer.from('sekisho: not changed');

const sessionsOf = ({ service }: Ask, member: Member) =>
  service.sessions.list(member.hub).filter(({ options }) => options.policy.user === member.name);
const countsOf = (ask: Ask, member: Member) =>
  sessionsOf(ask, member).map(session => session.attached?.counts() ?? noCounts);
function totalOf(ask: Ask, member: Member) {
  const add = (way: 'up' | 'down') => {
    const list = countsOf(ask, member).map(one => one[way]);
    return {
      unicastBytes: list.reduce((sum, one) => sum + one.unicastBytes, 0),
      unicastFrames: list.reduce((sum, one) => sum + one.unicastFrames, 0),
      broadcastBytes: list.reduce((sum, one) => sum + one.broadcastBytes, 0),
      broadcastFrames: list.reduce((sum, one) => sum + one.broadcastFrames, 0),
    };
  };
  return { up: add('up'), down: add('down'), dropped: 0 };
}

const memberFields = (ask: Ask, member: Member): PackFields => ({
  HubName: member.hub,
  Name: member.name,
  GroupName: member.group,
  Realname: unistr(member.realname),
  Note: unistr(member.note),
  CreatedTime: member.created,
  UpdatedTime: member.updated,
  ExpireTime: timeOrNever(member.expires),
  ...authFields(member),
  NumLogin: member.logins,
  ...trafficFields(totalOf(ask, member)),
  UsePolicy: member.policy !== undefined,
  ...(member.policy ? packPolicy(completeSecurity(member.policy)) : {}),
});

function proofOf(pack: Pack): NewProof | undefined {
  const type = packInt(pack, 'AuthType');
  switch (type) {
    case authTypes.password: {
      const plain = packText(pack, 'Auth_Password');
      const hash = packData(pack, 'HashedKey');
      if (hash?.equals(unchanged)) return undefined;
      if ((!hash || hash.every(byte => byte === 0)) && plain !== '') return { kind: 'password', password: plain };
      return { kind: 'hashed', hash: hash ?? Buffer.alloc(20) };
    }
    case authTypes.certificate: {
      const der = packData(pack, 'UserX');
      if (!der) throw new Refusal('invalid-parameter', 'no certificate came with it');
      return { kind: 'certificate', der };
    }
    case authTypes.signed: {
      const serial = packData(pack, 'Serial')?.toString('hex') ?? '';
      return { kind: 'certificate', commonName: packText(pack, 'CommonName'), serial };
    }
    case authTypes.radius:
    case authTypes.nt:
      // An external check: here it is the gate's own password of that user.
      return { kind: 'gate' };
    default:
      throw new Refusal('not-supported', 'letting anybody in is a setting of the hub (anonymous), not of a user');
  }
}

const changeOf = (pack: Pack): MemberChange => ({
  realname: packText(pack, 'Realname').slice(0, 255),
  note: packText(pack, 'Note').slice(0, 255),
  group: packText(pack, 'GroupName'),
  expires: packTime(pack, 'ExpireTime') ?? null,
  policy: packBool(pack, 'UsePolicy') ? unpackPolicy(pack) : null,
});

/** A group that is not there has a number of its own. */
async function knowingGroups<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof Fault && error.facts['what'] === 'group') throw new Refusal('no-such-group', error.message);
    throw error;
  }
}

export const userFunctions: RpcTable = {
  CreateUser: {
    action: 'vpn.user-add',
    about: aboutMember,
    run: async ask => {
      const { pack, service } = ask;
      const { name } = hubOf(ask);
      const user = packText(pack, 'Name');
      if (user === '*' || user.toLowerCase() === 'administrator')
        throw new Refusal('invalid-name', 'this name means something else in SoftEther');
      const proof = proofOf(pack) ?? { kind: 'hashed', hash: Buffer.alloc(20) };
      return memberFields(ask, await knowingGroups(service.members.add(name, user, { ...changeOf(pack), proof })));
    },
  },
  SetUser: {
    action: 'vpn.user-change',
    about: aboutMember,
    run: async ask => {
      const { pack, service } = ask;
      const { name } = hubOf(ask);
      const before = service.members.get(name, packText(pack, 'Name'));
      const proof = sameCertificate(before, proofOf(pack));
      const change = { ...changeOf(pack), ...(proof ? { proof } : {}) };
      return memberFields(ask, await knowingGroups(service.members.change(name, before.name, change)));
    },
  },
  GetUser: { run: ask => memberFields(ask, ask.service.members.get(hubOf(ask).name, packText(ask.pack, 'Name'))) },
  DeleteUser: {
    action: 'vpn.user-remove',
    about: aboutMember,
    run: async ask => {
      const { name } = hubOf(ask);
      await ask.service.members.remove(name, packText(ask.pack, 'Name'));
      return { HubName: name, Name: packText(ask.pack, 'Name') };
    },
  },
  EnumUser: {
    run: ask => {
      const { name } = hubOf(ask);
      const members = ask.service.members.list(name);
      return {
        HubName: name,
        Name: members.map(member => member.name),
        GroupName: members.map(({ group }) => group),
        Realname: members.map(({ realname }) => unistr(realname)),
        Note: members.map(({ note }) => unistr(note)),
        AuthType: members.map(authTypeOf),
        LastLoginTime: members.map(({ lastLogin }) => timeOrNever(lastLogin)),
        NumLogin: members.map(({ logins }) => logins),
        DenyAccess: members.map(({ policy }) => !(policy?.access ?? defaultSecurity.access)),
        IsTrafficFilled: members.map(() => 1),
        ...trafficFields(
          members.map(member => totalOf(ask, member)),
          'Ex.',
        ),
        IsExpiresFilled: members.map(() => 1),
        Expires: members.map(({ expires }) => timeOrNever(expires)),
      };
    },
  },
};

/** vpncmd reads, changes and writes back: what is as it was is no new proof, and ends no session. */
function sameCertificate(before: Member, proof: NewProof | undefined): NewProof | undefined {
  const kind: Proof | undefined = proof?.kind === 'hashed' ? 'password' : proof?.kind;
  if (kind !== before.proof) return proof;
  if (proof?.kind === 'gate') return undefined;
  if (proof?.kind !== 'certificate') return proof;
  const same = before.certificate
    ? proof.der !== undefined && before.certificate.equals(proof.der)
    : proof.der === undefined && proof.commonName === before.commonName && proof.serial === before.serial;
  return same ? undefined : proof;
}
