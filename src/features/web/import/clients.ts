// Who may come: client certificates, conditions on their subject, addresses.
import type { Directive } from '../../../wire/nginx-conf.ts';
import type { Scope } from './scope.ts';
import { readCondition, type Who } from './subject.ts';

/** No address of anybody. */
export const nobody = ['255.255.255.255/32'];

export function readClients(
  scope: Scope,
  file: (path: string) => string,
  trust: { readonly clients: Set<string>; readonly crl: Set<string> },
): { readonly required: boolean; readonly who: Who | undefined } {
  const verify = scope.one('ssl_verify_client');
  const mode = verify?.args[0] ?? 'off';
  const ca = scope.one('ssl_client_certificate') ?? (mode === 'off' ? undefined : scope.one('ssl_trusted_certificate'));
  let who: Who | undefined;
  for (const one of scope.every('if')) who = condition(scope, one) ?? who;
  if (mode === 'off') {
    if (verify) scope.ledger.say('converted', verify, '→ clients: none');
    scope.ignore(ca, 'client certificates are not asked for');
    return { required: false, who };
  }
  if (verify) {
    if (mode === 'on') scope.ledger.say('converted', verify, '→ clients: required');
    else scope.note(verify, `${mode} let in who showed no certificate that counts; here one is required`, 'clients');
  }
  if (ca) {
    trust.clients.add(file(ca.args[0] ?? ''));
    scope.ledger.say('converted', ca, '→ trust.clients, for every site');
  } else if (verify) scope.refuseAndClose(verify, 'no CA is named for it', 'write trust: { clients: [ file:… ] }');
  const crl = scope.one('ssl_crl');
  if (crl) {
    trust.crl.add(file(crl.args[0] ?? ''));
    scope.ledger.say('converted', crl, '→ trust.crl');
  }
  const depth = scope.one('ssl_verify_depth');
  if (depth) scope.note(depth, 'three intermediates may stand between a client certificate and its CA');
  return { required: true, who };
}

export function openToAll(scope: Scope): void {
  scope.put('clients', 'none');
  scope.find(scope.server, {
    severity: 'high',
    code: 'no-client-certificate',
    text: 'this server lets in everybody who reaches it: it asks for no client certificate',
    todo: 'remove clients: none, and write who may come in access:',
  });
}

function condition(scope: Scope, one: Directive): Who | undefined {
  const found = readCondition(one);
  const inner = one.block ?? [];
  if (found === undefined || 'why' in Object(found)) {
    const why =
      found === undefined
        ? 'conditions are not looked at, except of client certificates'
        : (found as { why: string }).why;
    scope.refuseAndClose(one, why, 'write who may come in access:');
    for (const each of inner)
      scope.ledger.say(
        'refused',
        each,
        'it stands in a condition that is not converted',
        'write who may come in access:',
      );
    return undefined;
  }
  for (const each of [one, ...inner]) {
    if (found === 'any certificate') scope.ledger.say('converted', each, '→ clients: required');
    else scope.ledger.say('noted', each, '→ access: attributes are compared one by one, exactly, in any script');
  }
  return found === 'any certificate' ? undefined : (found as Who);
}

/** `allow … ; deny all;` is a list of networks; without the last nothing is kept out. */
export function readAddresses(scope: Scope): readonly string[] | undefined {
  const isOne = ({ name }: Directive): boolean => name === 'allow' || name === 'deny';
  const own = scope.levels.find(level => level.some(isOne)) ?? [];
  const list = own.filter(isOne);
  const [last] = list.slice(-1);
  if (!last) return undefined;
  const denies = list.filter(({ name }) => name === 'deny');
  if (denies.length === 0) {
    for (const one of list) scope.ledger.say('ignored', one, 'without deny all it keeps nobody out');
    scope.find(last, {
      severity: 'medium',
      code: 'allow-without-deny',
      text: 'allow without deny all keeps nobody out: every address may come',
      todo: 'write the networks that are meant in access: from',
    });
    return undefined;
  }
  const allows = list.slice(0, -1).filter(({ name }) => name === 'allow');
  const isList = last.name === 'deny' && last.args[0] === 'all' && denies.length === 1;
  if (isList && allows.every(({ args }) => args[0] !== 'all' && args[0] !== 'unix:')) {
    for (const one of list) scope.ledger.say('converted', one, '→ from');
    return allows.length === 0 ? nobody : allows.map(({ args }) => args[0] ?? '');
  }
  for (const one of list)
    scope.refuseAndClose(
      one,
      'networks are allowed here, never excepted',
      'write the networks that may come in access: from',
    );
  return undefined;
}
