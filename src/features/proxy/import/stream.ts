// nginx's stream {} → routes of `proxy:`, with one row for every directive and what the original leaves open.

import { Ledger } from '../../../wire/import-ledger.ts';
import type { ImportFinding, ImportRow } from '../../../wire/import-report.ts';
import { type Directive, splitVariables } from '../../../wire/nginx-conf.ts';
import { route } from '../config.ts';
import { type Server, settleOverlaps, shareAddresses } from './addresses.ts';
import type { StreamContext } from './context.ts';
import type { FilePath } from './files.ts';
import { readListens } from './listen.ts';
import type { ImportedRoute } from './route.ts';
import { readZones } from './rules.ts';
import { Scope } from './scope.ts';
import { convertServer } from './server.ts';
import { ignored, type RefusedRow, refused, refusedFamilies } from './table.ts';
import { type Group, readUpstream } from './upstream.ts';

export type { ImportedRoute } from './route.ts';

export interface StreamImport {
  readonly routes: readonly ImportedRoute[];
  /** Names of routes that ask for a client certificate: `access:` must let its holders in. */
  readonly certified: readonly string[];
  /** Every directive of the block and below it, the block itself first. */
  readonly rows: readonly ImportRow[];
  readonly findings: readonly ImportFinding[];
}

export interface StreamImportOptions {
  /** nginx's paths → references; certificates are relative to the folder of nginx.conf. */
  readonly file: FilePath;
  /** Route names that are taken already. */
  readonly names?: Set<string>;
}

/** Pure. Nothing here throws for what a configuration says: what cannot be converted is a row. */
export function importStream(stream: Directive, options: StreamImportOptions): StreamImport {
  const ledger = new Ledger();
  const block = stream.block ?? [];
  const servers = readServers(block, ledger);
  const groups = new Map<string, Group>();
  for (const one of block.filter(({ name }) => name === 'upstream'))
    groups.set(one.args[0] ?? '', readUpstream(one, ledger));
  const maps = new Map<string, Directive>();
  for (const one of block.filter(({ name }) => name === 'map'))
    maps.set(one.args[1]?.replace(/^\$\{?|\}$/g, '') ?? '', one);
  settleTables(block, servers, ledger);
  settleOverlaps(servers);
  const scopes = servers.map(({ scope }) => scope);
  const context: StreamContext = {
    variables: { maps, ledger },
    groups,
    zones: readZones(block, scopes),
    shared: shareAddresses(servers),
    file: options.file,
    names: options.names ?? new Set(),
  };
  const routes = servers.flatMap(server => convertServer(server, context).filter(one => isSound(one, server)));
  settleRest(block, scopes, ledger);
  ledger.say('converted', stream, count(routes.length, 'route'));
  const certified = routes.filter(({ value }) => value['clients'] !== undefined).map(({ name }) => name);
  return { routes, certified, rows: ledger.rows([stream]), findings: ledger.findings };
}

const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? '' : 's'}`;

function readServers(block: readonly Directive[], ledger: Ledger): Server[] {
  return block
    .filter(one => one.name === 'server')
    .map(one => {
      const scope = new Scope(ledger, block, one);
      return { scope, listens: readListens(scope) };
    });
}

/** What the schema does not take is not written: a file that cannot be opened helps nobody. */
function isSound({ value }: ImportedRoute, { scope }: Server): boolean {
  const checked = route.safeParse(value);
  if (checked.success) return true;
  const why = checked.error.issues.map(issue => `${issue.path.join('.')}: ${issue.message}`).join('; ');
  scope.refuse(scope.server, `the route that comes of it is not valid (${why})`, 'write the route by hand');
  return false;
}

/** Scripts, country tables and OCSP may have kept somebody out: what they guarded is written closed. */
function settleTables(block: readonly Directive[], servers: readonly Server[], ledger: Ledger): void {
  for (const directive of [...block, ...servers.flatMap(({ scope }) => scope.server.block ?? [])]) {
    const row = refused[directive.name] ?? refusedFamilies.find(([pattern]) => pattern.test(directive.name))?.[1];
    if (row) refuseByTable(directive, row, servers, ledger);
    else if (Object.hasOwn(ignored, directive.name)) {
      const loud = directive.name === 'tcp_nodelay' && directive.args[0] === 'off';
      ledger.say(loud ? 'noted' : 'ignored', directive, ignored[directive.name] ?? '');
    }
  }
  for (const { scope } of servers) {
    const ocsp = scope.one('ssl_ocsp');
    const todo = "write clients: { crl: [file:…] }, the CA's list fetched by a timer";
    if (ocsp?.args[0] === 'off') scope.ledger.say('converted', ocsp, 'it is the default');
    else if (ocsp) scope.refuseAndClose(ocsp, 'revocation is looked up in lists, not by OCSP', todo);
  }
}

function refuseByTable(directive: Directive, row: RefusedRow, servers: readonly Server[], ledger: Ledger): void {
  for (const one of [directive, ...(directive.block ?? [])]) ledger.say('refused', one, row.reason, row.todo);
  for (const { scope } of servers) {
    if (!scope.all(directive.name).includes(directive)) continue;
    if (row.closes) scope.refuseAndClose(directive, row.reason, row.todo);
    else scope.refuse(directive, row.reason, row.todo);
  }
}

/** Directives that the conversion reads, but only where a server makes use of them. */
const read =
  /^(ssl_|proxy_|allow$|deny$|limit_conn|set_real_ip_from$|resolver$|preread_|server_name$|set$|listen$|map$|upstream$)/;

/** What nobody asked for: unused groups and maps, settings that every server has for itself, tables of addresses. */
function settleRest(block: readonly Directive[], scopes: readonly Scope[], ledger: Ledger): void {
  for (const directive of block) {
    if (directive.name === 'server') {
      for (const one of directive.block ?? [])
        if (!ledger.has(one) && read.test(one.name))
          settleUnused(one, ledger, 'it has no part in what this server does');
      continue;
    }
    if (directive.name === 'geo' || directive.name === 'split_clients') settleTable(directive, block, ledger);
    else if (read.test(directive.name) || directive.name === 'log_format')
      settleUnused(directive, ledger, scopes.length > 0 ? 'no server makes use of it' : 'there is no server');
  }
}

function settleUnused(directive: Directive, ledger: Ledger, reason: string): void {
  if (!ledger.has(directive)) ledger.say('ignored', directive, reason);
  if (directive.name !== 'map') return;
  for (const one of directive.block ?? [])
    if (!ledger.has(one)) ledger.say('ignored', one, 'nothing that is converted leads here');
}

function settleTable(directive: Directive, block: readonly Directive[], ledger: Ledger): void {
  const variable = (directive.args.at(-1) ?? '').replace(/^\$/, '');
  const used = JSON.stringify(block.filter(one => one !== directive).map(strip)).includes(`$${variable}`);
  const entries = [directive, ...(directive.block ?? [])];
  for (const one of entries) {
    if (!used) ledger.say('ignored', one, `nothing uses $${variable}`);
    else if (directive.name === 'geo')
      ledger.say(
        'refused',
        one,
        'a way cannot be chosen by the address of the client',
        'write a route for each network, with rules:',
      );
    else
      ledger.say(
        'refused',
        one,
        'clients cannot be shared out over several groups',
        'write the targets in one route, with weights and balance: { hash: source-address }',
      );
  }
}

/** Names and arguments only; `${name}` becomes `$name`. */
function strip(directive: Directive): unknown {
  const args = directive.args.map(arg =>
    splitVariables(arg).map(part => (typeof part === 'string' ? part : `$${part.variable}`)),
  );
  return [directive.name, args, directive.block?.map(strip)];
}
