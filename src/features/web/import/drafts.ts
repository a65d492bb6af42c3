// Sites that were read, side by side: one domain, one certificate, and rules that let nobody in whom nginx kept out.
import type { Ledger } from '../../../wire/import-ledger.ts';
import { placeText } from '../../../wire/import-report.ts';
import type { Place } from '../../../wire/nginx-conf.ts';
import { webSite } from '../sites/config.ts';
import { nobody } from './clients.ts';
import type { Scope } from './scope.ts';
import type { Who } from './subject.ts';

export interface ImportedSite {
  readonly name: string;
  readonly value: Record<string, unknown>;
  readonly at: Place;
  readonly comments: ReadonlyMap<string, readonly string[]>;
}

export interface Draft {
  readonly name: string;
  readonly scope: Scope;
  readonly who: Who | undefined;
  readonly from: readonly string[] | undefined;
  readonly certificate: Record<string, string> | undefined;
}

/** A rule for `*` reaches every site of the domain: what nginx asks more of is shut until a person has looked. */
export function closeNarrower(drafts: readonly Draft[]): void {
  for (const wide of drafts) {
    if (!wide.name.startsWith('*.') || wide.scope.closed.length > 0 || wide.scope.keys.get('clients') === 'none')
      continue;
    for (const { name, scope, who, from } of drafts) {
      const isCovered = name !== wide.name && name.endsWith(wide.name.slice(1));
      if (!isCovered || scope.keys.get('clients') === 'none') continue;
      if (JSON.stringify([who, from]) === JSON.stringify([wide.who, wide.from])) continue;
      const reason = `${wide.name} lets in others than ${name}, and a rule for it reaches this site too`;
      scope.refuseAndClose(scope.server, reason, 'write the rules of access: by name, and remove from:');
    }
  }
}

/** The domain under which most names stand gets the short ones. */
export function join(drafts: readonly Draft[], ledger: Ledger) {
  const counts = new Map<string, number>();
  for (const { name } of drafts) {
    const parent = name.slice(name.indexOf('.') + 1);
    counts.set(parent, (counts.get(parent) ?? 0) + (name.startsWith('*.') ? 1.5 : 1));
  }
  const [domain] = [...counts].sort(([, a], [, b]) => b - a)[0] ?? [];
  const shared = drafts.find(
    ({ name, certificate }) => certificate && shortOf(name, domain) !== undefined,
  )?.certificate;
  const sites: ImportedSite[] = [];
  const taken = new Map<string, Draft>();
  for (const draft of drafts) {
    const { name, scope, certificate } = draft;
    const key = shortOf(name, domain) ?? name;
    const other = taken.get(key);
    if (other) {
      if (other.scope.server === scope.server) continue;
      scope.refuse(
        scope.server,
        `${name} is the name of another server too (${placeText(other.scope.server.at)}), and nginx takes that one`,
        'remove one of them',
      );
      continue;
    }
    taken.set(key, draft);
    if (certificate && JSON.stringify(certificate) !== JSON.stringify(shared)) scope.put('certificate', certificate);
    if (scope.closed.length > 0) {
      // A rule for * would reach it: the site itself is what stays shut.
      scope.keys.delete('clients');
      scope.put('from', nobody);
      scope.comment('', `closed: nobody may come, since ${scope.closed.join(', ')}`);
    }
    const value = scope.value();
    const checked = webSite.safeParse(value);
    if (!checked.success) {
      const why = checked.error.issues.map(issue => `${issue.path.join('.')}: ${issue.message}`).join('; ');
      scope.refuse(scope.server, `the site that comes of it is not valid (${why})`, 'write the site by hand');
      continue;
    }
    ledger.say('converted', scope.server, `→ web.sites.${key}`);
    sites.push({ name: key, value, at: scope.server.at, comments: scope.comments });
  }
  return { domain, sites, web: shared ? { certificate: shared } : {} };
}

function shortOf(name: string, domain: string | undefined): string | undefined {
  if (domain === undefined || !name.endsWith(`.${domain}`)) return undefined;
  const short = name.slice(0, -domain.length - 1);
  return short.includes('.') ? undefined : short;
}

/** One rule for all sites that the same people may reach. */
export function rulesOf(drafts: readonly Draft[], domain: string | undefined): object[] {
  const rules = new Map<string, { rule: object; to: string[] }>();
  for (const { name, scope, who, from } of drafts) {
    if (scope.closed.length > 0 || scope.keys.get('clients') === 'none') continue;
    const rule = { allow: 'web.request', who: who ?? { issuer: '*' }, ...(from ? { from } : {}) };
    const id = JSON.stringify(rule);
    const known = rules.get(id) ?? { rule, to: [] };
    known.to.push(`web/${shortOf(name, domain) ?? name}`);
    rules.set(id, known);
  }
  return [...rules.values()].map(({ rule, to }) => ({
    ...rule,
    to: to.includes('web/*') ? 'web/*' : to.length === 1 ? to[0] : to,
  }));
}
