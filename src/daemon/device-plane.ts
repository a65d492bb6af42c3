// Devices within this process: what the room is handed, its protocols on the gate's port, and the agent that the gate serves.
import { createHash, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import type { HttpDoor } from '../api/index.ts';
import type { Clock } from '../core/clock.ts';
import type { Conn, Gate, Identify, Log, Metrics } from '../core/parts.ts';
import {
  type DeviceConfig,
  type DeviceRegistry,
  type DeviceService,
  enrolAlpn,
  linkAlpn,
  openDevices,
  openHostKeys,
  openRecordings,
  type TerminalDeps,
} from '../features/device/index.ts';
import type { Identity } from '../features/proxy/index.ts';
import type { Store } from '../store/index.ts';
import { type Authority, type ClientTrust, certificateChecker, type Directory } from '../trust/index.ts';
import { agentBundle } from './agent-bundle.ts';
import type { Tenant } from './gate-door.ts';
import { hourly } from './retention.ts';

export interface DevicePlaneOptions {
  readonly config: () => DeviceConfig;
  readonly registry: DeviceRegistry;
  readonly store: Pick<Store, 'db'>;
  /** The gate's folder; recordings of terminals stand in it. */
  readonly data: string;
  readonly gate: Gate;
  readonly authority: Authority;
  readonly directory: Pick<Directory, 'standing'>;
  /** The gate's certificate of the built-in CA, for its names of now. */
  readonly identities: () => Promise<readonly Identity[]>;
  /** Told when those have changed. */
  readonly onIdentities: (call: () => void) => () => void;
  /** What the gate shows to people on its port: whoever fetches the agent pins it. */
  readonly shown: () => readonly Identity[];
  /** The gate's name, and `https://name:port`. */
  readonly name: () => string;
  readonly origin: () => string;
  /** The API, under a certificate that devices can verify. */
  readonly api: (conn: Conn) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface DevicePlane extends AsyncDisposable {
  readonly service: DeviceService;
  readonly terminals: TerminalDeps;
  readonly tenants: readonly Tenant[];
  readonly door: HttpDoor;
  /** The line that a person runs on the device. */
  line(code: string): Promise<{ readonly command: string; readonly sha256: string }>;
  /** A code with the fingerprint of the CA, so that the first contact is verified. */
  codeOf(code: string): string;
  readonly origin: () => string;
  /** The configuration is another. */
  refresh(): void;
}

export async function openDevicePlane(options: DevicePlaneOptions): Promise<DevicePlane> {
  const { config, registry, gate, authority, directory, clock, log, metrics } = options;
  const newTrust = (): ClientTrust => ({ mode: 'required', ...authority.trust(), crls: [], crlGrace: 0, depth: 3 });
  let trust = newTrust();
  let checker = certificateChecker(trust, clock);
  const identify: Identify = async ({ tls }) => {
    const who = checker.check(tls?.leaf ?? new Uint8Array(), tls?.chain);
    return directory.standing(who);
  };
  const service = openDevices(config(), {
    ...{ gate, registry, identify, clock, log, metrics },
    certify: async (device, csr) => {
      const { cert, chain } = await authority.signCsr({ device, csr });
      return { cert, chain };
    },
    lifeOf: credential => {
      const record = authority.record(credential);
      return record && { from: record.notBefore, until: record.notAfter, isFormer: authority.isFormer(credential) };
    },
    roots: () => authority.roots().map(({ cert }) => cert),
    name: options.name,
  });

  const withRoot = (all: readonly Identity[]): Identity[] =>
    all.map(({ cert, key }) => ({ key, cert: cert + authority.anchor() }));
  let identities = withRoot(await options.identities());
  const take = (): void => {
    options.identities().then(
      next => {
        identities = withRoot(next);
      },
      (error: unknown) => log.error({ error }, 'the renewed certificate for devices could not be put to use'),
    );
  };
  const stop = options.onIdentities(take);
  const stopRotation = authority.onRotated(() => {
    trust = newTrust();
    checker = certificateChecker(trust, clock);
    take();
    service.greet(); // the roots of now; after the switch also certificates from under the next one
  });
  const tenants: Tenant[] = [
    {
      name: 'device',
      alpn: { protocols: [linkAlpn], clients: { mode: 'required', trust: () => trust }, identities: () => identities },
      handle: conn => service.handleLink(conn),
    },
    { name: 'device-enrol', alpn: { protocols: [enrolAlpn], identities: () => identities }, handle: options.api },
  ];
  const terminals: TerminalDeps = {
    dialer: service.dialer,
    hostKeys: openHostKeys(options.store, clock),
    recordings: openRecordings(join(options.data, 'recordings'), clock),
    config: () => config().terminal,
    clock,
  };
  const keeping = keepRecordings(terminals, log);
  return {
    ...{ service, terminals, tenants, origin: options.origin },
    refresh() {
      service.replace(config());
      take();
    },
    door: agentDoor(log),
    codeOf: code => `${code}.${Buffer.from(authority.root().fingerprint, 'hex').toString('base64url')}`,
    async line(code) {
      const { sha256 } = await agentBundle();
      const origin = options.origin();
      const pins = options.shown().map(({ cert }) => `sha256//${pinOf(cert)}`);
      const fetch = `curl -fsSk --pinnedpubkey '${pins.join(';')}' -o sekisho-agent.js ${origin}/agent.js`;
      const check = `echo '${sha256}  sekisho-agent.js' | sha256sum -c --status`;
      const run = `node sekisho-agent.js --gate ${origin} --enroll '${code}'`;
      return { command: `${fetch} && ${check} && ${run}`, sha256 };
    },
    async [Symbol.asyncDispose]() {
      stop();
      stopRotation();
      await keeping[Symbol.asyncDispose]();
      await service[Symbol.asyncDispose]();
    },
  };
}

/** Recordings older than `device.terminal.recording.keep` go. */
function keepRecordings({ recordings, config, clock }: TerminalDeps, log: Log): AsyncDisposable {
  return hourly(clock, async () => {
    const removed = await recordings.prune(new Date(clock.now().getTime() - config().recording.keep));
    if (removed > 0) log.info({ removed }, 'old recordings of terminals were removed');
  });
}

/** As curl wants it: base64 of the SHA-256 of the leaf's SubjectPublicKeyInfo. */
const pinOf = (pem: string): string =>
  createHash('sha256')
    .update(new X509Certificate(pem).publicKey.export({ type: 'spki', format: 'der' }))
    .digest('base64');

/** GET /agent.js: public, since it is the same for everybody and holds no secret. */
function agentDoor(log: Log): HttpDoor {
  return {
    name: 'agent',
    claims: ({ method, url }) => (method === 'GET' || method === 'HEAD') && url?.split('?', 1)[0] === '/agent.js',
    answer(request, response) {
      agentBundle().then(
        ({ text, sha256 }) => {
          response.writeHead(200, {
            'content-type': 'text/javascript; charset=utf-8',
            'content-length': text.length,
            'cache-control': 'no-cache',
            etag: `"${sha256}"`,
            'x-content-type-options': 'nosniff',
          });
          response.end(request.method === 'HEAD' ? undefined : text);
        },
        (error: unknown) => {
          log.error({ error }, 'the agent could not be built');
          response.writeHead(500).end();
        },
      );
    },
  };
}
