// The first contact: a one-time code buys a certificate. The key is made here and never leaves.
import { Fault, type FaultCode, faults } from '../../../core/fault.ts';
import type { Log } from '../../../core/parts.ts';
import { callGate, clockLimit, fetchRoot, gateTime, type Way } from './contact.ts';
import { makeRequest, newDeviceKey } from './csr.ts';
import { type AgentFolder, checkedIdentity } from './folder.ts';
import { formatServices } from './services.ts';

export interface EnrolOptions {
  readonly way: Way;
  /** As it was typed. */
  readonly url: string;
  readonly name?: string;
  readonly code: string;
  readonly folder: AgentFolder;
  /** Instead of what the gate proposes. */
  readonly services: Readonly<Record<string, string>>;
  readonly trustGateTime: boolean;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** @throws Fault: `denied` (another gate), `unknown-caller` (the code), `invalid` (the clock, the folder) */
export async function enrol(options: EnrolOptions): Promise<void> {
  const { way, folder, log, signal, trustGateTime } = options;
  const { code, fingerprint } = parseCode(options.code);
  const root = await fetchRoot(way, fingerprint, signal);
  const offset = (await gateTime(way, [root], signal)).getTime() - Date.now();
  const skew = skewText(offset);
  if (skew && !trustGateTime) throw new Fault('invalid', `${skew}. Set the clock, or go on with --trust-gate-time`);
  if (skew) log.warn({}, `${skew}; the gate’s time is used for certificates`);
  const at = skew ? () => new Date(Date.now() + offset) : undefined;
  const key = await newDeviceKey();
  const body = { code, csr: makeRequest(key, 'device') };
  const answer = await callGate(way, [root], at, { method: 'POST', path: '/v1/devices/join', body }, signal);
  if (answer.status !== 200) throw refusal(answer.body, answer.status);
  const { name, cert, chain, roots, services } = (answer.body ?? {}) as Record<string, unknown>;
  const identity = checkedIdentity(key, cert, chain);
  if (typeof name !== 'string' || !Array.isArray(roots)) throw new Fault('protocol', 'the gate answered incompletely');
  // The code is spent: from here on everything has to be kept. The root that was verified stays among the roots.
  folder.saveRoots([root, ...roots.filter(one => typeof one === 'string' && one.trim() !== root.trim())] as string[]);
  folder.saveIdentity(identity);
  const own = Object.keys(options.services).length > 0 ? options.services : (services as Record<string, string>);
  folder.saveServices(formatServices(own ?? {}));
  folder.saveHome({ url: options.url, device: name, ...(options.name === undefined ? {} : { name: options.name }) });
  log.info({ device: name, services: own, folder: folder.path }, 'enrolled');
}

/** `skc_….fingerprint`. @throws Fault `invalid` */
export function parseCode(text: string): { readonly code: string; readonly fingerprint: string } {
  const [, code, print] = /^(skc_[A-Za-z0-9_-]{27})\.([A-Za-z0-9_-]{43})$/.exec(text.trim()) ?? [];
  if (!code || !print) {
    throw new Fault(
      'invalid',
      'the code is not complete: paste all of what device enroll printed, the part after the dot too',
    );
  }
  return { code, fingerprint: Buffer.from(print, 'base64url').toString('hex') };
}

/** A sentence with both times, when they are more than a day apart. */
export function skewText(offset: number, now = Date.now()): string | undefined {
  if (Math.abs(offset) <= clockLimit) return undefined;
  const [here, there] = [new Date(now), new Date(now + offset)].map(time => time.toISOString());
  return `this device’s clock says ${here}, the gate’s says ${there}`;
}

function refusal(body: unknown, status: number): Fault {
  const { code, message } = (body as { error?: { code?: string; message?: string } } | undefined)?.error ?? {};
  // The gate tells strangers nothing; what it means here is clear.
  if (code === 'unknown-caller') {
    return new Fault(
      'unknown-caller',
      'the code is wrong, used or older than 15 minutes; ask for a new one: sekisho device enroll NAME',
    );
  }
  const known = code !== undefined && Object.keys(faults).includes(code) ? (code as FaultCode) : 'protocol';
  return new Fault(known, message ?? `the gate answered with HTTP ${status}`);
}
