// Whom the OpenID provider's people are here, and which groups and roles they bring: no more than the configuration says.
import { type Clock, systemClock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import type { Store } from '../store/index.ts';
import type { OidcConfig } from './config.ts';
import type { Directory } from './directory.ts';
import type { Role } from './roles.ts';
import type { User } from './users.ts';

export interface OidcPeople {
  /** The user that this person is. @throws Fault `denied`, with a sentence for them */
  admit(issuer: string, subject: string, claims: Readonly<Record<string, unknown>>): Promise<string>;
}

export interface OidcPeopleOptions {
  readonly store: Store;
  readonly directory: Pick<Directory, 'find' | 'get' | 'add' | 'change' | 'join' | 'leave'>;
  readonly config: OidcConfig;
  readonly clock?: Clock;
  readonly log: Log;
}

const mostGroups = 1000;

export function oidcPeople({ store, directory, config, clock = systemClock, log }: OidcPeopleOptions): OidcPeople {
  const { db } = store;
  const managedRoles = new Set<Role>(Object.values(config.roles));
  const managedGroups = new Set(Object.values(config.groups));

  /** Once somebody has been here, it is they whatever they are called there: names can be taken over, subjects cannot. */
  const boundTo = async (issuer: string, subject: string): Promise<string | undefined> => {
    const row = await db
      .selectFrom('oidc_identity')
      .select('user')
      .where('issuer', '=', issuer)
      .where('subject', '=', subject)
      .executeTakeFirst();
    return row?.user;
  };

  async function bind(issuer: string, subject: string, claims: Readonly<Record<string, unknown>>): Promise<string> {
    const claimed = claims[config.user];
    if (typeof claimed !== 'string' || claimed === '' || claimed.length > 256)
      throw refusal(`the OpenID provider does not say "${config.user}" of you, which is your name here`);
    if (config.user === 'email' && claims['email_verified'] !== true)
      throw refusal('the OpenID provider has not verified your e-mail address, which is your name here');
    const found = directory.find(claimed);
    if (!found && !config.create) throw refusal(`there is no user "${claimed}" here; ask an administrator`);
    if (found) {
      checkRoles(found);
      const taken = await db
        .selectFrom('oidc_identity')
        .select('subject')
        .where('issuer', '=', issuer)
        .where('user', '=', found.name)
        .executeTakeFirst();
      if (taken) throw refusal(`"${found.name}" here is somebody else at the OpenID provider; ask an administrator`);
    }
    const user = found ?? (await directory.add({ name: claimed, roles: ['member'] }));
    if (!found) log.info({ user: user.name, issuer }, 'a user was added by the OpenID provider');
    const row = { issuer, subject, user: user.name, created: clock.now().toISOString() };
    await db.insertInto('oidc_identity').values(row).execute();
    return user.name;
  }

  /** A role that does not come from the provider must not be reached through it. */
  function checkRoles({ name, roles }: User): void {
    const beyond = roles.find(role => role !== 'member' && !managedRoles.has(role));
    if (beyond) throw refusal(`"${name}" is ${beyond} here, and that role does not sign in by the OpenID provider`);
  }

  async function bringGroups(user: string, theirs: ReadonlySet<string>): Promise<void> {
    const due = new Set(Object.entries(config.groups).flatMap(([there, here]) => (theirs.has(there) ? [here] : [])));
    const now = new Set(directory.get(user).groups);
    for (const group of managedGroups) {
      if (due.has(group) && !now.has(group)) await directory.join(group, user);
      if (!due.has(group) && now.has(group)) await directory.leave(group, user);
    }
  }

  async function bringRoles(user: string, theirs: ReadonlySet<string>): Promise<void> {
    const due = Object.entries(config.roles).flatMap(([there, here]) => (theirs.has(there) ? [here] : []));
    const { roles } = directory.get(user);
    const next = [...new Set([...roles.filter(role => !managedRoles.has(role)), ...due])];
    if (next.length === roles.length && next.every(role => roles.includes(role))) return;
    await directory.change(user, { roles: next });
    log.info({ user, before: roles, after: next }, 'the OpenID provider changed the roles of a user');
  }

  return {
    async admit(issuer, subject, claims) {
      const user = (await boundTo(issuer, subject)) ?? (await bind(issuer, subject, claims));
      const found = directory.find(user);
      if (found?.state !== 'active') throw refusal('this user may not sign in; ask an administrator');
      checkRoles(found);
      const told = claims[config['groups-claim']];
      const list = Array.isArray(told) ? told : typeof told === 'string' ? [told] : [];
      const theirs = new Set(list.filter(one => typeof one === 'string').slice(0, mostGroups));
      await bringGroups(found.name, theirs);
      await bringRoles(found.name, theirs);
      return found.name;
    },
  };
}

/** `facts.page`: whoever comes from the provider is known there, and reads why they do not come in here. */
const refusal = (text: string): Fault => new Fault('denied', text, { facts: { page: true } });
