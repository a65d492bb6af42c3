// nginx's http {} → renamed sites and who may reach them, with one row for every directive and what the original leaves open.
import { Ledger } from '../../../wire/import-ledger.ts';
import type { ImportFinding, ImportRow } from '../../../wire/import-report.ts';
import type { Directive } from '../../../wire/nginx-conf.ts';
import { openToAll, readAddresses, readClients } from './clients.ts';
import { closeNarrower, type Draft, type ImportedSite, join, rulesOf } from './drafts.ts';
import { namesOf, readListens } from './listen.ts';
import { readResolver, settleRest, settleServer, settleTables } from './rest.ts';
import { Scope } from './scope.ts';
import { convertService } from './service.ts';

export type { ImportedSite } from './drafts.ts';

export interface HttpImport {
  readonly sites: readonly ImportedSite[];
  /** Keys of `web:` beside sites. */
  readonly web: Readonly<Record<string, unknown>>;
  readonly access: readonly object[];
  readonly gate: { readonly listen?: readonly string[]; readonly http?: string };
  readonly trust: { readonly clients?: readonly string[]; readonly crl?: readonly string[] };
  readonly rows: readonly ImportRow[];
  readonly findings: readonly ImportFinding[];
}
export interface HttpImportOptions {
  /** nginx's paths → references. */
  readonly file: (path: string) => string;
}

interface Reading {
  readonly ledger: Ledger;
  readonly block: readonly Directive[];
  readonly groups: ReadonlyMap<string, Directive>;
  readonly gate: { listen: string[]; http?: string };
  readonly trust: { readonly clients: Set<string>; readonly crl: Set<string> };
  readonly file: (path: string) => string;
}

/** Pure. Nothing here throws for what a configuration says: what cannot be converted is a row. */
export function importHttp(http: Directive, { file }: HttpImportOptions): HttpImport {
  const ledger = new Ledger();
  const block = http.block ?? [];
  const groups = new Map(block.filter(({ name }) => name === 'upstream').map(one => [one.args[0] ?? '', one]));
  const gate: Reading['gate'] = { listen: [] };
  const trust: Reading['trust'] = { clients: new Set(), crl: new Set() };
  const servers = block.filter(({ name }) => name === 'server');
  const drafts = servers.flatMap(server => readServer(server, { ledger, block, groups, gate, trust, file }));
  closeNarrower(drafts);
  const { domain, sites, web } = join(drafts, ledger);
  const scopes = drafts.map(({ scope }) => scope);
  const resolver = readResolver(block, scopes, ledger);
  const named = scopes.find(({ keys }) => /^https?:\/\/[^/]*[a-z*]/i.test(String(keys.get('to'))));
  settleRest(block, ledger);
  ledger.say('converted', http, `${sites.length} site${sites.length === 1 ? '' : 's'}`);
  return {
    sites,
    web: {
      ...(domain === undefined ? {} : { domain }),
      ...web,
      ...(resolver.length > 0 ? { resolver } : {}),
      ...(named ? { addresses: ['127.0.0.0/8', '::1/128'] } : {}),
    },
    access: rulesOf(drafts, domain),
    gate: { ...(gate.listen.length > 0 ? { listen: gate.listen } : {}), ...(gate.http ? { http: gate.http } : {}) },
    trust: {
      ...(trust.clients.size > 0 ? { clients: [...trust.clients] } : {}),
      ...(trust.crl.size > 0 ? { crl: [...trust.crl] } : {}),
    },
    rows: ledger.rows([http]),
    findings: [...ledger.findings, ...(named ? [leadsAnywhere(named)] : [])],
  };
}

const leadsAnywhere = ({ server }: Scope): ImportFinding => ({
  severity: 'low',
  code: 'names-lead-anywhere',
  at: server.at,
  text: 'nginx follows a name wherever DNS says, to this machine too; `addresses:` keeps that for loopback',
  todo: 'remove addresses: unless services run on this machine under names',
});

/** One server → a site for each of its names. */
function readServer(server: Directive, { ledger, block, groups, gate, trust, file }: Reading): Draft[] {
  const location = rootLocation(server, ledger);
  const scope = new Scope(ledger, block, server, location);
  const listens = readListens(scope, gate);
  settleTables(scope);
  if (listens === 'plain') return [];
  const certificate = readCertificate(scope, file);
  const clients = readClients(scope, file, trust);
  const from = readAddresses(scope);
  settleServer(scope);
  return namesOf(scope).flatMap(name => {
    const own = new Scope(ledger, block, server, location);
    own.closed.push(...scope.closed);
    for (const [key, lines] of scope.comments) for (const line of lines) own.comment(key, line);
    if (!convertService(own, name, { file, groups })) return [];
    if (!clients.required) openToAll(own);
    if (from && !clients.required) own.put('from', from);
    return [{ name, scope: own, who: clients.who, from, certificate }];
  });
}

/** `location /`, the only one that a site can be. */
function rootLocation(server: Directive, ledger: Ledger): Directive | undefined {
  let root: Directive | undefined;
  for (const one of (server.block ?? []).filter(({ name }) => name === 'location')) {
    const [modifier, path = modifier] = one.args;
    if (one.args.length === 1 && path === '/' && !root) {
      root = one;
      ledger.say('converted', one, 'everything of the site');
      continue;
    }
    for (const each of [one, ...(one.block ?? [])]) {
      ledger.say(
        'refused',
        each,
        'a site leads to one service, whatever the path',
        'write another site for it, or let the service tell paths apart',
      );
    }
  }
  return root;
}

function readCertificate(scope: Scope, file: (path: string) => string): Draft['certificate'] {
  const [cert, key, pass] = ['ssl_certificate', 'ssl_certificate_key', 'ssl_password_file'].map(name =>
    scope.one(name),
  );
  if (!cert || !key) return undefined;
  for (const one of [cert, key, pass]) {
    if (one?.args[0]?.includes('$')) {
      scope.refuse(one, 'certificates are not chosen at run time', 'name the file of each site');
      return undefined;
    }
    if (one) scope.ledger.say('converted', one, '→ certificate');
  }
  return {
    cert: file(cert.args[0] ?? ''),
    key: file(key.args[0] ?? ''),
    ...(pass ? { passphrase: file(pass.args[0] ?? '') } : {}),
  };
}
