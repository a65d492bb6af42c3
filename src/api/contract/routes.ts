// The table of verbs: everything the API can be asked, in one place.
import { approvalVerbs } from './approval.ts';
import { auditVerbs } from './audit.ts';
import { authVerbs } from './auth.ts';
import { certVerbs } from './cert.ts';
import { deviceVerbs } from './device.ts';
import { endpointVerbs } from './endpoint.ts';
import { enrolmentVerbs } from './enrolment.ts';
import { gateVerbs } from './gate.ts';
import { groupVerbs } from './group.ts';
import { proxyVerbs } from './proxy.ts';
import { rotationVerbs } from './rotation.ts';
import { sessionVerbs } from './session.ts';
import { statusVerbs } from './status.ts';
import { tokenVerbs } from './token.ts';
import { tunnelVerbs } from './tunnel.ts';
import { userVerbs } from './user.ts';
import type { Answer, Input, Parsed } from './verb.ts';
import { vpnVerbs } from './vpn.ts';
import { webVerbs } from './web.ts';

export const verbs = {
  ...statusVerbs,
  ...sessionVerbs,
  ...proxyVerbs,
  ...webVerbs,
  ...deviceVerbs,
  ...endpointVerbs,
  ...tunnelVerbs,
  ...vpnVerbs,
  ...certVerbs,
  ...enrolmentVerbs,
  ...rotationVerbs,
  ...userVerbs,
  ...groupVerbs,
  ...tokenVerbs,
  ...approvalVerbs,
  ...auditVerbs,
  ...authVerbs,
  ...gateVerbs,
} as const;

export type VerbName = keyof typeof verbs;
/** What a caller of this verb passes. */
export type InputOf<N extends VerbName> = Input<(typeof verbs)[N]>;
/** What the handler of this verb is given. */
export type ParsedOf<N extends VerbName> = Parsed<(typeof verbs)[N]>;
/** What this verb answers. */
export type AnswerOf<N extends VerbName> = Answer<(typeof verbs)[N]>;
