// What the lab asks a real gate: its sessions, its audit, its processes; and the configurations it is started with.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { makeCa } from '../fixtures/certificates.ts';
import { type GateProcess, until } from '../fixtures/gate-process.ts';
import { within } from './streams.ts';

export const ca = makeCa('Lab CA');
export const leaf = ca.issue({ cn: 'localhost', san: ['DNS:localhost', 'IP:127.0.0.1', 'IP:::1'] });
const certificate = `{ cert: "file:${leaf.fullchainFile}", key: "file:${leaf.keyFile}" }`;
const verify = `{ ca: "file:${ca.certFile}", name: localhost }`;

/** Seconds of a test that lasts; `LAB_SECONDS` shortens it while one works on it. */
export const seconds = (full: number): number => Number(process.env['LAB_SECONDS'] ?? full);

export const head = (workers: number, more = ''): string =>
  `gate: { listen: "tls://127.0.0.1:0", workers: ${workers}${more} }\nproxy:\n`;
/** A gate without routes. */
export const quiet = 'gate: { listen: "tls://127.0.0.1:0" }\n';
export const plain = (name: string, listen: number, to: number, more = ''): string =>
  `  ${name}: { listen: "tcp://127.0.0.1:${listen}", to: "tcp://127.0.0.1:${to}"${more} }\n`;
export const terminate = (name: string, listen: number, to: number, more = ''): string =>
  `  ${name}: { listen: "tls://127.0.0.1:${listen}", certificate: ${certificate}, to: "tcp://127.0.0.1:${to}"${more} }\n`;
export const originate = (name: string, listen: number, to: number, more = ''): string =>
  `  ${name}: { listen: "tcp://127.0.0.1:${listen}", verify: ${verify}, to: "tls://127.0.0.1:${to}"${more} }\n`;

export interface Row {
  readonly seq: number;
  readonly event: string;
  readonly session: string;
  readonly resource: string;
  readonly rule: string;
  readonly outcome: string;
  readonly from: string;
  readonly who: { readonly kind: string; readonly id: string; readonly credential: string };
  readonly facts: Readonly<Record<string, unknown>>;
}

/** One command that must succeed; its JSON. */
export async function ask<T>(gate: GateProcess, ...args: string[]): Promise<T> {
  const { status, stdout, stderr } = await gate.run(...args, '--json');
  assert.equal(status, 0, `${args.join(' ')}: ${stderr}${stdout}`);
  return JSON.parse(stdout) as T;
}

export const liveSessions = async (gate: GateProcess): Promise<number> =>
  (await ask<{ total: number }>(gate, 'session', 'list')).total;

/** Every row of the audit, from its export. */
export async function auditRows(gate: GateProcess): Promise<Row[]> {
  const { status, stdout, stderr } = await gate.run('audit', 'export');
  assert.equal(status, 0, stderr);
  return stdout
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as Row)
    .filter(row => 'seq' in row);
}

/** Sessions that were opened and have no closing row. */
export function unclosed(rows: readonly Row[]): string[] {
  const closed = new Set(rows.filter(({ event }) => event === 'proxy.closed').map(({ session }) => session));
  return rows.filter(({ event, session }) => event === 'proxy.opened' && !closed.has(session)).map(row => row.session);
}

/** Nobody is in, every opening has its closing, and the chain is whole. */
export async function assertTidy(gate: GateProcess): Promise<Row[]> {
  await until('no session is left in the list', async () => (await liveSessions(gate)) === 0);
  const rows = await auditRows(gate);
  assert.deepEqual(unclosed(rows), [], 'every opened session was closed in the audit, once');
  const closed = rows.filter(({ event }) => event === 'proxy.closed').map(({ session }) => session);
  assert.equal(new Set(closed).size, closed.length, 'no session was closed twice');
  await assertWhole(gate);
  return rows;
}

export async function assertWhole(gate: GateProcess): Promise<void> {
  const { ok } = await ask<{ ok: boolean }>(gate, 'audit', 'verify');
  assert.ok(ok, 'the audit chain is whole');
}

export const workersOf = (gate: GateProcess): number[] =>
  readFileSync(`/proc/${gate.child.pid}/task/${gate.child.pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean)
    .map(Number);

const processesOf = (gate: GateProcess): number[] => [gate.child.pid ?? 0, ...workersOf(gate)];

/** Resident memory of the gate and its workers, kB. */
export const memoryOf = (gate: GateProcess): number =>
  processesOf(gate).reduce((sum, pid) => {
    const text = readFileSync(`/proc/${pid}/status`, 'utf8');
    return sum + Number(/VmRSS:\s+(\d+)/.exec(text)?.[1] ?? 0);
  }, 0);

/** Open descriptors of the gate and its workers. */
export const descriptorsOf = (gate: GateProcess): number =>
  processesOf(gate).reduce((sum, pid) => sum + readdirSync(`/proc/${pid}/fd`).length, 0);

/** Ends the gate as its user would, and looks at how it went. */
export async function endProperly(gate: GateProcess): Promise<void> {
  gate.signal('SIGTERM');
  const status = await within(
    60_000,
    gate.ended,
    () => `still running a minute after SIGTERM\n${gate.log.slice(-20).join('\n')}`,
  );
  assert.equal(status, 0, `SIGTERM ended it with ${status}\n${gate.log.slice(-20).join('\n')}`);
  const odd = gate.log.filter(line => /Warning:|unhandled|"code":"bug"/i.test(line));
  assert.deepEqual(odd, [], 'no warning of the runtime, and no bug, in the log');
}
