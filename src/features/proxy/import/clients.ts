// nginx's ssl_verify_client and what belongs to it → whose client certificates a route asks for.
import type { Directive } from '../../../wire/nginx-conf.ts';
import { type FilePath, isFile } from './files.ts';
import type { Scope } from './scope.ts';

export function convertClients(scope: Scope, file: FilePath): void {
  const verify = scope.one('ssl_verify_client');
  const mode = verify?.args[0]?.toLowerCase() ?? 'off';
  const [own, trusted, crl, depth] = [
    'ssl_client_certificate',
    'ssl_trusted_certificate',
    'ssl_crl',
    'ssl_verify_depth',
  ].map(name => scope.one(name));
  const parts = [own, trusted, crl, depth].filter(one => one !== undefined);
  if (!verify || mode === 'off') {
    if (verify)
      scope.ledger.say('converted', verify, 'client certificates are not asked for unless `clients:` says so');
    for (const one of parts) scope.ignore(one, 'ssl_verify_client is off');
    return;
  }
  if (mode === 'optional_no_ca') {
    scope.refuseAndClose(
      verify,
      'a certificate that nobody checked says nothing about who comes',
      'write clients: { mode: required, ca: [file:…] }',
    );
    scope.find(verify, {
      severity: 'high',
      code: 'client-certificate-unchecked',
      text: 'ssl_verify_client optional_no_ca lets everybody in, with any certificate or none',
      todo: 'name the CA whose certificates count, and require one',
    });
    for (const one of parts) scope.ignore(one, 'the route is closed until ssl_verify_client is decided');
    return;
  }
  if (mode !== 'on' && mode !== 'optional') {
    scope.refuseAndClose(
      verify,
      `invalid value "${verify.args.join(' ')}"`,
      'write clients: required or clients: optional',
    );
    return;
  }
  const cas = [own, trusted].filter(one => one !== undefined);
  if (cas.length === 0 || cas.some(one => !isFile(one.args[0]))) {
    scope.refuseAndClose(
      verify,
      'no readable ssl_client_certificate or ssl_trusted_certificate goes with it',
      'write clients: { ca: [file:…] }',
    );
    return;
  }
  scope.put('clients.mode', mode === 'on' ? 'required' : 'optional', verify);
  scope.put(
    'clients.ca',
    cas.map(one => file(one.args[0] ?? '')),
  );
  for (const one of cas) scope.ledger.say('converted', one, '→ clients.ca');
  const levels = scope.count('ssl_verify_depth');
  scope.put(
    'clients.depth',
    Math.min(levels?.value ?? 1, 10),
    levels?.directive,
    levels && levels.value > 10 ? 'the depth is 10 at most' : undefined,
  );
  if (crl && isFile(crl.args[0])) scope.put('clients.crl', [file(crl.args[0] ?? '')], crl);
  else if (crl) scope.refuseAndClose(crl, 'only a file is read', 'write clients: { crl: [file:…] }');
  else findMissingCrl(scope, verify);
  if (mode === 'optional') {
    scope.find(verify, {
      severity: 'high',
      code: 'client-certificate-optional',
      text: 'ssl_verify_client optional lets in whoever shows no certificate at all',
      todo: 'write clients: required, unless the server behind decides by the certificate',
    });
  }
}

function findMissingCrl(scope: Scope, verify: Directive): void {
  if (scope.flag('ssl_ocsp', false).on || scope.all('ssl_ocsp').some(one => one.args[0] === 'leaf')) return;
  scope.find(verify, {
    severity: 'medium',
    code: 'no-revocation',
    text: 'client certificates are checked without ssl_crl: a lost or stolen one stays good until it expires',
    todo: 'give a revocation list: clients: { crl: [file:…] }',
  });
}
