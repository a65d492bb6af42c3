// nginx's `upstream {}` and plain addresses → targets and how they are balanced.
import { isIP } from 'node:net';
import { formatDuration } from '../../../core/duration.ts';
import type { Ledger } from '../../../wire/import-ledger.ts';
import { type Directive, parseNginxTime } from '../../../wire/nginx-conf.ts';

export interface Server {
  /** `host:port` with IPv6 in brackets, or `unix:/path`. */
  readonly address: string;
  readonly named: boolean;
  readonly options: Readonly<Record<string, unknown>>;
}

export interface Group {
  readonly name: string;
  readonly directive?: Directive;
  readonly servers: readonly Server[];
  readonly balance?: string | { readonly hash: string };
  /** Names are resolved again and again, as `resolve` or a variable asks. */
  readonly resolves: boolean;
}

export function readUpstream(directive: Directive, ledger: Ledger): Group {
  const servers: Server[] = [];
  let balance: Group['balance'];
  let resolves = false;
  for (const one of directive.block ?? []) {
    if (one.name === 'server') {
      const server = readServer(one, ledger);
      if (server) servers.push(server);
      resolves ||= one.args.includes('resolve');
      continue;
    }
    const method = methods[one.name];
    if (method) {
      const found = method(one.args);
      ledger.say(found.status, one, found.text, found.todo);
      if (found.balance !== undefined) balance = found.balance;
    }
  }
  ledger.say('converted', directive, servers.length === 1 ? '1 target' : `${servers.length} targets`);
  const name = directive.args[0] ?? '';
  return { name, directive, servers, resolves, ...(balance !== undefined && { balance }) };
}

interface Method {
  readonly status: 'ignored' | 'converted' | 'noted' | 'refused';
  readonly text: string;
  readonly todo?: string;
  readonly balance?: Group['balance'];
}

const plus = 'it belongs to the commercial nginx';

/** Every directive of an upstream block but `server`. */
const methods: Record<string, (args: readonly string[]) => Method> = {
  hash: readHash,
  least_conn: () => ({ status: 'converted', text: '→ balance: least-connections', balance: 'least-connections' }),
  least_time: () => ({
    status: 'noted',
    text: 'answer times are not measured; the target with the fewest connections is taken',
    balance: 'least-connections',
  }),
  random: args =>
    args[0] === 'two'
      ? { status: 'converted', text: '→ balance: random-two', balance: 'random-two' }
      : {
          status: 'noted',
          text: 'taken in turn by weight, not at random: the shares are the same',
          balance: 'round-robin',
        },
  zone: () => ({ status: 'ignored', text: 'shared memory needs no size here' }),
  resolver: () => ({ status: 'noted', text: "the system's name servers are asked" }),
  resolver_timeout: () => ({ status: 'ignored', text: 'resolving is bounded by the connect timeout' }),
  state: () => ({ status: 'refused', text: plus, todo: 'write the servers of the state file as targets' }),
  sticky: () => ({ status: 'refused', text: plus, todo: 'use balance: { hash: source-address }' }),
  queue: () => ({ status: 'refused', text: plus, todo: 'use limits.queue and limits.wait' }),
};

function readHash([key = '', consistent]: readonly string[]): Method {
  const by: Record<string, string> = {
    $remote_addr: 'source-address',
    $binary_remote_addr: 'source-address',
    $ssl_preread_server_name: 'server-name',
    $ssl_server_name: 'server-name',
  };
  const hash = by[key.replace(/^\$\{(\w+)\}$/, '$$$1')];
  if (hash === undefined) {
    return {
      status: 'refused',
      text: `"${key}" cannot be hashed`,
      todo: 'use balance: { hash: source-address } or { hash: server-name }',
    };
  }
  if (consistent === 'consistent') return { status: 'converted', text: '→ balance', balance: { hash } };
  return {
    status: 'noted',
    text: 'hashed consistently, so which client meets which target differs from nginx',
    balance: { hash },
  };
}

function readServer(directive: Directive, ledger: Ledger): Server | undefined {
  const [address = '', ...parameters] = directive.args;
  const plain = readAddress(address);
  if (typeof plain === 'string') {
    ledger.say('refused', directive, plain, 'write host:port');
    return undefined;
  }
  const options: Record<string, unknown> = {};
  const notes: string[] = [];
  for (const parameter of parameters) {
    const [word = '', value = ''] = parameter.split(/=(.*)/s);
    const read = parameterReaders[word];
    const found = read?.(value);
    if (!found) {
      const why =
        word === 'service' || word === 'slow_start' ? `${word}= is not supported` : `invalid parameter "${parameter}"`;
      ledger.say(
        'refused',
        directive,
        why,
        word === 'service' ? 'write the hosts and ports that the SRV record names' : 'remove it',
      );
      if (word === 'slow_start' || word === 'drain') continue;
      return undefined;
    }
    Object.assign(options, found.options);
    if (found.note !== undefined) notes.push(found.note);
  }
  if (notes.length > 0) ledger.say('noted', directive, notes.join('; '));
  else ledger.say('converted', directive, '→ to');
  return { ...plain, options };
}

interface Parameter {
  readonly options?: Record<string, unknown>;
  readonly note?: string;
}
const parameterReaders: Record<string, (value: string) => Parameter | undefined> = {
  weight: value =>
    readCount(value, weight => {
      if (weight > 1000) return { options: { weight: 1000 }, note: 'the weight is 1000 at most' };
      return weight > 0 ? { options: { weight } } : undefined;
    }),
  max_conns: value => readCount(value, count => (count > 0 ? { options: { 'max-connections': count } } : {})),
  max_fails: value => readCount(value, count => (count === 1 ? {} : { options: { 'max-fails': count } })),
  fail_timeout: value => {
    const time = parseNginxTime(value);
    return time === undefined ? undefined : { options: { 'fail-timeout': formatDuration(time) } };
  },
  backup: () => ({ options: { backup: true } }),
  down: () => ({ options: { down: true } }),
  resolve: () => ({}),
};

function readCount(value: string, make: (count: number) => Parameter | undefined): Parameter | undefined {
  return /^\d{1,9}$/.test(value) ? make(Number(value)) : undefined;
}

/** `host:port`, `[::1]:port`, `unix:/path`; a string says what is wrong. */
export function readAddress(text: string): { address: string; named: boolean } | string {
  if (text.startsWith('unix:')) return text.length > 5 ? { address: text, named: false } : 'no path in the unix socket';
  const parts = /^(\[[0-9a-fA-F:.]+\]|[^:[\]/\s$]+):(\d{1,5})$/.exec(text);
  const port = Number(parts?.[2]);
  if (!parts?.[1])
    return text.includes('$') ? 'the address is computed from variables at run time' : `no port in "${text}"`;
  if (port < 1 || port > 65535) return `invalid port in "${text}"`;
  const host = parts[1].replace(/^\[|\]$/g, '');
  return { address: text, named: isIP(host) === 0 };
}
