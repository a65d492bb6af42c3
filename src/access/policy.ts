// Who may do what: the rules of `access:`, compiled once. Pure; the same request at the same time gives the same answer.
import type { AccessRequest, Decision, Policy, Principal } from '../core/parts.ts';
import { type Cidr, matchCidr, parseCidr } from '../wire/cidr.ts';
import type { AccessConfig, AccessRule } from './config.ts';
import { glob } from './glob.ts';
import { roleFor } from './roles.ts';
import { compileWhen, type Window } from './when.ts';

/** A decision with what the gate needs to ask for approvals. */
export type RuleDecision =
  | Exclude<Decision, { allow: 'after-approval' }>
  | (Extract<Decision, { allow: 'after-approval' }> & {
      /** Milliseconds that a request may wait. */
      readonly within?: number;
      /** Milliseconds that an approval is good for. */
      readonly lasts?: number;
    });

export interface AccessPolicy extends Policy {
  decide(request: AccessRequest, now: Date): RuleDecision;
  /** Why each rule does or does not fit, for people who write rules: `access[2]: asks for another address`. */
  explain(request: AccessRequest, now: Date): readonly { rule: string; misses: Miss | undefined }[];
}

/** The first part of a rule that does not fit, in the order in which they are looked at. */
export type Miss = 'action' | 'resource' | 'caller' | 'address' | 'time';

interface Compiled {
  readonly name: string;
  readonly rule: AccessRule;
  readonly action: (text: string) => boolean;
  readonly resource: (text: string) => boolean;
  readonly who: (who: Principal) => boolean;
  readonly from: readonly Cidr[] | undefined;
  readonly window: Window | undefined;
}

/** @throws Fault `invalid` for a network that is none; everything else the schema has checked */
export function createPolicy(config: AccessConfig): AccessPolicy {
  const rules = config.map(compile);
  return {
    decide(request, now) {
      const role = roleFor(request.who.groups, request.action);
      if (role !== undefined) return { allow: true, rule: role };
      let nearest: { name: string; miss: Miss } | undefined;
      for (const rule of rules) {
        const { miss, end } = look(rule, request, now);
        if (miss === undefined) return grant(rule, request, now, end);
        if (order[miss] > order[nearest?.miss ?? 'action']) nearest = { name: rule.name, miss };
      }
      return { allow: false, rule: nearest?.name ?? 'access', reason: reasonOf(nearest?.miss) };
    },
    explain: (request, now) => rules.map(rule => ({ rule: rule.name, misses: look(rule, request, now).miss })),
  };
}

const order: Readonly<Record<Miss, number>> = { action: 0, resource: 1, caller: 2, address: 3, time: 4 };
const reasonOf = (miss: Miss | undefined): string =>
  miss === undefined || miss === 'resource' ? 'no rule is about this' : `the nearest rule asks for another ${miss}`;

function look(rule: Compiled, request: AccessRequest, now: Date): { miss?: Miss; end?: Date | null } {
  if (!rule.action(request.action)) return { miss: 'action' };
  if (!rule.resource(request.resource)) return { miss: 'resource' };
  if (!rule.who(request.who)) return { miss: 'caller' };
  const { from } = request;
  if (rule.from && ('path' in from || !rule.from.some(network => matchCidr(network, from.host))))
    return { miss: 'address' };
  const end = rule.window === undefined ? null : rule.window(now);
  return end === undefined ? { miss: 'time' } : { end };
}

/** `for` is the most: who asks for less gets less. */
function grant(
  { name, rule }: Compiled,
  request: AccessRequest,
  now: Date,
  end: Date | null | undefined,
): RuleDecision {
  const spans = [rule.for, request.asks?.for].filter(span => span !== undefined);
  const ends = [...spans.map(span => now.getTime() + span), ...(end ? [end.getTime()] : [])];
  const until = ends.length > 0 ? { until: new Date(Math.min(...ends)) } : {};
  if (!rule.approve) return { allow: true, rule: name, ...until };
  const { group, count, within } = rule.approve;
  return { allow: 'after-approval', rule: name, by: group, count, ...until, within, lasts: rule.for ?? within };
}

function compile(rule: AccessRule, index: number): Compiled {
  return {
    name: `access[${index}]`,
    rule,
    action: any(rule.allow),
    resource: rule.to ? any(rule.to) : () => true,
    who: compileWho(rule.who),
    from: rule.from?.map(parseCidr),
    window: rule.when && compileWhen(rule.when),
  };
}

/**
 * Kinds are kept apart, so that a device called alice is no user called alice and a name in a device's certificate
 * opens nothing meant for people: `device:` admits devices only, every other rule users only. Tokens of tunnels and
 * other nodes are admitted by what opened them, never by a rule. Anonymous callers fit no rule.
 */
function compileWho(who: AccessRule['who']): (who: Principal) => boolean {
  if (!who) return ({ kind, id }) => kind === 'user' && id !== '';
  const { user, device, group, ...attributes } = who;
  const tests: ((who: Principal) => boolean)[] = [({ kind }) => kind === (device ? 'device' : 'user')];
  for (const names of [user, device]) {
    if (!names) continue;
    const matches = any(names);
    tests.push(({ id }) => id !== '' && matches(id));
  }
  if (user && device) return () => false; // nobody is both
  if (group) {
    const matches = any(group);
    tests.push(({ groups }) => groups.some(matches));
  }
  for (const [name, values] of Object.entries(attributes)) {
    if (values === undefined) continue;
    const matches = any(values);
    tests.push(principal => principal.attributes.get(name)?.some(matches) ?? false);
  }
  return principal => tests.every(fits => fits(principal));
}

/** Any of the patterns. */
function any(patterns: readonly string[]): (text: string) => boolean {
  const [first, ...rest] = patterns.map(glob);
  if (first && rest.length === 0) return text => first(text);
  return text => first !== undefined && (first(text) || rest.some(matches => matches(text)));
}
