// sekisho logout: end the token at the gate, then forget it here, also when the gate cannot be reached.
import type { Command } from 'commander';
import { Fault } from '../core/fault.ts';
import { clientOf } from './client.ts';
import { type Context, examples } from './command.ts';
import { readLogins, writeLogins } from './logins.ts';
import { parseGate, tlsPlace } from './place.ts';

export function define(command: Command, context: Context): void {
  command
    .option('--others', 'end all other sign-ins of yours, and keep this one')
    .option('--id <id>', 'end this one of your sign-ins; whoami --sign-ins lists them');
  examples(
    command,
    ['sekisho logout'],
    ['sekisho logout --gate https://gate.example.com'],
    ['sekisho logout --others', 'browsers too'],
  );
  command.action(async (options: { others?: true; id?: string }) => {
    const elsewhere = options.others ? 'others' : options.id;
    if (elsewhere !== undefined) return endElsewhere(context, elsewhere);
    const logins = await readLogins(context.io.env);
    const gate = context.gate === undefined ? logins.current : parseGate(context.gate).origin;
    const login = gate === undefined ? undefined : logins.gates[gate];
    if (gate === undefined || !login) throw new Fault('missing', `nobody is signed in${gate ? ` to ${gate}` : ''}`);
    const ended = await endToken(context, gate, login);
    const { [gate]: _, ...others } = logins.gates;
    const { current, ...rest } = logins;
    await writeLogins(context.io.env, {
      ...rest,
      ...(current === undefined || current === gate ? {} : { current }),
      gates: others,
    });
    if (context.json) return context.screen.json({ gate, ended });
    context.screen.line(`signed out of ${gate}`);
    if (!ended) context.screen.note(`the gate could not be told; the token lives until ${login.until}`);
  });
}

async function endElsewhere(context: Context, id: string): Promise<void> {
  const { ended } = await (await context.client()).call('auth.end', { params: { id } });
  if (context.json) return context.screen.json({ ended });
  context.screen.line(ended.length === 1 ? '1 sign-in is ended' : `${ended.length} sign-ins are ended`);
}

async function endToken(
  context: Context,
  gate: string,
  login: { token: string; ca?: string | undefined },
): Promise<boolean> {
  const { token, ca } = login;
  const place = tlsPlace(new URL(gate), { token, ...(ca === undefined ? {} : { ca }) });
  const client = clientOf(place, { signal: context.io.signal, progress: context.screen.progress });
  try {
    await client.call('auth.logout');
    return true;
  } catch (error) {
    // A token that the gate no longer knows is as ended as one can be.
    return error instanceof Fault && error.code === 'unknown-caller';
  }
}
