// The list of migrations, in the order in which they run. Never change one that was released; add the next.
import { access } from './0001-access.ts';
import { trust } from './0002-trust.ts';
import { vpn } from './0006-vpn.ts';
import type { Migration } from './migrate.ts';

export const migrations: readonly Migration[] = [
  { name: '0001-access', up: access },
  { name: '0002-trust', up: trust },
  { name: '0006-vpn', up: vpn },
];
