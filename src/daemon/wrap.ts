// `sekisho wrap`: TLS around one address — put on, taken off, or both — with nothing but a command line.
import { resolve } from 'node:path';
import { formatUrl, parseListen, parseTarget } from '../core/address.ts';
import { Fault } from '../core/fault.ts';
import type { Address } from '../core/parts.ts';
import type { Finding } from '../features/proxy/index.ts';
import { type BareRoutes, openBareRoutes } from './bare-routes.ts';
import { createLog } from './log.ts';
import { createRead } from './read.ts';

export interface WrapOptions {
  /** `tcp://`, `tls://`, `unix:` */
  readonly listen: string;
  readonly to: string;
  /** PEM file of the CA that the target's certificate chains to; default: the system's. */
  readonly ca?: string;
  /** The name that the target's certificate must carry; default: the target's host. */
  readonly name?: string;
  /** Whose certificate this is follows from the addresses: of the listener if that is tls://, else shown to the target. */
  readonly cert?: string;
  readonly key?: string;
  /** false = any certificate is accepted; encrypted, but not authenticated. */
  readonly verify: boolean;
  readonly signal: AbortSignal;
  readonly ready?: (open: { readonly listen: Address; readonly warnings: readonly string[] }) => void;
}

const drain = 10_000;

/** Resolves when the signal has ended it. @throws Fault `invalid` naming the option, or what listening says */
export async function wrap(options: WrapOptions): Promise<void> {
  process.title = 'sekisho: wrap';
  const log = createLog({ level: 'info', format: 'auto' });
  await using routes = await open(options, log);
  const [state] = routes.service.state();
  options.ready?.({
    listen: state?.listens[0]?.address ?? { path: '' },
    warnings: plainly(routes.plans[0]?.warnings ?? []),
  });
  const reopen = (): void => {}; // there is no file; but the default action of SIGHUP would end us
  process.on('SIGHUP', reopen);
  if (!options.signal.aborted) {
    await new Promise(done => options.signal.addEventListener('abort', done, { once: true }));
  }
  process.off('SIGHUP', reopen);
  const hold = setInterval(() => {}, 2 ** 30); // the drain's own timer does not keep the process
  await routes.drain(AbortSignal.timeout(drain));
  clearInterval(hold);
}

async function open(options: WrapOptions, log: ReturnType<typeof createLog>): Promise<BareRoutes> {
  const { listen, to, cert, key } = options;
  const from = attempt('--listen', () => parseListen(listen));
  const target = attempt('--to', () => parseTarget(to));
  if (from.kind === 'gate')
    throw new Fault('invalid', '--listen: there is no gate here; write tcp://host:port or tls://host:port');
  if ((cert === undefined) !== (key === undefined))
    throw new Fault('invalid', '--cert and --key belong together; give both');
  const files = cert && key ? { cert: `file:${resolve(cert)}`, key: `file:${resolve(key)}` } : undefined;
  const [ends, begins] = [from.kind === 'tls', target.kind === 'tls'];
  if (!ends && !begins) log.warn({}, 'neither address is tls://, so nothing is encrypted on either side');
  if (ends && !files)
    throw new Fault('invalid', '--listen tls:// shows a certificate to its clients; give --cert and --key');
  if (!begins && (options.ca !== undefined || options.name !== undefined || !options.verify)) {
    throw new Fault('invalid', '--ca, --name and --no-verify are about a --to of tls://');
  }
  const verify = !options.verify
    ? 'off'
    : {
        ...(options.ca === undefined ? {} : { ca: `file:${resolve(options.ca)}` }),
        ...(options.name === undefined ? {} : { name: options.name }),
      };
  const route = {
    listen: formatUrl(from),
    to,
    ...(ends ? { certificate: files } : {}),
    ...(begins ? { verify } : {}),
    ...(begins && !ends && files ? { upstream: { certificate: files } } : {}),
  };
  try {
    return await openBareRoutes({ proxy: { wrap: route }, read: createRead({ folder: process.cwd() }), log });
  } catch (error) {
    throw inOptions(error);
  }
}

function attempt<T>(option: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw error instanceof Fault ? new Fault(error.code, `${option}: ${error.message}`, { cause: error }) : error;
  }
}

/** Which option stands for which key. */
const optionOf: readonly (readonly [key: RegExp, option: string])[] = [
  [/^(proxy\.)?wrap\.listen(\[\d+\])?/, '--listen'],
  [/^(proxy\.)?wrap\.verify\.ca(\[\d+\])?/, '--ca'],
  [/^(proxy\.)?wrap\.verify: off/, '--no-verify'],
  [/^(proxy\.)?wrap\.verify(\.name)?/, '--name'],
  [/verify: \{ ca: file:… \}/, '--ca FILE'],
  [/^(proxy\.)?wrap\.(upstream\.)?certificate\.key/, '--key'],
  [/^(proxy\.)?wrap\.(upstream\.)?certificate(\.cert)?/, '--cert'],
  [/^(proxy\.)?wrap\.(to|upstream)(\[\d+\])?(\.url)?/, '--to'],
];

function inOptions(error: unknown): unknown {
  if (!(error instanceof Fault) || error.code === 'bug') return error;
  const findings = error.facts['mistakes'] as readonly Finding[] | undefined;
  const texts = findings ? findings.map(({ text }) => text) : error.message.split('\n');
  return new Fault(error.code, plainly(texts).join('\n'), { cause: error });
}

const plainly = (texts: readonly string[]): string[] =>
  texts.map(text => optionOf.reduce((said, [key, option]) => said.replace(key, option), text));
