// sekisho endpoint: an address with an end, for who may reach it, leading to a device or a TCP service.
import { type Command, Option } from 'commander';
import type { EndpointAnswer } from '../api/contract/endpoint.ts';
import { Fault } from '../core/fault.ts';
import type { Client } from './client.ts';
import { type Context, examples } from './command.ts';
import { createFile } from './files.ts';
import { left, second } from './format.ts';
import type { Screen, Tone } from './screen.ts';
import { harmless } from './width.ts';

const several = (value: string, before: string[] = []): string[] => [
  ...before,
  ...value.split(',').map(text => text.trim()),
];
const whole = (value: string): number => {
  if (/^\d{1,9}$/.test(value)) return Number(value);
  throw new Fault('invalid', `"${value}" is not a whole number`);
};
const bytes = (value: string): number => {
  const parts = /^(\d{1,9})([kmg]?)$/i.exec(value);
  if (!parts) throw new Fault('invalid', `"${value}" is not a size; write for example 512k or 10m`);
  return Number(parts[1]) * 1024 ** ['', 'k', 'm', 'g'].indexOf((parts[2] ?? '').toLowerCase());
};

interface OpenOptions {
  readonly for?: string;
  readonly from?: string[];
  readonly tls?: true;
  readonly passThrough?: true;
  readonly port: boolean;
  readonly name?: boolean;
  readonly latch?: true;
  readonly once?: true;
  readonly connections?: number;
  readonly idle?: string;
  readonly rate?: number;
  readonly perMinute?: number;
  readonly clientCertificate?: true;
  readonly signIn?: true;
  readonly user?: string[];
  readonly drain?: true;
  readonly reason?: string;
  readonly wait?: true;
}

export function define(command: Command, context: Context): void {
  defineOpen(command, context);
  defineReads(command, context);
  defineLife(command, context);
  defineApprove(command, context);
  examples(
    command,
    ['sekisho endpoint open device://pump-7/ssh --for 30m --from 203.0.113.7/32 --tls'],
    ['sekisho endpoint open device://pump-7/http --tls --sign-in', 'prints a link that lets one address in'],
    ['sekisho endpoint open tcp://10.0.0.5:22 --once --latch --reason "ticket 4711" --wait'],
    ['sekisho endpoint extend 7kq2 --for 1h', 'the beginning of an id is enough'],
    ['sekisho endpoint close 7kq2 --drain', 'nobody new; who is inside may finish'],
    ['sekisho endpoint evidence 7kq2 --out evidence.json', 'signed; openssl checks it'],
  );
}

function defineOpen(command: Command, context: Context): void {
  command
    .command('open <target>')
    .summary('open one: device://name/service or tcp://host:port')
    .option('--for <duration>', 'how long (default: endpoint.lifetime.default, 30m)')
    .addOption(
      new Option('--from <network>', 'who may come, repeatable (default: your own address)').argParser(several),
    )
    .option('--tls', 'TLS ends at the gate; the target is spoken to as it is')
    .option('--pass-through', "the bytes are the target's own TLS, unread")
    .option('--no-port', 'no port of its own, only a host name')
    .option('--name', 'a host name on the gate’s port (default with --tls and --pass-through)')
    .option('--no-name', 'no host name, only a port')
    .option('--latch', 'the first address that is let in owns it')
    .option('--once', 'one connection, then it is over')
    .addOption(new Option('--connections <count>', 'at a time').argParser(whole))
    .option('--idle <duration>', 'a connection without a byte for so long ends')
    .addOption(new Option('--rate <size>', 'bytes a second, each way of each connection, like 512k').argParser(bytes))
    .addOption(new Option('--per-minute <count>', 'new connections a minute').argParser(whole))
    .option('--client-certificate', 'a client certificate of a user must be shown')
    .option('--sign-in', 'an address is let in after somebody has signed in from it')
    .addOption(new Option('--user <name>', 'only this user, repeatable').argParser(several))
    .option('--drain', 'at its end connections go on until they end by themselves')
    .option('--reason <text>', 'why, for approvers and the audit')
    .option('--wait', 'where approvals are needed, wait for them')
    .action(async (target: string, options: OpenOptions) => {
      const client = await context.client();
      const asked = await client.call('endpoint.open', { body: bodyOf(target, options) });
      const { link } = asked;
      const answer = options.wait && asked.state === 'waiting' ? await settled(client, asked, context) : asked;
      if (answer.state === 'closed') context.status = 3;
      if (context.json) return context.screen.json({ ...answer, ...(link === undefined ? {} : { link }) });
      show(context.screen, answer);
      if (link !== undefined) context.screen.line(`sign in once, within 15 minutes: ${link}`);
      if (answer.state === 'waiting') {
        context.screen.note(`it waits for approval: sekisho endpoint approve ${answer.id}`);
      }
    });
}

function bodyOf(target: string, options: OpenOptions) {
  if (options.tls && options.passThrough) {
    throw new Fault('invalid', '--tls ends TLS at the gate, --pass-through does not; give one of them');
  }
  return {
    target,
    for: options.for,
    from: options.from,
    tls: options.passThrough ? ('pass' as const) : options.tls ? ('end' as const) : ('none' as const),
    port: options.port,
    name: options.name,
    latch: options.latch,
    once: options.once,
    connections: options.connections,
    idle: options.idle,
    rate: options.rate,
    perMinute: options.perMinute,
    certificate: options.clientCertificate,
    signIn: options.signIn,
    users: options.user,
    drain: options.drain,
    reason: options.reason,
  };
}

const glance = 1000;

async function settled(client: Client, { id }: EndpointAnswer, { io, screen }: Context): Promise<EndpointAnswer> {
  screen.note(`waiting for approval of ${id}; Ctrl-C leaves it waiting`);
  for (;;) {
    const answer = await client.call('endpoint.show', { params: { id } });
    if (answer.state !== 'waiting') return answer;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(resolve, glance);
      io.signal.addEventListener('abort', () => {
        clearTimeout(timer);
        reject(new DOMException('interrupted', 'AbortError'));
      });
    });
  }
}

function defineReads(command: Command, context: Context): void {
  command
    .command('list')
    .summary('those that are open or wait')
    .option('--ended <count>', 'and so many that are over', '0')
    .action(async ({ ended }) => {
      const { endpoints } = await (await context.client()).call('endpoint.list', { query: { ended } });
      if (context.json) return context.screen.json({ endpoints });
      context.screen.table(
        ['id', 'state', { title: 'target', shrinks: true }, 'at', 'from', 'ends', 'by', { title: 'live', right: true }],
        endpoints.map(one => [
          one.id,
          { text: one.cause ?? one.state, tone: tones[one.state] },
          one.target,
          placeOf(one),
          one.from.length > 1 ? `${one.from[0]} +${one.from.length - 1}` : one.from[0],
          one.state === 'closed' ? second(one.ended ?? one.until) : left(one.until),
          one.owner,
          one.live,
        ]),
        'none is open; try: sekisho endpoint open device://NAME/SERVICE --for 30m',
      );
    });
  command
    .command('show <id>')
    .summary('one, with all its limits')
    .action(async id => {
      const answer = await (await context.client()).call('endpoint.show', { params: { id } });
      context.json ? context.screen.json(answer) : show(context.screen, answer);
    });
  command
    .command('evidence <id>')
    .summary('request, approvals, connections, bytes and end as one signed JSON document')
    .option('--out <file>', 'into a file instead of stdout')
    .option('--force', 'replace a file that exists')
    .action(async (id, options: { out?: string; force?: true }) => {
      const force = options.force === true;
      const answer = await (await context.client()).open('endpoint.evidence', { params: { id } });
      await using file = options.out === undefined ? undefined : await createFile(options.out, { mode: 0o600, force });
      for await (const chunk of answer) file ? await file.write(chunk) : await context.screen.write(chunk);
      await file?.keep();
      if (file && context.json) context.screen.json({ file: options.out });
    });
}

function defineLife(command: Command, context: Context): void {
  command
    .command('extend <id>')
    .summary('longer, within the policy')
    .option('--for <duration>', 'how much longer (default: endpoint.lifetime.default)')
    .action(async (id, options: { for?: string }) => {
      const params = { id };
      const answer = await (await context.client()).call('endpoint.extend', { params, body: { for: options.for } });
      if (context.json) return context.screen.json(answer);
      context.screen.line(`${answer.id} now ends at ${second(answer.until)}`);
    });
  command
    .command('close <id>')
    .summary('end it, and who is inside')
    .option('--drain', 'who is inside may go on')
    .action(async (id, { drain }: { drain?: true }) => {
      const query = drain ? { drain: 'true' } : {};
      const answer = await (await context.client()).call('endpoint.close', { params: { id }, query });
      context.json ? context.screen.json(answer) : context.screen.line(`${answer.id} is closed`);
    });
  command
    .command('link <id>')
    .summary('a one-time link that lets the address in that it is opened from')
    .action(async id => {
      const answer = await (await context.client()).call('endpoint.link', { params: { id } });
      context.json ? context.screen.json(answer) : context.screen.line(answer.link);
    });
}

function defineApprove(command: Command, context: Context): void {
  command
    .command('approve <id>')
    .summary('say yes to one that waits; nobody decides about their own')
    .option('--refuse', 'say no')
    .option('--reason <text>', 'for the record')
    .action(async (id, options: { refuse?: true; reason?: string }) => {
      const body = { refuse: options.refuse === true, reason: options.reason };
      const answer = await (await context.client()).call('endpoint.approve', { params: { id }, body });
      if (context.json) return context.screen.json(answer);
      const what = { waiting: 'has your yes and waits for more', open: 'is open', closed: `is ${answer.cause}` };
      context.screen.line(`${answer.id} ${what[answer.state]}`);
    });
}

const tones: Record<EndpointAnswer['state'], Tone> = { waiting: 'yellow', open: 'green', closed: 'dim' };

const placeOf = ({ host, port, name, namePort }: EndpointAnswer): string =>
  port !== undefined ? `${host}:${port}` : name === undefined ? '' : `${name}:${namePort}`;

const tlsWords: Record<EndpointAnswer['tls'], string> = {
  none: 'none: the port is plain',
  end: 'ends at the gate',
  pass: 'passed through',
};

function show(screen: Screen, one: EndpointAnswer): void {
  const limits = [
    one.latch && 'first address owns it',
    one.once && 'one connection',
    one.certificate && 'client certificate',
    one.signIn && 'sign-in',
    one.users.length > 0 && `only ${one.users.join(', ')}`,
    one.idle && `idle ${one.idle}`,
    one.rate > 0 && `${one.rate} bytes/s`,
    one.perMinute > 0 && `${one.perMinute} connections a minute`,
    one.drain && 'drains at its end',
  ].filter(text => typeof text === 'string');
  screen.facts([
    ['id', one.id],
    ['state', { text: one.cause ? `${one.state}: ${one.cause}` : one.state, tone: tones[one.state] }],
    ['target', one.target],
    ['port', one.port === undefined ? undefined : `${one.host}:${one.port}`],
    ['name', one.name === undefined ? undefined : `${one.name}:${one.namePort}`],
    ['TLS', tlsWords[one.tls]],
    ['from', one.from.join(', ')],
    [one.state === 'waiting' ? 'lapses' : 'until', second(one.until)],
    ['ended', one.ended === undefined ? undefined : second(one.ended)],
    ['limits', limits.length > 0 ? limits.map(harmless).join('; ') : undefined],
    ['opened by', one.owner],
    ['reason', one.reason],
    ['owned by', one.latched],
    ['let in', one.unlocked === undefined ? undefined : `${one.unlocked} addresses; sign in at ${one.page}`],
    ['connections', `${one.live} of ${one.connections}`],
    ['approval', one.approval],
  ]);
}
