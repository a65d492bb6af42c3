// nginx's proxy_ssl_* → the route's TLS towards its targets.
import { isIP } from 'node:net';
import type { Directive } from '../../../wire/nginx-conf.ts';
import { type FilePath, isFile } from './files.ts';
import type { Scope } from './scope.ts';
import { convertCiphers, convertProtocols } from './server-tls.ts';

/** What nginx takes the name from when proxy_ssl_name is absent: the host written in proxy_pass, or the group's name. */
export interface PassedHost {
  readonly host: string;
  readonly isGroup: boolean;
}

/** Whether proxy_ssl is on. */
export function originates(scope: Scope): boolean {
  return scope.flag('proxy_ssl', false).on;
}

const names = [
  'proxy_ssl_verify',
  'proxy_ssl_name',
  'proxy_ssl_server_name',
  'proxy_ssl_verify_depth',
  'proxy_ssl_trusted_certificate',
  'proxy_ssl_crl',
  'proxy_ssl_certificate',
  'proxy_ssl_certificate_key',
  'proxy_ssl_password_file',
  'proxy_ssl_session_reuse',
  'proxy_ssl_protocols',
  'proxy_ssl_ciphers',
  'proxy_ssl_alpn',
  'proxy_ssl_conf_command',
] as const;

export function convertClientTls(scope: Scope, file: FilePath, passed: PassedHost): void {
  const { on, directive: ssl } = scope.flag('proxy_ssl', false);
  if (!on || !ssl) {
    if (ssl) scope.ledger.say('converted', ssl, 'targets are tcp://');
    for (const directive of scope.all(...names)) scope.ignore(directive, 'proxy_ssl is off');
    return;
  }
  scope.ledger.say('converted', ssl, 'targets are tls://');
  const name = readName(scope, passed);
  const sni = scope.flag('proxy_ssl_server_name', false);
  const verify = scope.flag('proxy_ssl_verify', false);
  const sent = sni.on && name !== undefined && isIP(name) === 0 ? name : 'off';
  scope.put(
    'sni',
    sent,
    sni.directive,
    sni.on && sent === 'off' ? 'an IP address is never sent as a server name' : undefined,
  );
  if (verify.on) convertVerify(scope, file, name, verify.directive);
  else skipVerify(scope, verify.directive);
  if (!verify.on) scope.put('verify', 'off');
  findTraps(scope, ssl, { passed, sent, verified: verify.on });

  const versions = convertProtocols(scope, 'proxy_ssl_protocols', 'upstream.protocols');
  // nginx's default towards targets is OpenSSL's DEFAULT, wider than the modern list: old devices depend on it.
  convertCiphers(scope, {
    versions,
    directive: 'proxy_ssl_ciphers',
    command: 'proxy_ssl_conf_command',
    key: 'upstream.ciphers',
    otherwise: 'DEFAULT',
  });
  const reuse = scope.flag('proxy_ssl_session_reuse', true);
  if (reuse.directive) scope.put('upstream.session-reuse', reuse.on, reuse.directive);
  const alpn = scope.one('proxy_ssl_alpn');
  if (alpn) scope.put('upstream.alpn', [...alpn.args], alpn);
  convertIdentity(scope, file);
}

/** The name that is verified and sent; undefined when it cannot be known here. */
function readName(scope: Scope, passed: PassedHost): string | undefined {
  const directive = scope.one('proxy_ssl_name');
  const written = directive?.args[0];
  if (!directive || written === undefined) return passed.host;
  if (written.includes('$')) {
    const used = scope.flag('proxy_ssl_verify', false).on || scope.flag('proxy_ssl_server_name', false).on;
    if (!used) {
      scope.ignore(directive, 'neither proxy_ssl_verify nor proxy_ssl_server_name is on, so no name is used');
      return undefined;
    }
    scope.refuseAndClose(
      directive,
      'the name is computed from variables at run time',
      'write verify: { name: … } and sni: …',
    );
    return undefined;
  }
  scope.ledger.say('converted', directive, '→ verify.name, sni');
  return written;
}

function convertVerify(scope: Scope, file: FilePath, name: string | undefined, directive: Directive | undefined): void {
  if (!directive) return;
  const trusted = scope.one('proxy_ssl_trusted_certificate');
  if (!trusted || !isFile(trusted.args[0])) {
    scope.refuseAndClose(
      directive,
      'no readable proxy_ssl_trusted_certificate goes with proxy_ssl_verify',
      'write verify: { ca: file:… }',
    );
    return;
  }
  scope.put('verify.ca', file(trusted.args[0] ?? ''), trusted);
  if (name !== undefined) scope.put('verify.name', name);
  const depth = scope.count('proxy_ssl_verify_depth');
  scope.put(
    'verify.depth',
    Math.min(depth?.value ?? 1, 10),
    depth?.directive,
    depth && depth.value > 10 ? 'the depth is 10 at most' : undefined,
  );
  const crl = scope.one('proxy_ssl_crl');
  if (crl && isFile(crl.args[0])) scope.put('verify.crl', [file(crl.args[0] ?? '')], crl);
  else if (crl) scope.refuseAndClose(crl, 'only a file is read', 'write verify: { crl: [file:…] }');
  if (name !== undefined && isIP(name) !== 0) {
    scope.note(
      directive,
      'nginx looks for the address among the DNS names of the certificate, Sekisho among its IP addresses',
      'verify',
    );
  } else scope.ledger.say('converted', directive, '→ verify');
}

function skipVerify(scope: Scope, directive: Directive | undefined): void {
  if (directive) scope.ledger.say('converted', directive, '→ verify: off');
  for (const one of scope.all('proxy_ssl_trusted_certificate', 'proxy_ssl_verify_depth', 'proxy_ssl_crl')) {
    scope.ignore(one, 'proxy_ssl_verify is off, so nothing is verified');
  }
}

function convertIdentity(scope: Scope, file: FilePath): void {
  const [cert, key, password] = ['proxy_ssl_certificate', 'proxy_ssl_certificate_key', 'proxy_ssl_password_file'].map(
    name => scope.one(name),
  );
  if (cert && key && isFile(cert.args[0]) && isFile(key.args[0])) {
    scope.put('upstream.certificate.cert', file(cert.args[0] ?? ''), cert);
    scope.put('upstream.certificate.key', file(key.args[0] ?? ''), key);
    if (password) scope.put('upstream.certificate.passphrase', file(password.args[0] ?? ''), password);
    return;
  }
  for (const one of [cert, key, password]) {
    if (one)
      scope.refuse(
        one,
        'a certificate and its key, both as files, are needed',
        'write upstream: { certificate: { cert: file:…, key: file:… } }',
      );
  }
}

interface Traps {
  readonly passed: PassedHost;
  readonly sent: string;
  readonly verified: boolean;
}

/** What proxy_ssl does silently (measured: a self-signed impostor is accepted, and no server name is sent). */
function findTraps(scope: Scope, ssl: Directive, { passed, sent, verified }: Traps): void {
  if (!verified) {
    scope.find(ssl, {
      severity: 'high',
      code: 'encrypts-but-does-not-authenticate',
      text: `proxy_ssl on accepts any certificate${sent === 'off' ? ' and sends no server name (SNI)' : ''}: it encrypts, but whoever stands in between can answer as the target`,
      todo: 'remove `verify: off` and `sni: off`; give verify: { ca: file:…, name: … } where the certificate is not from a public CA',
    });
  } else if (sent === 'off') {
    scope.find(ssl, {
      severity: 'low',
      code: 'no-server-name',
      text: 'no server name (SNI) is sent to the target, so one with several certificates may show the wrong one',
      todo: 'remove `sni: off`',
    });
  }
  const named = scope.all('proxy_ssl_name').length > 0;
  if (!passed.isGroup || named) return;
  const active = verified || sent !== 'off';
  scope.find(ssl, {
    severity: active ? 'medium' : 'low',
    code: 'name-of-the-group',
    text: active
      ? `without proxy_ssl_name the name that is verified and sent is the upstream group's own: "${passed.host}"`
      : `proxy_ssl_name is taken from the upstream group's name: the day verifying is turned on, nginx looks for "${passed.host}" in the certificate`,
    todo: "write the target's real host name in verify: { name: … } and sni: …",
  });
}
