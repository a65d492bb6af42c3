// What the API is told by the process around it, in tests: set, not opened.
import type { House } from '../../src/api/index.ts';
import type { Log, Metrics } from '../../src/core/parts.ts';

export const silentLog: Log = { child: () => silentLog, debug() {}, info() {}, warn() {}, error() {} };
export const noMetrics: Metrics = { count() {}, gauge() {}, observe() {} };

export function fakeHouse(): House & { reloads: number; healthy: ReturnType<House['health']> } {
  return {
    version: '0.1.0',
    since: new Date('2026-11-22T08:00:00Z'),
    reloads: 0,
    healthy: 'ok',
    origin: () => 'https://gate.example.com',
    names: () => ['gate.example.com'],
    health() {
      return this.healthy;
    },
    listeners: () => [{ name: 'gate', listen: 'tls://127.0.0.1:8443' }],
    routes: () => [
      {
        name: 'db',
        listens: [{ written: 'tls://0.0.0.0:6432', address: { host: '0.0.0.0', port: 6432 } }],
        live: 1,
        draining: 0,
        upstreams: [
          { url: 'tcp://10.0.0.5:5432', address: '10.0.0.5', state: 'up', backup: false, live: 1, fails: 0 },
          { url: 'tcp://10.0.0.6:5432', address: '10.0.0.6', state: 'failed', backup: true, live: 0, fails: 3 },
        ],
        warnings: ['the target is not verified (verify: off)'],
      },
    ],
    warnings: () => ['the certificate of gate.example.com ends in 3 days'],
    check: async () => ({ ok: true, opens: ['tls://127.0.0.1:8443'], findings: [] }),
    async reload() {
      this.reloads++;
      return { added: ['web'], changed: [], removed: [], kept: ['db'], warnings: [] };
    },
    backup: async () =>
      (async function* () {
        yield Buffer.from('sealed');
      })(),
  };
}
