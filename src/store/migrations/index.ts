// The list of migrations, in the order in which they run. Never change one that was released; add the next.
import { access } from './0001-access.ts';
import { trust } from './0002-trust.ts';
import { device } from './0003-device.ts';
import { tunnel } from './0004-tunnel.ts';
import { endpoint } from './0005-endpoint.ts';
import { vpn } from './0006-vpn.ts';
import { web } from './0007-web.ts';
import { auditOpen } from './0008-audit.ts';
import { deviceTerminal } from './0009-device-terminal.ts';
import { signIn } from './0010-sign-in.ts';
import { enrolment } from './0011-enrolment.ts';
import type { Migration } from './migrate.ts';

export const migrations: readonly Migration[] = [
  { name: '0001-access', up: access },
  { name: '0002-trust', up: trust },
  { name: '0003-device', up: device },
  { name: '0004-tunnel', up: tunnel },
  { name: '0005-endpoint', up: endpoint },
  { name: '0006-vpn', up: vpn },
  { name: '0007-web', up: web },
  { name: '0008-audit', up: auditOpen },
  { name: '0009-device-terminal', up: deviceTerminal },
  { name: '0010-sign-in', up: signIn },
  { name: '0011-enrolment', up: enrolment },
];
