// device: the registry, how things join, and how they are sent away.
import { Fault } from '../core/fault.ts';
import type { Alias, DeviceRegistry, DeviceService, DeviceView, TerminalDeps } from '../features/device/index.ts';
import { enrolPurpose } from '../features/device/index.ts';
import { anonymous, type CertificateRecord, type Issued, type Signed } from '../trust/index.ts';
import type { DeviceAnswer } from './contract/device.ts';
import type { ParsedOf } from './contract/routes.ts';
import { noteCuts } from './cut.ts';
import type { ApiDeps } from './deps.ts';
import { searching } from './search.ts';
import { act, type Call, type Handlers } from './verbs.ts';

/** The devices of this gate, as the API is handed them. */
export interface DeviceHouse {
  readonly service: DeviceService;
  readonly registry: DeviceRegistry;
  /** Shells on devices, from the console. */
  readonly terminals: TerminalDeps;
  /** A code with the CA's fingerprint in it. */
  codeOf(code: string): string;
  line(code: string): Promise<{ readonly command: string; readonly sha256: string }>;
  /** `https://gate.example.com`. */
  origin(): string;
}

/** @throws Fault `missing` */
export function devicesOf({ house }: Pick<ApiDeps, 'house'>): DeviceHouse {
  const devices = house.devices?.();
  if (!devices) throw new Fault('missing', 'this gate has no port of its own (gate:), so no device can reach it');
  return devices;
}

type Verbs =
  | 'device.list'
  | 'device.show'
  | 'device.enroll'
  | 'device.join'
  | 'device.change'
  | 'device.rename'
  | 'device.revoke'
  | 'device.remove'
  | 'device.host-keys'
  | 'device.host-key-remove';
type Facts = Pick<ParsedOf<'device.enroll'>['body'], 'tags' | 'imsi' | 'simId' | 'aliases'>;

export function deviceHandlers(deps: ApiDeps): Pick<Handlers, Verbs> {
  const { authority, authenticator, directory, gate, clock } = deps;
  const house = (): DeviceHouse => devicesOf(deps);
  const namesOf = ({ name, aliases }: { readonly name: string; readonly aliases: readonly Alias[] }): string[] => [
    name,
    ...aliases.filter(({ kind }) => kind === 'former').map(alias => alias.name),
  ];
  const end = async (name: string, note: Call<'device.revoke'>['note']): Promise<string> => {
    const { registry } = house();
    const device = registry.named(name);
    noteCuts(deps.sessions, ({ kind, id }) => kind === 'device' && id === device.name, note);
    await registry.revoke(device.name);
    await directory.endDevice(namesOf(device), 'cessationOfOperation');
    return device.name;
  };
  return {
    'device.list': async ({ query }) => {
      const { state, search, offset, limit } = query;
      const isWanted = searching(search, textsOf);
      const found = house()
        .service.list()
        .filter(device => (state === undefined || device.state === state) && isWanted(device));
      return {
        devices: found.slice(offset, offset + (limit ?? found.length)).map(toDevice),
        total: found.length,
        online: found.filter(device => device.state === 'online').length,
      };
    },
    'device.show': async ({ params }) => {
      const device = house().service.get(params.name);
      const certs = namesOf(device).flatMap(name => authority.list({ device: name }));
      return { ...toDevice(device), certs: certs.map(record => toCert(record, clock.now())) };
    },
    'device.enroll': async ({ body, note }) => {
      const { service, registry, codeOf, line, origin } = house();
      const { name, csr, pem, days, services } = body;
      if (csr !== undefined && pem)
        throw new Fault('invalid', 'csr and pem are two ways to a certificate; give one of them');
      if ((csr !== undefined || pem) && services)
        throw new Fault('invalid', 'services are what our agent offers; a device without it has none');
      const device = await registry.invite(name, { ...factsOf(body), ...(services ? { services } : {}) });
      if (csr !== undefined || pem) {
        const order = { device: device.name, ...(days === undefined ? {} : { days }) };
        const made: Signed & Partial<Issued> =
          csr === undefined ? await authority.issueClient(order) : await authority.signCsr({ ...order, csr });
        await registry.enrolled(device.name);
        note({ serial: made.serial, fingerprint: made.fingerprint });
        const { serial, fingerprint, cert, chain, notAfter } = made;
        const common = { serial, fingerprint, cert, chain: [...chain], ca: authority.root().cert };
        const key = made.key === undefined ? {} : { key: made.key };
        return {
          device: toDevice(service.get(device.name)),
          issued: { ...common, ...key, notAfter: notAfter.toISOString() },
        };
      }
      if (days !== undefined)
        throw new Fault('invalid', 'days are for a certificate by csr or pem; an agent renews its own');
      const made = await directory.addCode({ purpose: enrolPurpose, kind: 'device', name: device.name });
      note({ code: made.id, expires: made.expires.toISOString() });
      const code = codeOf(made.code);
      return {
        device: toDevice(service.get(device.name)),
        ...{ code, expires: made.expires.toISOString(), gate: origin() },
        ...(await line(code)),
      };
    },
    'device.join': async ({ body, caller: { from }, signal }) => {
      const { registry } = house();
      // What follows the dot is the CA's fingerprint, which is the device's to check.
      const code = body.code.split('.', 1)[0] ?? '';
      const who = await authenticator
        .prove({ kind: 'code', purpose: enrolPurpose, code, from }, signal)
        .catch(error => {
          if (error instanceof Fault)
            gate.refuse({ who: anonymous, action: 'device.enroll', resource: 'device/*', from }, error.code);
          throw error;
        });
      const asked = { who, action: 'device.enroll', resource: `device/${who.id}`, from, opened: 'code' } as const;
      return act(gate, asked, async note => {
        const made = await authority.signCsr({ device: who.id, csr: body.csr });
        note({ serial: made.serial, fingerprint: made.fingerprint });
        const device = await registry.enrolled(who.id);
        return {
          name: device.name,
          gate: deps.house.names()[0] ?? 'localhost',
          cert: made.cert,
          chain: [...made.chain],
          roots: authority.roots().map(({ cert }) => cert),
          services: { ...device.services },
          notAfter: made.notAfter.toISOString(),
        };
      });
    },
    'device.change': async ({ params, body, note }) => {
      const { registry, service } = house();
      const device = registry.named(params.name);
      const change = factsOf(body, device.aliases);
      note({ changed: Object.keys(body) });
      await registry.change(device.name, change);
      return toDevice(service.get(device.name));
    },
    'device.rename': async ({ params, body, note }) => {
      const { registry, service } = house();
      const before = registry.named(params.name).name;
      const device = await registry.rename(before, body.to);
      note({ before, after: device.name });
      // Offline, it keeps the certificate of its former name until it comes back: that still proves who it is.
      await service.renew(device.name).catch(() => {});
      return toDevice(service.get(device.name));
    },
    'device.revoke': async ({ params, note }) => toDevice(house().service.get(await end(params.name, note))),
    'device.remove': async ({ params, note }) => {
      const name = await end(params.name, note);
      await house().registry.remove(name);
      return { name, removed: true };
    },
    'device.host-keys': async ({ params }) => {
      const { registry, terminals } = house();
      const { name, id } = registry.get(params.name);
      const keys = await terminals.hostKeys.list(id);
      return {
        name,
        keys: keys.map(({ service, algorithm, fingerprint, pinned, by }) => ({
          ...{ service, algorithm, fingerprint, by },
          pinned: pinned.toISOString(),
        })),
      };
    },
    'device.host-key-remove': async ({ params, note }) => {
      const { registry, terminals } = house();
      const { name, id } = registry.named(params.name);
      const { fingerprint } = await terminals.hostKeys.remove(id, params.service);
      note({ service: params.service, fingerprint });
      return { name, service: params.service, removed: true };
    },
  };
}

/** Everything that a device is found by. */
const textsOf = ({ name, aliases, tags, address = '' }: DeviceView): string[] => [
  ...[name, address, ...aliases.map(alias => alias.name), ...Object.entries(tags).map(tag => tag.join('='))],
];

/** The aliases of an API's kinds are replaced one by one; the others stay. */
function factsOf({ tags, imsi, simId, aliases }: Facts, before: readonly Alias[] = []) {
  const given = [
    ...(imsi === undefined ? [] : [{ name: imsi, kind: 'imsi' as const }]),
    ...(simId === undefined ? [] : [{ name: simId, kind: 'simId' as const }]),
    ...(aliases ?? []).map(name => ({ name, kind: 'alias' as const })),
  ];
  const replaced = new Set<Alias['kind']>([
    ...(imsi === undefined ? [] : ['imsi' as const]),
    ...(simId === undefined ? [] : ['simId' as const]),
    ...(aliases === undefined ? [] : ['alias' as const]),
  ]);
  const kept = before.filter(({ kind }) => !replaced.has(kind) && kind !== 'former');
  return { ...(tags ? { tags } : {}), ...(replaced.size > 0 ? { aliases: [...kept, ...given] } : {}) };
}

const toDevice = (device: DeviceView): DeviceAnswer => ({
  name: device.name,
  state: device.state,
  ...(device.enrolled ? { enrolled: device.enrolled.toISOString() } : {}),
  ...(device.revoked ? { revoked: device.revoked.toISOString() } : {}),
  ...(device.lastSeen ? { lastSeen: device.lastSeen.toISOString() } : {}),
  ...(device.address ? { address: device.address } : {}),
  services: { ...device.services },
  streams: device.streams,
  aliases: device.aliases.map(alias => ({ ...alias })),
  tags: { ...device.tags },
  ...(device.agent ? { agent: { ...device.agent } } : {}),
  created: device.created.toISOString(),
});

const toCert = ({ serial, fingerprint, notAfter, revoked }: CertificateRecord, now: Date) => ({
  ...{ serial, fingerprint, notAfter: notAfter.toISOString() },
  state: revoked ? ('revoked' as const) : notAfter <= now ? ('expired' as const) : ('valid' as const),
});
