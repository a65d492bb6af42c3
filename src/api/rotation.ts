// cert: taking the CA to its next root, and saying before each step what it would do and to whom.
import { Fault } from '../core/fault.ts';
import type { Device } from '../features/device/index.ts';
import { type RotationStep, stepsAfter } from '../trust/index.ts';
import type { RotationAnswer } from './contract/rotation.ts';
import type { ApiDeps } from './deps.ts';
import type { Handlers } from './verbs.ts';

const named = 100;

interface Sayings {
  readonly would: readonly string[];
  readonly against: readonly string[];
}

export function rotationHandlers({ authority, house }: ApiDeps): Pick<Handlers, 'cert.rotation' | 'cert.rotate'> {
  const look = (): RotationAnswer => {
    const { stage, root, former, hasCross, hasRootKey } = authority.rotation();
    const roots = authority.roots();
    const present = roots.find(one => one.fingerprint === root)?.number ?? 1;
    const newest = roots.reduce((a, b) => (b.number > a.number ? b : a));
    const agents = (house.devices?.()?.registry.all() ?? []).filter(isOfOurs);
    const waiting = roots.length > 1 ? agents.filter(one => !one.agent?.roots?.includes(newest.fingerprint)) : [];
    const facts = { waiting: waiting.length, former: former.length, hasCross, hasRootKey };
    return {
      stage,
      roots: roots.map(({ fingerprint, notAfter, number, cert }) => ({
        ...{ fingerprint, cert, notAfter: notAfter.toISOString() },
        role: number === present ? 'issuing' : number > present ? 'next' : 'former',
      })),
      devices: {
        total: agents.length,
        waiting: waiting.slice(0, named).map(({ name }) => name),
        waitingCount: waiting.length,
      },
      former: {
        total: former.length,
        names: [...new Set(former.map(({ kind, name, names }) => `${kind} ${name || (names[0] ?? '')}`))].slice(
          0,
          named,
        ),
      },
      next: stepsAfter[stage].map(step => {
        const { would, against } = sayings[step](facts);
        return { step, would: [...would], against: [...against] };
      }),
    };
  };
  return {
    'cert.rotation': async () => look(),
    'cert.rotate': async ({ body: { step, force }, note }) => {
      const { next, stage } = look();
      const wanted = next.find(one => one.step === step);
      if (!wanted) {
        const can = next.map(one => one.step).join(' or ');
        throw new Fault('conflict', `the CA is ${stage}: what can follow is ${can}, not ${step}`);
      }
      if (wanted.against.length > 0 && !force)
        throw new Fault('conflict', `${wanted.against.join('; ')}; wait, or insist with force`);
      note({ step, forced: force ? 'yes' : undefined, against: wanted.against });
      await authority.rotate(step);
      return look();
    },
  };
}

/** Only a link tells of roots; what never had one (a certificate by PEM or CSR) has to be looked after by people. */
const isOfOurs = ({ enrolled, revoked, lastSeen }: Device): boolean =>
  enrolled !== undefined && !revoked && lastSeen !== undefined;

const sayings: Readonly<
  Record<RotationStep, (facts: { waiting: number; former: number; hasCross: boolean; hasRootKey: boolean }) => Sayings>
> = {
  prepare: ({ hasRootKey }) => ({
    would: [
      hasRootKey
        ? 'makes the next root and an issuing CA under it, and has the present root certify the next one'
        : 'makes the next root and an issuing CA under it; the present root’s key (ca/root.key) is offline and does not certify the next one: put it back before, or who knows only this root will refuse the next',
      'both roots count from then on; the present one goes on issuing',
      'linked devices are told of the next root at once, others when they link; hand it to people: sekisho cert ca',
      'nothing is cut, and abandon takes it back',
    ],
    against: [],
  }),
  switch: ({ waiting, hasCross }) => ({
    would: [
      'the next root issues from then on; the gate’s own certificates are made anew under it',
      hasCross
        ? 'servers show the next root as certified by the present one, so who knows only that one still verifies'
        : 'who does not know the next root will refuse the gate: the present root’s key was offline when it was made',
      'linked devices get certificates from under the next root at once; those of people still count',
    ],
    against: [
      ...(waiting > 0 ? [`${waiting} devices do not know the next root yet`] : []),
      ...(hasCross ? [] : ['the present root has not certified the next one: people must have been given it before']),
    ],
  }),
  retire: ({ former }) => ({
    would: [
      `the former root no longer counts: ${former} certificates that came from under it are refused, and what they hold open is cut`,
      'its files go to ca/retired in the data folder',
    ],
    against: former > 0 ? [`${former} certificates from under the former root still count`] : [],
  }),
  abandon: () => ({
    would: [
      'the next root is put aside, to ca/retired; nothing was issued under it',
      'devices forget it when they are next told',
    ],
    against: [],
  }),
};
