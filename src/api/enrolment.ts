// cert: links with which people fetch a certificate of their own.
import { parseDuration } from '../core/duration.ts';
import { Fault } from '../core/fault.ts';
import type { Address, Principal } from '../core/parts.ts';
import {
  anonymous,
  type Bound,
  checkRenewable,
  type Enrolment,
  type EnrolmentWish,
  type Issued,
  type Signed,
} from '../trust/index.ts';
import { definedOf, subjectText } from './cert.ts';
import type { EnrolmentAnswer } from './contract/enrolment.ts';
import type { ApiDeps } from './deps.ts';
import { act, type Handlers } from './verbs.ts';

type Verbs = 'cert.enroll' | 'cert.renew' | 'cert.enrolments' | 'cert.unlink' | 'cert.link' | 'cert.fetch';

export function enrolmentHandlers(deps: ApiDeps): Pick<Handlers, Verbs> {
  const { authority, clock, directory, enrolments, house } = deps;
  // In the fragment: it stands in no log of ours or of a proxy, and is sent to nobody as a referrer.
  const linkOf = ({ code }: { readonly code: string }): string => `${house.origin()}/enrol#code=${code}`;
  return {
    'cert.enroll': async ({ body, note }) => {
      const { name, cn, ou, o, days, for: life } = body;
      const wish: EnrolmentWish = { ...definedOf({ cn, o, days }), ...(ou.length === 0 ? {} : { ou }) };
      const user = (await directory.ensure({ name })).name;
      const made = await enrolments.invite({ user, wish, for: parseDuration(life) });
      note({ link: made.id, until: made.expires.toISOString() });
      return { ...toEnrolment(made), link: linkOf(made) };
    },
    'cert.renew': async ({ params, body, note }) => {
      const before = authority.show(params.serial);
      if (before.kind === 'device')
        throw new Fault('invalid', 'links are for people; a device renews by its link, or: sekisho device enroll');
      checkRenewable(before, before, clock.now());
      if (directory.find(before.name)?.state !== 'active')
        throw new Fault('conflict', `${before.name} is disabled or gone, and so is what they could renew`);
      const { name: user, subject, serial: replaces } = before;
      const wish: EnrolmentWish = { ...subject, ...definedOf({ days: body.days }), replaces };
      const made = await enrolments.invite({ user, wish, for: parseDuration(body.for) });
      note({ link: made.id, user, until: made.expires.toISOString() });
      return { ...toEnrolment(made), link: linkOf(made) };
    },
    'cert.enrolments': async ({ query }) => {
      const found = (await enrolments.list())
        .filter(({ user, state }) => [user, undefined].includes(query.user) && [state, undefined].includes(query.state))
        .map(toEnrolment);
      return { enrolments: found.slice(0, query.limit), total: found.length };
    },
    'cert.unlink': async ({ params, note }) => {
      const ended = await enrolments.revoke(params.id);
      note({ user: ended.user });
      return toEnrolment(ended);
    },
    'cert.link': async ({ body, caller: { from } }) => {
      const found = await proven(deps.gate, from, enrolments.look(body.code, from));
      const { user, subject, until } = toEnrolment(found);
      const gateName = house.names()[0] ?? 'localhost';
      return { user, subject, until, gate: gateName, fingerprint: authority.root().fingerprint };
    },
    'cert.fetch': async ({ body, caller: { from } }) => {
      const made = await redeem<Signed & Partial<Issued>>(deps, body.code, from, order =>
        'csr' in body ? authority.signCsr({ ...order, csr: body.csr }) : authority.issueClient(order),
      );
      const { serial, fingerprint, cert, chain, notAfter, key } = made;
      const common = { serial, fingerprint, cert, chain: [...chain], notAfter: notAfter.toISOString() };
      const answer = { ...common, ca: authority.root().cert };
      if ('csr' in body || key === undefined) return answer;
      const p12 = await authority.exportP12({ ...made, key }, body.password, { legacy: body.format === 'p12-legacy' });
      return { ...answer, p12: Buffer.from(p12).toString('base64') };
    },
  };
}

/** A wrong code is written down, as every other proof that was wrong. */
export const proven = async <T>(gate: ApiDeps['gate'], from: Address, work: Promise<T>): Promise<T> =>
  work.catch(error => {
    if (error instanceof Fault && ['unknown-caller', 'limit'].includes(error.code))
      gate.refuse({ who: anonymous, action: 'cert.enroll', resource: 'cert/*', from }, error.code);
    throw error;
  });

/** Spends a link's code for the certificate that it buys. @throws Fault `unknown-caller`, `limit`, and what the CA throws */
export function redeem<T extends Signed>(
  { enrolments, gate }: Pick<ApiDeps, 'enrolments' | 'gate'>,
  code: string,
  from: Address,
  make: (order: Bound) => Promise<T>,
): Promise<T> {
  const fetch = enrolments.redeem(code, from, enrolment =>
    act(gate, enrolling(enrolment, from), async note => {
      const order = { user: enrolment.user, ...enrolment.wish };
      const made = await make(order);
      note({ serial: made.serial, fingerprint: made.fingerprint, link: enrolment.id, replaces: order.replaces });
      return made;
    }),
  );
  return proven(gate, from, fetch);
}

/** The link itself is what lets its bearer have this one certificate. */
const enrolling = ({ id, user }: Enrolment, from: Address) => {
  const who: Principal = { kind: 'user', id: user, groups: [], attributes: new Map(), credential: `code:${id}` };
  return { who, action: 'cert.enroll', resource: `cert/${user}`, from, opened: 'link' } as const;
};

const toEnrolment = ({ id, user, wish, created, expires, state, serial }: Enrolment): EnrolmentAnswer => ({
  ...{ id, user, state, subject: subjectText({ cn: user, ...wish }) },
  ...{ created: created.toISOString(), until: expires.toISOString() },
  ...definedOf({ serial, replaces: wish.replaces }),
});
