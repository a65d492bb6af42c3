// The agent's life: link, serve, notice that the link is gone, wait a little, link again.
import { X509Certificate } from 'node:crypto';
import { networkInterfaces } from 'node:os';
import { isWeather, toFault } from '../../../core/fault.ts';
import type { Log } from '../../../core/parts.ts';
import { clockLimit, dialLink, fingerprintOf, gateTime, isAboutTime, type Way } from './contact.ts';
import { makeRequest, newDeviceKey } from './csr.ts';
import { skewText } from './enrol.ts';
import { type AgentFolder, checkedIdentity } from './folder.ts';
import { type Requests, type ServedLink, serveLink } from './serve-link.ts';
import { openServices } from './services.ts';

export interface AgentRun {
  readonly way: Way;
  readonly folder: AgentFolder;
  readonly version: string;
  readonly trustGateTime: boolean;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Told when the link stands. */
  readonly linked?: (device: string) => void;
}

/** How long the streams of a link may go on after a signal ended the agent. */
const farewell = 5000;
/** Milliseconds after which a link has shown that it stands; what ends it then is a new trouble, not the old one. */
const proven = 5000;
/** How often the link is looked at. */
const tick = 5000;
/** Silence after which the gate is asked for a sign of life; the gate itself asks sooner. */
const silence = 50_000;
const patience = 15_000;

/** Resolves when the signal has ended it. @throws Fault `invalid` for a folder that cannot be used */
export async function runLinks(options: AgentRun): Promise<void> {
  const { folder, log, signal } = options;
  const services = openServices(folder.services, text => log.error({}, text));
  folder.identity(); // a folder that cannot be used is said now
  folder.roots();
  const device = folder.home()?.device ?? '';
  let failures = 0;
  let before: ServedLink | undefined;
  const complain = onceEach(log);
  const ended = aborted(signal);
  while (!signal.aborted) {
    let why: keyof typeof farewells | 'renewed' | 'aborted' = 'lost';
    try {
      const { link, renewed } = await open(options, services);
      const began = Date.now();
      log.info({ device, services: services.all() }, 'linked');
      options.linked?.(device);
      complain(undefined);
      before = link;
      why = await Promise.race([link.ended, renewed, ended]);
      if (Date.now() - began > proven) failures = 0;
      if (why !== 'renewed' && why !== 'aborted') log.info({ why }, farewells[why]);
    } catch (error) {
      if (!signal.aborted) complain(error);
    }
    if (why === 'renewed' || why === 'aborted' || signal.aborted) continue;
    await rest(pause(why, failures++), signal);
  }
  if (before) await before.leave(AbortSignal.timeout(farewell));
}

/** The same complaint once, not once a minute for a week. */
function onceEach(log: Log): (error: unknown) => void {
  let before = '';
  return error => {
    const fault = error === undefined ? undefined : toFault(error);
    const text = fault === undefined ? '' : isWeather(error) ? 'the connection to the gate broke off' : fault.message;
    if (fault) log[text === before ? 'debug' : 'warn'](fault.code === 'bug' ? { error } : {}, `${text}; trying again`);
    before = text;
  };
}

const farewells = {
  lost: 'the link is gone',
  drain: 'the gate is leaving',
  replaced: 'another agent with this device’s identity has linked; is its folder copied?',
  refused: 'the gate does not accept this device: it is revoked, removed or past its end; enrol it again',
  flood: 'the gate cut the link: too many control frames',
} as const;

/**
 * Exponential with full jitter, so that a thousand devices do not come back in the same second; slow where the gate has
 * said no, and where two agents would push each other out for ever.
 */
export function pause(why: keyof typeof farewells, failures: number, random: () => number = Math.random): number {
  if (why === 'refused' || why === 'replaced') return 30_000 + random() * 90_000;
  return 200 + random() * Math.min(60_000, 1000 * 2 ** Math.min(failures, 10));
}

async function open(
  options: AgentRun,
  services: ReturnType<typeof openServices>,
): Promise<{ link: ServedLink; renewed: Promise<'renewed'> }> {
  const { folder, log, version } = options;
  const conn = await dial(options);
  let tellRenewed = (): void => {};
  const renewed = new Promise<'renewed'>(resolve => {
    tellRenewed = () => resolve('renewed');
  });
  let pending: Awaited<ReturnType<typeof newDeviceKey>> | undefined;
  const requests: Requests = {
    hello(body) {
      const { time, roots } = (body ?? {}) as Record<string, unknown>;
      const skew = skewText(new Date(String(time)).getTime() - Date.now());
      if (skew) log.warn({}, `${skew}; set the clock`);
      learnRoots(folder, roots, log);
      return {
        version,
        node: process.versions.node,
        platform: `${process.platform} ${process.arch}`,
        roots: folder.roots().map(fingerprintOf),
        services: services.all(),
      };
    },
    async renew() {
      pending = await newDeviceKey();
      return makeRequest(pending, 'device');
    },
    identity(body) {
      const { cert, chain } = (body ?? {}) as Record<string, unknown>;
      if (!pending) throw new Error('no certificate was asked for');
      folder.saveIdentity(checkedIdentity(pending, cert, chain));
      pending = undefined;
      log.info({}, 'this device has a new certificate');
      // The gate keeps what this link carries; the next link proves that the new certificate works.
      setTimeout(tellRenewed, 100);
    },
  };
  const link = serveLink(conn, { services, requests, log });
  watch(link, log);
  return { link, renewed };
}

/** A wrong clock makes good certificates look bad: then the gate's own time is asked, over the same pinned CA. */
async function dial({ way, folder, trustGateTime, log, signal }: AgentRun) {
  const [roots, identity] = [folder.roots(), folder.identity()];
  try {
    return await dialLink(way, roots, identity, undefined, signal);
  } catch (error) {
    if (!isAboutTime(error)) throw error;
    const offset = (await gateTime(way, roots, signal)).getTime() - Date.now();
    const skew = skewText(offset);
    if (!skew || Math.abs(offset) <= clockLimit) throw error;
    if (!trustGateTime) {
      log.error({}, `${skew}. Set the clock, or start with --trust-gate-time`);
      throw error;
    }
    log.warn({}, `${skew}; the gate’s time is used for certificates`);
    return dialLink(way, roots, identity, () => new Date(Date.now() + offset), signal);
  }
}

/** The gate's roots of now and soon, so that a new one is here before the old one ends. */
function learnRoots(folder: AgentFolder, wanted: unknown, log: Log): void {
  if (!Array.isArray(wanted) || wanted.length === 0 || wanted.length > 8) return;
  const roots = wanted.filter((one): one is string => typeof one === 'string' && isRoot(one));
  const before = folder.roots().map(fingerprintOf);
  const next = roots.map(fingerprintOf);
  // What verified this very link is among them, or somebody has made a mistake that would lock the device out.
  if (!next.some(one => before.includes(one))) return;
  if (next.length === before.length && next.every(one => before.includes(one))) return;
  folder.saveRoots(roots);
  log.info({ roots: next.map(one => one.slice(0, 16)) }, 'the gate’s roots are written down');
}

function isRoot(pem: string): boolean {
  try {
    const certificate = new X509Certificate(pem);
    return certificate.ca && certificate.verify(certificate.publicKey);
  } catch {
    return false;
  }
}

/** Silence, sleep and changed addresses: each makes a connection that only this side still believes in. */
function watch(link: ServedLink, log: Log): void {
  let [last, heard, received, addresses] = [Date.now(), Date.now(), link.received, ownAddresses()];
  const timer = setInterval(() => {
    const now = Date.now();
    const slept = now - last > tick * 3;
    last = now;
    if (link.received !== received) {
      received = link.received;
      heard = now;
    }
    const here = ownAddresses();
    const moved = here !== addresses;
    addresses = here;
    if (slept || moved) {
      log.debug({ slept, moved }, 'asking whether the link still stands');
      link.probe(tick);
    } else if (now - heard > silence) {
      heard = now;
      link.probe(patience);
    }
  }, tick);
  const checking = setInterval(() => link.check(), 1000);
  void link.ended.then(() => {
    clearInterval(timer);
    clearInterval(checking);
  });
}

const ownAddresses = (): string =>
  Object.values(networkInterfaces())
    .flatMap(all => (all ?? []).filter(one => !one.internal && !one.address.startsWith('fe80')).map(one => one.address))
    .sort()
    .join(' ');

const aborted = (signal: AbortSignal): Promise<'aborted'> =>
  new Promise(resolve => {
    if (signal.aborted) resolve('aborted');
    else signal.addEventListener('abort', () => resolve('aborted'), { once: true });
  });

/** Waits, but not when this machine has just got another address. */
function rest(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const addresses = ownAddresses();
    const done = (): void => {
      clearTimeout(end);
      clearInterval(look);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const end = setTimeout(done, ms);
    const look = setInterval(() => {
      if (ownAddresses() !== addresses) done();
    }, 1000);
    signal.addEventListener('abort', done, { once: true });
  });
}
