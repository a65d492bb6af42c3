// SSTP through the gate's own port and real TLS: an address, packets through the hub's router, the binding to the
// certificate that was shown, refusals, a cut.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect } from 'node:tls';
import { encodeIcmp, icmpTypes } from '../../src/wire/icmp.ts';
import { decodeIpv4, encodeIpv4, formatIpv4, parseIpv4, protocols } from '../../src/wire/ipv4.ts';
import { sstpTypes } from '../../src/wire/sstp.ts';
import { decodeTcp, encodeTcp, tcpFlags } from '../../src/wire/tcp.ts';
import { freePorts, type GateProcess, runSekisho, startGate } from '../fixtures/gate-process.ts';
import { SstpClient, shownAddress } from '../fixtures/sstp-client.ts';

const login = { name: 'lab\\alice', password: 'correct horse' } as const;

async function openGate(t: TestContext): Promise<{ gate: GateProcess; dial(): Promise<SstpClient> }> {
  const [port = 0] = await freePorts(1);
  const web = createServer((_, response) => response.end('the private page')).listen(0, '127.0.0.1');
  await once(web, 'listening');
  t.after(() => web.close());
  const gate = await startGate(t, {
    config: `gate: { listen: "tls://127.0.0.1:${port}", workers: 0 }
vpn:
  hubs:
    lab:
      sstp: true
      nat: { address: 192.168.30.1/24, dhcp: { range: 192.168.30.10-192.168.30.20, routes: [ 10.0.1.0/24 ] } }
      forward: [ { listen: "192.168.30.1:80", to: "tcp://127.0.0.1:${(web.address() as AddressInfo).port}" } ]
`,
  });
  const args = ['vpn', 'user', 'add', 'lab/alice', '--password-stdin', '--data', gate.data];
  const { status, stderr } = await runSekisho(args, { input: `${login.password}\n` });
  assert.equal(status, 0, stderr);
  return {
    gate,
    async dial() {
      const tls = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
      t.after(() => tls.destroy());
      await once(tls, 'secureConnect');
      const shown = tls.getPeerX509Certificate();
      assert.ok(shown);
      return new SstpClient(tls, shown.raw);
    },
  };
}
const packet = (source: string, target: string, protocol: number, payload: Uint8Array): Uint8Array =>
  encodeIpv4({
    ...{ source: parseIpv4(source), target: parseIpv4(target), protocol, ttl: 64, id: 7 },
    ...{ dontFragment: true, moreFragments: false, fragmentOffset: 0, payload },
  });

test('a member by SSTP leases an address, pings the router, is answered by the private page, and is cut', async t => {
  const { gate, dial } = await openGate(t);
  const client = await dial();
  const leased = await client.join(login);
  const address = shownAddress(leased);
  assert.equal(address, '192.168.30.10');

  const echo = encodeIcmp({ type: icmpTypes.echo!, code: 0, id: 1, sequence: 1, data: Buffer.from('over TLS') });
  client.send(packet(address, '192.168.30.1', protocols.icmp!, echo));
  const answer = decodeIpv4(await client.until(() => client.packets.shift()));
  assert.deepEqual([formatIpv4(answer.source), answer.payload[0]], ['192.168.30.1', icmpTypes.echoReply]);

  // A whole request in as few segments as there can be.
  const [source, target] = [parseIpv4(address), parseIpv4('192.168.30.1')];
  const { syn = 0, ack = 0 } = tcpFlags;
  const say = (flags: number, sequence: number, acknowledgement: number, text = ''): void => {
    const fixed = { sourcePort: 40_000, targetPort: 80, window: 60_000, options: {} };
    const payload = Buffer.from(text);
    const segment = encodeTcp({ ...fixed, flags, sequence, acknowledgement, payload }, source, target);
    client.send(packet(address, '192.168.30.1', protocols.tcp!, segment));
  };
  const heard = async () => {
    const whole = decodeIpv4(await client.until(() => client.packets.shift()));
    return decodeTcp(whole.payload, whole.source, whole.target);
  };
  say(syn, 1, 0);
  const opened = await heard();
  say(ack, 2, opened.sequence + 1, 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  let page = '';
  while (!page.includes('the private page')) page += Buffer.from((await heard()).payload).toString('latin1');

  const { stdout } = await gate.run('vpn', 'session', 'list', 'lab', '--json');
  const [session] = JSON.parse(stdout).sessions;
  assert.deepEqual([session.name, session.protocol, session.ips], ['SID-ALICE-1', 'sstp', [address]]);
  const { status, stderr } = await gate.run('vpn', 'session', 'cut', 'lab/SID-ALICE-1');
  assert.equal(status, 0, stderr);
  await client.heard(sstpTypes.disconnect);
  await client.ended();
  assert.match((await gate.run('audit', 'search', '--json')).stdout, /vpn\.joined/);
});

test('who was shown another certificate than the gate’s is broken off, and a wrong password is 691', async t => {
  const { gate, dial } = await openGate(t);
  const between = await dial();
  await between.connect();
  await between.lcp(login);
  assert.ok((await between.authenticate(login)).ok);
  between.bind({ certificate: Buffer.from('of whoever stands between') });
  await between.ended();
  assert.ok(!between.packets.length && gate.log.some(line => /binding/.test(line)), gate.log.join('\n'));

  const wrong = await dial();
  await wrong.connect();
  await wrong.lcp(login);
  const { ok, text } = await wrong.authenticate({ ...login, password: 'Correct horse' });
  assert.equal(ok, false);
  assert.match(text, /^E=691/);
  await wrong.heard(sstpTypes.disconnect);
  const { stdout } = await gate.run('vpn', 'session', 'list', 'lab', '--json');
  assert.deepEqual(JSON.parse(stdout).sessions, []);
});
