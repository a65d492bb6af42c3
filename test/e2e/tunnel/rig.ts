// A gate with tunnels, in a process of its own, and what tests ask of it.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { freePorts, type GateProcess, newFolder, startGate } from '../../fixtures/gate-process.ts';
import { join as joinPeer, knock, type Peer, type PeerOptions, type Refused } from '../../fixtures/tunnel-peer.ts';

export interface Opened {
  readonly id: string;
  readonly sourceToken: string;
  readonly destinationToken: string;
}

export interface TunnelGate {
  readonly gate: GateProcess;
  readonly port: number;
  readonly ca: string;
  readonly caFile: string;
  /** `sekisho …` that must succeed, its JSON. */
  call<T = Record<string, unknown>>(...args: string[]): Promise<T>;
  open(device: string | undefined, services: readonly string[], ...more: string[]): Promise<Opened>;
  /** A hand-made peer, dropped at the end of the test. */
  peer(mode: 'source' | 'destination', token: string, more?: Partial<PeerOptions>): Promise<Peer>;
  knock(mode: 'source' | 'destination', token: string, more?: Partial<PeerOptions>): Promise<Peer | Refused>;
}

export async function tunnelGate(
  t: TestContext,
  config = '',
  more: { folder?: string; port?: number } = {},
): Promise<TunnelGate> {
  const port = more.port ?? (await freePorts(1))[0] ?? 0;
  const folder = more.folder ?? newFolder();
  const gate = await startGate(t, {
    folder,
    config: `gate: { name: localhost, listen: "tls://127.0.0.1:${port}", workers: 0, drain: 1s }\nlog: { level: debug }\n${config}`,
  });
  const { stdout: ca } = await gate.run('cert', 'ca');
  const caFile = join(folder, 'ca.pem');
  writeFileSync(caFile, ca);
  const { json: call } = gate;
  return {
    ...{ gate, port, ca, caFile, call },
    open: (device, services, ...rest) =>
      call('tunnel', 'open', ...(device ? [device] : []), ...services.flatMap(one => ['--service', one]), ...rest),
    async peer(mode, token, options = {}) {
      const peer = await joinPeer({ port, ca, mode, token, ...options });
      t.after(() => peer.drop());
      return peer;
    },
    knock: (mode, token, options = {}) => knock({ port, ca, mode, token, ...options }),
  };
}
