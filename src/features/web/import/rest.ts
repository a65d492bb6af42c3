// Directives that only need a word: what the tables say of them, TLS settings, name servers, what nobody made use of.
import type { Ledger } from '../../../wire/import-ledger.ts';
import type { Directive } from '../../../wire/nginx-conf.ts';
import type { Scope } from './scope.ts';
import { ignored, type RefusedRow, refused, refusedFamilies } from './table.ts';

/** What the tables say of every directive of a server and its location. */
export function settleTables(scope: Scope): void {
  for (const one of scope.levels.flat()) {
    if (one.name === 'server' || one.name === 'location' || one.name === 'upstream') continue;
    if (one.name === 'return' && scope.ledger.has(one)) continue;
    const row = refusalOf(one.name);
    if (row) refuseByTable(scope, one, row);
    else if (Object.hasOwn(ignored, one.name)) scope.ignore(one, ignored[one.name] ?? '');
  }
}

/** Read elsewhere, and refused only where they stand alone. */
const readElsewhere = new Set(['ssl_password_file', 'ssl_trusted_certificate']);

const refusalOf = (name: string): RefusedRow | undefined =>
  readElsewhere.has(name)
    ? undefined
    : ((Object.hasOwn(refused, name) ? refused[name] : undefined) ??
      refusedFamilies.find(([pattern]) => pattern.test(name))?.[1]);

function refuseByTable(scope: Scope, one: Directive, row: RefusedRow): void {
  if (row.closes) scope.refuseAndClose(one, row.reason, row.todo);
  else scope.refuse(one, row.reason, row.todo);
  for (const each of one.block ?? []) scope.ledger.say('refused', each, row.reason, row.todo);
}

/** Protocols and suites are the gate's own; what was asked for is compared with them. */
export function settleServer(scope: Scope): void {
  const protocols = scope.one('ssl_protocols');
  if (protocols) {
    const same = protocols.args.join(' ') === 'TLSv1.2 TLSv1.3';
    if (same) scope.ledger.say('converted', protocols, 'it is the default');
    else scope.ledger.say('noted', protocols, 'sites offer TLS 1.2 and TLS 1.3');
  }
  const ciphers = scope.one('ssl_ciphers');
  if (ciphers) scope.ledger.say('noted', ciphers, 'sites offer modern suites, and nothing else');
}

export function readResolver(block: readonly Directive[], scopes: readonly Scope[], ledger: Ledger): string[] {
  const seen = new Set<string>();
  const all = [...block, ...scopes.flatMap(({ directives }) => directives)].filter(({ name }) => name === 'resolver');
  for (const one of new Set(all)) {
    const servers = one.args.filter(word => !/^(valid|ipv[46]|status_zone)=/.test(word));
    const good = servers.filter(word => /^(\d{1,3}(\.\d{1,3}){3}|\[[0-9A-Fa-f:.]+\])(:\d+)?$/.test(word));
    if (good.length < servers.length) {
      ledger.say(
        'refused',
        one,
        'name servers are given by address',
        'write web: { resolver: [ … ] }; without it the system’s resolver is asked',
      );
    } else if (good.length < one.args.length)
      ledger.say('noted', one, '→ web.resolver; answers are kept as long as they say');
    else ledger.say('converted', one, '→ web.resolver');
    for (const word of good) seen.add(word.replace(/^\[([^\]]*)\]$/, '$1'));
  }
  return [...seen];
}

/** What stands in http {} itself and was not made use of. */
export function settleRest(block: readonly Directive[], ledger: Ledger): void {
  for (const one of block) {
    if (ledger.has(one)) continue;
    const row = refusalOf(one.name);
    for (const each of [one, ...(one.block ?? [])]) {
      if (ledger.has(each)) continue;
      const reason = reasonToIgnore(one);
      if (row) ledger.say('refused', each, row.reason, row.todo);
      else if (reason !== undefined) ledger.say('ignored', each, reason);
    }
  }
}

function reasonToIgnore({ name, args }: Directive): string | undefined {
  if (Object.hasOwn(ignored, name)) return ignored[name];
  if (name === 'map' && /upgrade/.test(args.join(' '))) return 'WebSockets pass by themselves';
  return /^(ssl_|proxy_|allow$|deny$|resolver$|client_|upstream$)/.test(name) ? 'no server makes use of it' : undefined;
}
