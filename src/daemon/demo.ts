// `sekisho demo`: articles 001, 000, 002, 003 and 004 played on loopback with real sockets, and the bytes that each leg carried.
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Log, Metrics } from '../core/parts.ts';
import { openStore } from '../store/index.ts';
import { openAuthority } from '../trust/index.ts';
import { openBareRoutes } from './bare-routes.ts';
import { openDemoGate } from './demo-gate.ts';
import { type DemoText, texts } from './demo-text.ts';
import { openTunnelPlay } from './demo-tunnel.ts';
import { openVpnPlay } from './demo-vpn.ts';
import { playWeb } from './demo-web.ts';
import { hexLines, looksEncrypted } from './hex.ts';
import { createRead } from './read.ts';

export interface DemoOptions {
  readonly lang: 'en' | 'ja';
  readonly line: (text: string) => void;
  readonly tone: (tone: 'bold' | 'dim' | 'green' | 'yellow', text: string) => string;
  readonly signal: AbortSignal;
}

/** What the legs carry; each stands for a program that knows nothing of TLS. */
const words = {
  fluentd: 'fluentd: {"tag":"app.log","message":"hello over the wire"}\n',
  device: 'GET-TEMPERATURE sensor-1\n',
  answer: 'sensor-1 21.5C\n',
  shell: 'uptime\n',
  uptime: 'up 41 days, behind the firewall\n',
  page: 'GET / HTTP/1.0\r\nhost: 192.168.30.1\r\n\r\n',
  groupware: 'HTTP/1.0 200 OK\r\n\r\nthe old groupware\n',
};
/** Bytes of a leg that are kept to be looked at: beyond TLS's handshake there is application data among them. */
const kept = 16 * 1024;

/** Ends by itself. @throws Error when a leg carried what it must not */
export async function demo(options: DemoOptions): Promise<void> {
  const text = texts[options.lang];
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'sekisho-demo-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const store = stack.use(await openStore({ url: 'sqlite::memory:', log: silent }));
  const authority = stack.use(await openAuthority({ store, dir: folder, log: silent }));
  await writeFile(join(folder, 'ca.pem'), authority.root().cert);
  const identity = await authority.issueServer({ names: ['localhost', '127.0.0.1'], key: 'ecdsa' });
  const routes = async (proxy: Readonly<Record<string, unknown>>): Promise<number> => {
    const auto = async () => [{ cert: identity.cert + identity.chain.join(''), key: identity.key }];
    const open = stack.use(await openBareRoutes({ proxy, read: createRead({ folder }), auto, log: silent }));
    const address = open.service.state()[0]?.listens[0]?.address;
    return address && 'port' in address ? address.port : 0;
  };
  const terminate = (to: number) =>
    routes({ 'forward-in': { listen: 'tls://127.0.0.1:0', certificate: 'auto', to: `tcp://127.0.0.1:${to}` } });
  const originate = (to: number, ca = join(folder, 'ca.pem')) =>
    routes({
      'forward-out': {
        listen: 'tcp://127.0.0.1:0',
        to: `tls://127.0.0.1:${to}`,
        verify: { ca: `file:${ca}`, name: 'localhost' },
      },
    });

  // Article 001: [client] → forward-out → TLS → forward-in → [server]
  const server = stack.use(await plainServer(said => `ack ${said.length}\n`));
  const behind = stack.use(await tap(server.port));
  const between = stack.use(await tap(await terminate(behind.port)));
  const before = stack.use(await tap(await originate(between.port)));
  const ack = await ask(before.port, words.fluentd, options.signal);
  show(
    text.article001,
    options,
    [
      [text.clientToOut, before, 'plain'],
      [text.outToIn, between, 'encrypted'],
      [text.inToServer, behind, 'plain'],
    ],
    words.fluentd,
    ack,
    text,
  );

  // Article 000: [old client] → wrap → TLS → endpoint of the gate → link → agent → [device]
  const device = stack.use(await plainServer(() => words.answer));
  const last = stack.use(await tap(device.port));
  const gate = stack.use(await openDemoGate(folder, silent, options.signal));
  const link = stack.use(await tap(gate.port));
  await gate.device(link.port, last.port);
  const outside = stack.use(await tap(await gate.endpoint()));
  const inside = stack.use(await tap(await originate(outside.port, gate.ca)));
  const answer = await ask(inside.port, words.device, options.signal);
  show(
    text.article000,
    options,
    [
      [text.clientToWrap, inside, 'plain'],
      [text.wrapToEndpoint, outside, 'encrypted'],
      [text.endpointToAgent, link, 'encrypted'],
      [text.agentToDevice, last, 'plain'],
    ],
    words.device,
    answer,
    text,
  );

  // Article 002: [ssh] → source → TLS → gate ← TLS ← destination → [sshd], the device told over MQTT
  const shell = stack.use(await plainServer(() => words.uptime));
  const local = stack.use(await tap(shell.port));
  const legs: Partial<Record<'source' | 'destination', Tap>> = {};
  const play = stack.use(
    await openTunnelPlay({
      ...{ folder, application: local.port, log: silent, signal: options.signal },
      async between(leg, gate) {
        const made = stack.use(await tap(gate));
        legs[leg] = made;
        return made.port;
      },
    }),
  );
  const client = stack.use(await tap(play.port));
  const said = await ask(client.port, words.shell, options.signal);
  const { source = client, destination = client } = legs;
  show(
    text.article002,
    options,
    [
      [text.clientToSource, client, 'plain'],
      [text.sourceToGate, source, 'encrypted'],
      [text.deviceToGate, destination, 'encrypted'],
      [text.deviceToService, local, 'plain'],
    ],
    words.shell,
    said,
    text,
  );
  options.line(`${text.told} ${play.notice}`);
  options.line(`${text.closed} ${await play.close()}`);
  options.line('');

  // Article 003: [browser] → our client → TLS → hub of the gate → SecureNAT → [private web server]
  const groupware = stack.use(await plainServer(() => words.groupware));
  const beyond = stack.use(await tap(groupware.port));
  let line: Tap | undefined;
  const hub = stack.use(
    await openVpnPlay({
      ...{ folder, web: beyond.port, log: silent, signal: options.signal },
      async between(port) {
        line = stack.use(await tap(port));
        return line.port;
      },
    }),
  );
  const browser = stack.use(await tap(hub.port));
  const request = words.page.replace(' / ', ' http://192.168.30.1/ ');
  const page = await ask(browser.port, request, options.signal);
  show(
    text.article003,
    options,
    [
      [text.browserToClient, browser, 'plain'],
      [text.clientToHub, line ?? browser, 'encrypted'],
      [text.hubToServer, beyond, 'plain'],
    ],
    request,
    page,
    text,
  );
  const pushed = hub.lease.routes.map(({ network, via }) => `${network} via ${via}`).join(', ');
  options.line(`${text.leased} ${hub.lease.address}; ${pushed}`);
  options.line('');

  // Article 004, the second way: [browser] → TLS with a client certificate → [site that knows only its old name]
  const { service, staff, stranger, original } = await playWeb(authority, silent, quiet);
  if (staff.status !== 302 || stranger !== 403) throw new Error(`the site answered ${staff.status} and ${stranger}`);
  options.line(options.tone('bold', text.article004));
  options.line('');
  options.line(`${text.asTyped} ${original.status} → ${options.tone('green', original.location)}`);
  options.line(`${text.siteHears} ${JSON.stringify(service.host)} ${text.siteSends} ${service.location}`);
  options.line(`${text.staffGets} ${options.tone('green', staff.location)}`);
  options.line(`${text.strangerGets} ${options.tone('yellow', String(stranger))}`);
  options.line('');
  options.line(text.end);
}

type Leg = readonly [label: string, tap: Tap, expected: 'plain' | 'encrypted'];

function show(
  title: string,
  { line, tone }: DemoOptions,
  legs: readonly Leg[],
  sent: string,
  answer: string,
  text: DemoText,
): void {
  line(tone('bold', title));
  line('');
  for (const [label, { seen }, expected] of legs) {
    const bytes = seen();
    const isEncrypted = looksEncrypted(bytes) && !bytes.includes(sent.trim());
    if (isEncrypted !== (expected === 'encrypted')) throw new Error(`${label}: this leg should have been ${expected}`);
    line(`${label}  ${isEncrypted ? tone('green', text.encrypted) : tone('yellow', text.plain)}`);
    // In a TLS leg the handshake is the same for everybody; the payload is at its end.
    for (const shown of hexLines(isEncrypted ? bytes.subarray(-48) : bytes.subarray(0, 48)))
      line(tone('dim', `    ${shown}`));
  }
  line('');
  line(`${text.answered} ${JSON.stringify(answer)}`);
  line('');
}

interface Opened extends AsyncDisposable {
  readonly port: number;
}
interface Tap extends Opened {
  /** What went from left to right so far. */
  seen(): Buffer;
}

/** Stands in a leg, hands everything on and remembers the beginning of what went to the right. */
async function tap(to: number): Promise<Tap> {
  const parts: Buffer[] = [];
  let total = 0;
  const opened = await listen(socket => {
    const far = connect({ port: to, host: '127.0.0.1', allowHalfOpen: true });
    socket.on('data', part => {
      if (total < kept) parts.push(part);
      total += part.length;
    });
    socket.pipe(far).pipe(socket);
    far.on('error', () => socket.destroy());
    return far;
  });
  return { ...opened, seen: () => Buffer.concat(parts) };
}

const plainServer = (answer: (said: string) => string): Promise<Opened> =>
  listen(socket => {
    socket.setEncoding('utf8').once('data', said => socket.end(answer(String(said))));
    return undefined;
  });

async function listen(greet: (socket: Socket) => Socket | undefined): Promise<Opened> {
  const sockets = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, socket => {
    socket.on('error', () => {});
    for (const one of [socket, greet(socket)]) if (one) sockets.add(one);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** The client: says one thing and reads the answer to its end. */
async function ask(port: number, said: string, signal: AbortSignal): Promise<string> {
  const patience = AbortSignal.any([signal, AbortSignal.timeout(20_000)]);
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  patience.addEventListener('abort', () => socket.destroy(patience.reason as Error), { once: true });
  socket.end(said);
  let answer = '';
  for await (const part of socket.setEncoding('utf8')) answer += part;
  return answer;
}

const quiet: Metrics = { count() {}, gauge() {}, observe() {} };
const silent: Log = { child: () => silent, debug() {}, info() {}, warn() {}, error() {} };
