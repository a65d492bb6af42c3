// Both ways of the web gate without TCP and TLS in front, so that a hundred thousand connections take minutes: each one
// is a pair of streams with the facts that TLS would have told.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import type { Conn } from '../../src/core/parts.ts';
import { memoryPair } from '../../src/net/memory.ts';
import { type Origin, openOrigin, openRig, staff } from '../e2e/web/rig.ts';
import { openSitesRig } from '../e2e/web/sites-rig.ts';

export interface Doors extends AsyncDisposable {
  readonly origin: Origin;
  /** A connection of staff01 to the proxy; `sni`: to that renamed site. */
  connect(alpn: 'http/1.1' | 'h2', sni?: string): Conn['stream'];
  /** Nothing of ours went wrong, and no service heard anything that was not allowed. */
  check(): void;
}

const { raw: leaf } = new X509Certificate(staff.cert);
const client = { host: '192.0.2.7', port: 50_000 };

/** `server1` may be reached and `server2` may not, under either way's names; both are the same origin. */
export async function openDoors(origin?: Origin): Promise<Doors> {
  const site = origin ?? (await openOrigin());
  const target = `tcp://127.0.0.1:${site.port}`;
  const to = `http://127.0.0.1:${site.port}/`;
  const forward = await openRig({
    forward: { hosts: { server1: target, server2: target } },
    decide: ({ resource }) => (resource === 'web/server1:80' ? undefined : 'not this one'),
  });
  const sites = await openSitesRig({
    sites: { server1: { to, host: 'server1' }, server2: { to, host: 'server2' } },
    decide: ({ resource }) => (resource === 'web/server1' ? undefined : 'not this one'),
  });
  return {
    origin: site,
    connect(alpn, sni) {
      const [near, far] = memoryPair({ near: client });
      const conn = { ...far, peer: client, tls: { alpn, leaf, ...(sni === undefined ? {} : { sni }) } };
      void (sni === undefined ? forward.web.handle(conn) : sites.sites.handle(conn));
      near.stream.on('error', () => {});
      return near.stream;
    },
    check() {
      for (const { headers } of site.seen) assert.equal(headers[headers.indexOf('Host') + 1], 'server1');
      for (const { gate, log } of [forward, sites]) {
        assert.deepEqual(
          log.lines.filter(({ level }) => level === 'error'),
          [],
        );
        for (const { request } of gate.admissions) assert.match(request.resource, /^web\/server1(:80)?$/);
      }
    },
    async [Symbol.asyncDispose]() {
      for (const one of [forward, sites, site]) await one[Symbol.asyncDispose]();
    },
  };
}

/** What comes back until the other side has ended, or nothing more is coming. */
export async function exchange(stream: Conn['stream'], bytes: Buffer): Promise<string> {
  const got: Buffer[] = [];
  stream.on('data', chunk => got.push(chunk));
  stream.on('end', () => stream.end());
  const closed = new Promise(resolve => stream.once('close', resolve));
  stream.end(bytes);
  await closed;
  return Buffer.concat(got).toString('latin1');
}
