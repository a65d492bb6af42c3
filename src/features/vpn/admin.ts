// The password of those who administer by vpncmd: none at first, and then nobody does.
import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import type { Address, Principal } from '../../core/parts.ts';
import { type Cidr, matchCidr, parseCidr } from '../../wire/cidr.ts';
import { type Pack, packData, packText } from '../../wire/softether-pack.ts';
import type { VpnDeps } from './deps.ts';
import { Refusal } from './softether/errors.ts';
import { answerChallenge, sha0 } from './softether/sha0.ts';
import type { VpnStore } from './store.ts';

export interface Administration {
  readonly isOn: boolean;
  /** Where administrators may come from, as CIDR. */
  readonly from: readonly string[];
  /** Since when the password is what it is. */
  readonly since: Date | undefined;
  /** undefined turns it off. Those who are in are put out. @throws Fault `invalid` */
  setPassword(password: string | { readonly hash: Uint8Array } | undefined): Promise<void>;
  setFrom(from: readonly string[]): void;
  /** @throws Refusal */
  prove(pack: Pack, random: Uint8Array, peer: Address): Promise<Principal>;
}

export const adminCredential = 'vpn-admin';
/** It opens everything that vpncmd can do, from where a password can be guessed. */
const shortest = 12;
const context = 'vpn-admin';

export function openAdministration(
  store: VpnStore,
  wanted: readonly string[],
  { sealer, people, attempts, clock }: Pick<VpnDeps, 'sealer' | 'people' | 'attempts'> & { readonly clock: Clock },
): Administration {
  let from = wanted;
  let networks: readonly Cidr[] = wanted.map(parseCidr);
  people.vouch(adminCredential, {
    counts: id => store.admin()?.id === id,
    of: () => [],
    forget: () => {},
  });
  return {
    get isOn() {
      return store.admin() !== undefined;
    },
    get from() {
      return from;
    },
    get since() {
      const row = store.admin();
      return row && new Date(row.created);
    },
    setFrom(next) {
      from = next;
      networks = next.map(parseCidr);
    },
    async setPassword(password) {
      const before = store.admin();
      if (password === undefined) await store.saveAdmin(undefined);
      else {
        if (typeof password === 'string' && ([...password].length < shortest || password.length > 1024))
          throw new Fault('invalid', `the password of administrators has ${shortest} to 1024 characters`);
        const hash = typeof password === 'string' ? sha0(Buffer.from(password)) : Buffer.from(password.hash);
        if (hash.length !== 20 || hash.equals(sha0())) throw new Fault('invalid', 'an empty password is none');
        await store.saveAdmin({
          name: 'administrator',
          id: randomBytes(12).toString('base64url'),
          secret: sealer.seal(hash.toString('hex'), context),
          created: clock.now().toISOString(),
        });
      }
      if (before) people.ended(`${adminCredential}:${before.id}`);
    },
    async prove(pack, random, peer) {
      const row = store.admin();
      const isNear = 'path' in peer || networks.some(network => matchCidr(network, peer.host));
      // The same answer whether it is off, or not for this address.
      if (!row || !isNear)
        throw new Refusal('denied', row ? 'administration from this address' : 'administration is off');
      if (packText(pack, 'hubname') !== '')
        throw new Refusal('denied', 'hubs have no administrators of their own; use /ADMINHUB');
      const guess = { from: peer, subject: 'vpn-admin' };
      await attempts.begin(guess).catch(() => {
        throw new Refusal('denied', 'too many tries');
      });
      const shown = packData(pack, 'secure_password');
      const expected = answerChallenge(Buffer.from(sealer.unseal(row.secret, context), 'hex'), random);
      if (shown?.length !== expected.length || !timingSafeEqual(shown, expected))
        throw new Refusal('denied', 'the password of administrators is wrong');
      await attempts.succeeded(guess);
      return {
        ...{ kind: 'user', id: '', groups: ['role:admin'], attributes: new Map() },
        credential: `${adminCredential}:${row.id}`,
      };
    },
  };
}
