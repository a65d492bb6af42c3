// Connections lost at random in the middle of transfers, on every leg that our own programs dial: they come back by
// themselves, no byte of one connection appears in another, no torn transfer passes for a whole one, nothing is left.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startAgent, startAgentFile } from '../../fixtures/agent.ts';
import { freePorts, newFolder, until } from '../../fixtures/gate-process.ts';
import { tap } from '../../fixtures/tap.ts';
import { tunnelGate } from '../tunnel/rig.ts';

const rounds = Number(process.env['DROPS'] ?? 6);
const seed = process.env['DROPS_SEED'] ?? String(process.hrtime.bigint());
let drawn = 0;
/** 0 to below `below`, the same again for the same seed. */
const draw = (below: number): number =>
  createHash('sha256').update(`${seed}:${drawn++}`).digest().readUInt32BE() % below;

/** What connection `name` says: its name again and again, so that any stretch of it tells whose it is. */
const speech = (name: string): string => `<${name}>`.repeat(Math.ceil(400_000 / (name.length + 2)));

/** Echoes, and keeps what did not belong together. */
async function watchfulEcho(t: TestContext) {
  const [live, mixed] = [new Set<Socket>(), [] as string[]];
  let carried = 0;
  const server = createServer({ allowHalfOpen: true }, socket => {
    let got = '';
    live.add(socket);
    socket
      .on('error', () => {})
      .on('data', chunk => {
        carried += chunk.length;
        got += chunk;
      });
    socket.once('close', () => {
      live.delete(socket);
      const name = /^<([^>]*)>/.exec(got)?.[1];
      if (name !== undefined && !speech(name).startsWith(got)) mixed.push(got.slice(0, 40));
    });
    socket.pipe(socket);
  });
  server.listen({ port: 0, host: '127.0.0.1', backlog: 511 });
  await once(server, 'listening');
  t.after(() => {
    for (const socket of live) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, live, mixed, carried: () => carried };
}

/** Sockets that a process has open, by inode. */
const socketsOf = (pid: number | undefined): string[] =>
  readdirSync(`/proc/${pid}/fd`).flatMap(fd => {
    try {
      return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
    } catch {
      return []; // closed while we looked
    }
  });

/** What the system says of these sockets: addresses and states, one a line. */
const describe = (inodes: readonly string[]): string =>
  ['tcp', 'tcp6', 'udp', 'unix']
    .flatMap(table =>
      readFileSync(`/proc/net/${table}`, 'utf8')
        .split('\n')
        .map(line => `${table} ${line.trim()}`),
    )
    .filter(line => inodes.some(inode => line.split(/ +/).includes(inode)))
    .join('\n');

test('random losses on the device’s link, the source and the destination', async t => {
  t.diagnostic(`DROPS_SEED=${seed}`);
  const [route = 0] = await freePorts(1);
  const house = await tunnelGate(
    t,
    `proxy: { pump: { listen: "tcp://127.0.0.1:${route}", to: "device://pump-7/echo" } }\n`,
  );
  const echo = await watchfulEcho(t);
  const legs = {
    link: await tap({ port: house.port, host: '127.0.0.1' }),
    source: await tap({ port: house.port, host: '127.0.0.1' }),
    destination: await tap({ port: house.port, host: '127.0.0.1' }),
  };
  t.after(() => Promise.all(Object.values(legs).map(leg => leg[Symbol.asyncDispose]())));
  const through = (leg: keyof typeof legs): string[] => ['--gate', `https://localhost:${legs[leg].port}`];
  const service = ['--service', `echo=127.0.0.1:${echo.port}`];
  const token = (text: string): string[] => {
    const path = join(newFolder(), 'token');
    writeFileSync(path, text, { mode: 0o600 });
    return ['--token-file', path];
  };

  const { code } = await house.call('device', 'enroll', 'pump-7', ...service);
  const device = await startAgent(t, [...through('link'), '--enroll', String(code)]);
  await device.logged(/linked/);
  const [byLink, byToken] = [await house.open('pump-7', ['echo']), await house.open(undefined, ['echo'])];
  const ca = ['--ca', house.caFile];
  const far = await startAgent(t, [...through('destination'), ...ca, ...service, ...token(byToken.destinationToken)]);
  await far.logged(/joined a tunnel/);
  const source = async (text: string) => {
    const args = ['tunnel', 'connect', ...through('source'), ...ca, ...token(text), '--listen', 'echo=127.0.0.1:0'];
    const agent = await startAgentFile(t, args);
    return { agent, port: Number(/:(\d+)$/.exec(await agent.logged(/^echo = /))?.[1]) };
  };
  const near = [await source(byLink.sourceToken), await source(byToken.sourceToken)];
  const ways = [route, ...near.map(({ port }) => port)];
  const processes = {
    gate: house.gate.child,
    agent: device.child,
    destination: far.child,
    ...Object.fromEntries(near.map(({ agent }, index) => [`source ${index}`, agent.child])),
  };

  const finished = ways.map(() => 0);
  let [broken, running] = [0, true];
  t.after(() => {
    running = false;
  });
  const wrong: string[] = [];
  const talk = (way: number, name: string): Promise<void> =>
    new Promise(resolve => {
      const socket = connect({ port: ways[way] ?? 0, host: '127.0.0.1', allowHalfOpen: true });
      const text = speech(name);
      let heard = '';
      socket
        .on('error', () => {})
        .on('data', chunk => {
          heard += chunk;
        })
        .on('end', () => {
          if (heard.length < text.length && heard.length > 0)
            wrong.push(`${name}: torn at ${heard.length}, as if whole`);
        })
        .on('close', () => {
          if (!text.startsWith(heard)) wrong.push(`${name} heard ${heard.slice(-60)}`);
          if (heard.length === text.length) finished[way] = (finished[way] ?? 0) + 1;
          else broken++;
          resolve();
        });
      socket.end(text);
    });
  // One of each way first, then what is open now is what is open when nothing runs.
  await Promise.all(ways.map((_, way) => talk(way, `first-${way}`)));
  await until('the first are gone', () => echo.live.size === 0);
  const settled = async (): Promise<void> => {
    await until('the applications’ sockets are closed', () => echo.live.size === 0);
    for (const { id } of [byLink, byToken])
      await until('the gate carries none', async () => (await house.call('tunnel', 'show', id))['connections'] === 0);
    await until('the link carries none', async () => (await house.call('device', 'show', 'pump-7'))['streams'] === 0);
  };
  await settled();
  const idle = Object.entries(processes).map(([name, { pid }]) => ({ name, pid, count: socketsOf(pid).length }));

  const talkers = ways.flatMap((_, way) =>
    Array.from({ length: 4 }, async (_, one) => {
      for (let turn = 0; running; turn++) await talk(way, `${way}.${one}.${turn}`);
    }),
  );
  for (let round = 0; round < rounds; round++) {
    const from = echo.carried() + draw(3_000_000);
    await until('something is on its way', () => echo.carried() > from);
    const leg = (['link', 'source', 'destination'] as const)[round % 3] ?? 'link';
    legs[leg].cut(draw(2) === 0 ? 'reset' : 'end');
    const before = [...finished];
    const isBack = () => finished.every((count, way) => count > (before[way] ?? 0));
    await until(`every way is back after ${leg} was lost`, isBack, 40_000); // the device’s back-off is random
  }
  running = false;
  await Promise.all(talkers);
  t.diagnostic(`${finished.join(', ')} whole by each way, ${broken} torn`);
  assert.deepEqual(wrong, []);
  assert.ok(broken > 0, 'the losses hit something');
  await settled();
  assert.deepEqual(echo.mixed, []);
  for (const { name, pid, count } of idle)
    await until(
      () => `the ${name} has ${count} sockets, as before:\n${describe(socketsOf(pid))}`,
      () => socketsOf(pid).length <= count,
    );
  const { sessions } = await house.call<{ sessions: { action: string }[] }>('session', 'list');
  assert.deepEqual(sessions.map(({ action }) => action).sort(), [
    'device.link',
    'tunnel.join',
    'tunnel.join',
    'tunnel.join',
  ]);
  for (const { child, ended } of [device, far, ...near.map(({ agent }) => agent)]) {
    child.kill('SIGTERM');
    assert.equal(await ended, 0);
  }
});
