// sekisho login: a password over verified TLS for a short-lived token, kept 0600.
import { userInfo } from 'node:os';
import type { Command } from 'commander';
import { Fault } from '../core/fault.ts';
import { askLine, askSecret } from './ask.ts';
import { clientOf } from './client.ts';
import { type Context, examples } from './command.ts';
import { readText } from './files.ts';
import { minute } from './format.ts';
import { readLogins, writeLogins } from './logins.ts';
import { pinAuthority } from './pin.ts';
import { parseGate, tlsPlace } from './place.ts';

interface Options {
  readonly user?: string;
  readonly ca?: string;
  readonly fingerprint?: string;
  readonly for?: string;
}

export function define(command: Command, context: Context): void {
  command
    .option('--user <name>', 'as whom')
    .option('--ca <file>', "the gate's CA certificate, from: sekisho cert ca > ca.pem")
    .option('--fingerprint <sha256>', "or that certificate's fingerprint, from: sekisho cert ca --fingerprint")
    .option('--for <duration>', 'how long the sign-in lasts', '12h')
    .action((options: Options) => login(options, context));
  examples(
    command,
    ['sekisho login --gate https://gate.example.com --user alice --ca ca.pem'],
    ['sekisho login --gate https://127.0.0.1:8443', 'shows the CA fingerprint and asks'],
    ['sekisho status', 'from now on speaks to that gate, unless ./data holds a running one'],
  );
}

async function login(options: Options, context: Context): Promise<void> {
  const { io, screen } = context;
  if (context.gate === undefined)
    throw new Fault('invalid', 'say which gate: sekisho login --gate https://gate.example.com');
  const url = parseGate(context.gate);
  const ca =
    options.ca === undefined ? await pinAuthority(url, options.fingerprint, context) : await readText(options.ca);
  const user = options.user ?? ((await askLine(io, `User (${userInfo().username})`)) || userInfo().username);
  const password = await askSecret(io, `Password of ${user}`);
  const place = tlsPlace(url, ca === undefined ? {} : { ca });
  const client = clientOf(place, { signal: io.signal, progress: screen.progress });
  const signIn = (totp?: string) =>
    client.call('auth.login', { body: { user, password, for: options.for, ...(totp === undefined ? {} : { totp }) } });
  const answer = await signIn().catch(async error => {
    if (!(error instanceof Fault) || !error.message.startsWith('body.totp')) throw error;
    return signIn(await askSecret(io, 'Code of your authenticator app'));
  });
  const { gates } = await readLogins(io.env);
  await writeLogins(io.env, {
    current: url.origin,
    gates: {
      ...gates,
      [url.origin]: {
        user: answer.user,
        token: answer.token,
        until: answer.until,
        ...(ca === undefined ? {} : { ca }),
      },
    },
  });
  if (context.json) return screen.json({ gate: url.origin, user: answer.user, until: answer.until });
  screen.line(`signed in to ${url.origin} as ${answer.user}, until ${minute(answer.until)}`);
}
