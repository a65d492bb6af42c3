// sekisho device: what is reached through its own outbound link; how it joins, and how it is sent away.
import { join } from 'node:path';
import type { Command } from 'commander';
import type { DeviceAnswer } from '../api/contract/device.ts';
import type { AnswerOf } from '../api/contract/routes.ts';
import { Fault } from '../core/fault.ts';
import { askYes } from './ask.ts';
import { type Context, examples } from './command.ts';
import { defineTerminal } from './device-terminal.ts';
import { createFile, createFolder, readText } from './files.ts';
import { ago, day, minute } from './format.ts';
import type { Cell } from './screen.ts';

interface FactOptions {
  readonly tag?: string[];
  readonly imsi?: string;
  readonly simId?: string;
  readonly alias?: string[];
}
interface EnrollOptions extends FactOptions {
  readonly service?: string[];
  readonly csr?: string;
  readonly pem?: string;
  readonly out?: string;
  readonly days?: string;
  readonly force?: true;
}

const several = (value: string, before: string[] = []): string[] => [...before, value];

export function define(command: Command, context: Context): void {
  defineReads(command, context);
  defineEnroll(command, context);
  withFacts(command.command('set <name>').summary('change tags and aliases; what is not named stays')).action(
    async (name: string, options: FactOptions) => {
      const answer = await (await context.client()).call('device.change', { params: { name }, body: factsOf(options) });
      context.json ? context.screen.json(answer) : showDevice(context, answer);
    },
  );
  command
    .command('rename <name> <to>')
    .summary('another name; an online device gets a new certificate at once')
    .action(async (name: string, to: string) => {
      const answer = await (await context.client()).call('device.rename', { params: { name }, body: { to } });
      context.json ? context.screen.json(answer) : context.screen.line(`${name} is now called ${answer.name}`);
    });
  command
    .command('revoke <name>')
    .summary('its certificates end and its link is cut; device enroll lets it in again')
    .action(async (name: string) => {
      const answer = await (await context.client()).call('device.revoke', { params: { name } });
      context.json ? context.screen.json(answer) : context.screen.line(`${answer.name} is revoked`);
    });
  command
    .command('remove <name>')
    .summary('revoke it and forget it')
    .option('--yes', 'do not ask')
    .action(async (name: string, { yes }: { yes?: true }) => {
      if (!yes && context.io.stdin.isTTY && !(await askYes(context.io, `Revoke and forget ${name}?`))) {
        throw new Fault('invalid', 'nothing was removed');
      }
      const answer = await (await context.client()).call('device.remove', { params: { name } });
      context.json ? context.screen.json(answer) : context.screen.line(`${answer.name} is removed`);
    });
  defineHostKeys(command, context);
  defineTerminal(command.command('terminal <name>'), context);
  examples(
    command,
    ['sekisho device enroll pump-7 --service ssh=127.0.0.1:22', 'prints the one line to run on the device'],
    ['sekisho device enroll camera-3 --csr camera-3.csr --out camera-3.crt', 'for things without our agent'],
    ['sekisho device terminal pump-7 --user root', 'the shell that the console opens; Ctrl-] leaves it'],
    ['sekisho device list'],
    ['sekisho device revoke pump-7'],
  );
}

function defineHostKeys(command: Command, context: Context): void {
  command
    .command('host-keys <name>')
    .summary('the SSH host keys that terminals in the console have pinned')
    .action(async (name: string) => {
      const answer = await (await context.client()).call('device.host-keys', { params: { name } });
      if (context.json) return context.screen.json(answer);
      context.screen.table(
        ['service', 'algorithm', { title: 'fingerprint', shrinks: true }, 'pinned', 'by'],
        answer.keys.map(({ service, algorithm, fingerprint, pinned, by }) => [
          ...[service, algorithm, fingerprint],
          ...[minute(pinned), by],
        ]),
        `no host key of ${answer.name} is pinned`,
      );
    });
  command
    .command('forget-host-key <name> <service>')
    .summary('the next terminal shows the key that it finds, and pins it')
    .action(async (name: string, service: string) => {
      const params = { name, service };
      const answer = await (await context.client()).call('device.host-key-remove', { params });
      context.json
        ? context.screen.json(answer)
        : context.screen.line(`the host key of ${answer.name}/${answer.service} is forgotten`);
    });
}

const withFacts = (command: Command): Command =>
  command
    .option('--tag <key=value>', 'a tag (repeatable)', several)
    .option('--imsi <digits>', 'its IMSI, as another name')
    .option('--sim-id <id>', 'its SIM id, as another name')
    .option('--alias <name>', 'another name (repeatable)', several);

function factsOf({ tag, imsi, simId, alias }: FactOptions) {
  return {
    ...(tag === undefined ? {} : { tags: pairs(tag, '--tag', 'key=value') }),
    ...(imsi === undefined ? {} : { imsi }),
    ...(simId === undefined ? {} : { simId }),
    ...(alias === undefined ? {} : { aliases: alias }),
  };
}

function pairs(texts: readonly string[], option: string, form: string): Record<string, string> {
  return Object.fromEntries(
    texts.map(text => {
      const [, key, value] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
      if (key === undefined || value === undefined) throw new Fault('invalid', `${option} ${text}: write ${form}`);
      return [key, value];
    }),
  );
}

function defineReads(command: Command, context: Context): void {
  command
    .command('list')
    .summary('devices, and whether they are online')
    .option('--state <state>', 'online or offline')
    .option('--search <text>', 'part of a name, an alias, a tag or an address')
    .option('--limit <count>', 'how many at most')
    .action(async (query: { state?: 'online' | 'offline'; search?: string; limit?: string }) => {
      const answer = await (await context.client()).call('device.list', { query });
      if (context.json) return context.screen.json(answer);
      context.screen.table(
        ['name', 'state', 'last seen', { title: 'services', shrinks: true }, 'streams', 'tags'],
        answer.devices.map(device => [
          device.name,
          stateCell(device),
          device.state === 'online' ? 'now' : device.lastSeen ? ago(device.lastSeen) : { text: 'never', tone: 'dim' },
          Object.keys(device.services).join(', '),
          device.streams,
          Object.entries(device.tags)
            .map(pair => pair.join('='))
            .join(' '),
        ]),
        'no devices yet; try: sekisho device enroll NAME --service ssh=127.0.0.1:22',
      );
    });
  command
    .command('show <name>')
    .summary('one device, by its name or an alias')
    .action(async (name: string) => {
      const answer = await (await context.client()).call('device.show', { params: { name } });
      if (context.json) return context.screen.json(answer);
      showDevice(context, answer);
      if (answer.certs.length === 0) return;
      context.screen.line();
      context.screen.table(
        ['certificate', 'until', 'state'],
        answer.certs.map(({ serial, notAfter, state }) => [
          serial,
          day(notAfter),
          { text: state, tone: state === 'valid' ? 'green' : 'dim' },
        ]),
      );
    });
}

const stateCell = ({ state, revoked, enrolled }: DeviceAnswer): Cell =>
  revoked
    ? { text: 'revoked', tone: 'red' }
    : state === 'online'
      ? { text: 'online', tone: 'green' }
      : { text: enrolled ? 'offline' : 'not enrolled yet', tone: 'dim' };

function showDevice({ screen }: Context, device: DeviceAnswer): void {
  const { agent, aliases, services, tags } = device;
  screen.facts([
    ['name', device.name],
    ['state', stateCell(device)],
    ['last seen', device.lastSeen ? minute(device.lastSeen) : undefined],
    ['address', device.address],
    [
      'services',
      Object.entries(services)
        .map(([name, address]) => `${name} (${address})`)
        .join(', ') || undefined,
    ],
    ['streams', device.streams],
    ['aliases', aliases.map(({ name, kind }) => `${name} (${kind})`).join(', ') || undefined],
    [
      'tags',
      Object.entries(tags)
        .map(pair => pair.join('='))
        .join(' ') || undefined,
    ],
    ['agent', agent ? `${agent.version} on Node ${agent.node}, ${agent.platform}` : undefined],
    ['enrolled', device.enrolled ? minute(device.enrolled) : undefined],
    ['revoked', device.revoked ? minute(device.revoked) : undefined],
  ]);
}

function defineEnroll(command: Command, context: Context): void {
  withFacts(
    command
      .command('enroll <name>')
      .summary('let a device join: prints the one line to run on it')
      .option('--service <name=host:port>', 'what the device is to offer, as it reaches it (repeatable)', several)
      .option('--csr <file>', 'certify the key of this signing request: for things without our agent')
      .option('--out <file>', 'with --csr: where the certificate goes (default: stdout)')
      .option('--pem <dir>', 'NAME.crt, NAME.key (0600) and ca.crt: for mosquitto, SDKs, localproxy')
      .option('--days <count>', 'with --csr or --pem: how long it is valid')
      .option('--force', 'replace files that exist'),
  ).action(async (name: string, options: EnrollOptions) => {
    if (options.csr !== undefined && options.pem !== undefined)
      throw new Fault('invalid', '--csr and --pem are two ways to a certificate; give one of them');
    if (options.pem !== undefined) return writePem(name, options.pem, options, context);
    if (options.csr !== undefined) return signRequest(name, options.csr, options, context);
    const answer = await enroll(name, options, context);
    if (context.json) return context.screen.json(answer);
    context.screen.line(answer.command ?? '');
    context.screen.note(
      `Run this line on ${answer.device.name} before ${minute(answer.expires ?? '')}; it works once.`,
    );
    context.screen.note('It needs Node 18 or newer, curl and sha256sum; with all of Sekisho there, instead:');
    context.screen.note(`  sekisho agent --gate ${answer.gate} --enroll '${answer.code}'`);
  });
}

type Enrolled = AnswerOf<'device.enroll'>;

async function enroll(name: string, options: EnrollOptions, context: Context, extra: object = {}): Promise<Enrolled> {
  const days = options.days === undefined ? undefined : Number(options.days);
  if (days !== undefined && !Number.isInteger(days))
    throw new Fault('invalid', `--days ${options.days} is no number of days`);
  const services =
    options.service === undefined ? {} : { services: pairs(options.service, '--service', 'name=host:port') };
  const body = { name, ...services, ...factsOf(options), ...(days === undefined ? {} : { days }), ...extra };
  return (await context.client()).call('device.enroll', { body });
}

async function writePem(name: string, dir: string, options: EnrollOptions, context: Context): Promise<void> {
  const stem = name.replace(/[^A-Za-z0-9._-]/g, '_');
  const force = options.force === true;
  await createFolder(dir);
  await using key = await createFile(join(dir, `${stem}.key`), { mode: 0o600, force });
  await using cert = await createFile(join(dir, `${stem}.crt`), { mode: 0o644, force });
  await using ca = await createFile(join(dir, 'ca.crt'), { mode: 0o644, force: true });
  const answer = await enroll(name, options, context, { pem: true });
  const { issued } = answer;
  if (!issued) throw new Fault('protocol', 'the gate answered without a certificate');
  await key.write(lined(issued.key ?? ''));
  await cert.write([issued.cert, ...issued.chain].map(lined).join(''));
  await ca.write(lined(issued.ca));
  for (const file of [key, cert, ca]) await file.keep();
  const files = [cert.path, key.path, ca.path];
  tell(context, answer, files, `certificate for ${name} in ${files.join(', ')}`);
}

async function signRequest(name: string, path: string, options: EnrollOptions, context: Context): Promise<void> {
  const csr = await readText(path, 16_384);
  if (options.out === undefined) {
    const answer = await enroll(name, options, context, { csr });
    const { issued } = answer;
    context.json
      ? context.screen.json(answer)
      : await context.screen.write([issued?.cert ?? '', ...(issued?.chain ?? [])].map(lined).join(''));
    return;
  }
  await using file = await createFile(options.out, { mode: 0o644, force: options.force === true });
  const answer = await enroll(name, options, context, { csr });
  await file.write([answer.issued?.cert ?? '', ...(answer.issued?.chain ?? [])].map(lined).join(''));
  await file.keep();
  tell(context, answer, [file.path], `certificate for ${name} in ${file.path}`);
}

/** What is said of it never holds the key: that went into the file. */
function tell({ json, screen }: Context, { device, issued }: Enrolled, files: string[], sentence: string): void {
  const { serial, fingerprint, notAfter } = issued ?? {};
  if (json) {
    screen.json({ name: device.name, serial, fingerprint, notAfter, files });
    return;
  }
  screen.line(sentence);
  screen.line(screen.tone('dim', `serial ${serial}, valid until ${notAfter?.slice(0, 10)}`));
}

const lined = (pem: string): string => (pem === '' || pem.endsWith('\n') ? pem : `${pem}\n`);
