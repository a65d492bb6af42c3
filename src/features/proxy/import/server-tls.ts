// nginx's ssl_* → the route's TLS towards whoever connects.
import { formatDuration } from '../../../core/duration.ts';
import { parseNginxSize } from '../../../wire/nginx-conf.ts';
import { joinCiphers, strongCiphers, strongProtocols, tls13Suites } from './ciphers.ts';
import { convertClients } from './clients.ts';
import { type FilePath, isFile } from './files.ts';
import type { Scope } from './scope.ts';

const nginxCiphers = 'HIGH:!aNULL:!MD5';

/** Writes certificate, clients, protocols, ciphers, curves, session and alpn. False: TLS cannot be ended here. */
export function convertServerTls(scope: Scope, file: FilePath): boolean {
  const certificates = readCertificates(scope, file);
  const versions = convertProtocols(scope, 'ssl_protocols', 'protocols');
  convertCiphers(scope, {
    versions,
    directive: 'ssl_ciphers',
    command: 'ssl_conf_command',
    key: 'ciphers',
    otherwise: nginxCiphers,
  });
  const prefer = scope.flag('ssl_prefer_server_ciphers', false);
  scope.put('prefer-server-ciphers', prefer.on, prefer.directive);
  convertCurves(scope);
  convertSession(scope);
  const alpn = scope.one('ssl_alpn');
  if (alpn) scope.put('alpn', [...alpn.args], alpn);
  const handshake = scope.time('ssl_handshake_timeout');
  if (handshake) scope.put('limits.handshake', formatDuration(handshake.value), handshake.directive);
  convertDhparam(scope);
  convertClients(scope, file);
  return certificates;
}

function readCertificates(scope: Scope, file: FilePath): boolean {
  const certificates = scope.all('ssl_certificate');
  const keys = scope.all('ssl_certificate_key');
  const passwords = scope.one('ssl_password_file');
  const pairs: Record<string, string>[] = [];
  for (const [index, cert] of certificates.entries()) {
    const key = keys[index];
    if (!key) {
      scope.refuse(cert, `no "ssl_certificate_key" is defined for it`, 'give its key');
      continue;
    }
    const strange = [cert, key].find(one => !isFile(one.args[0]));
    if (strange) {
      for (const one of [cert, key]) {
        scope.refuse(
          one,
          'only files are read, not variables, engines, stores or inline data',
          'write certificate: { cert: file:…, key: file:… }',
        );
      }
      continue;
    }
    pairs.push({
      cert: file(cert.args[0] ?? ''),
      key: file(key.args[0] ?? ''),
      ...(passwords && { passphrase: file(passwords.args[0] ?? '') }),
    });
    scope.ledger.say('converted', cert, '→ certificate');
    scope.ledger.say('converted', key, '→ certificate');
  }
  for (const key of keys.slice(certificates.length))
    scope.refuse(key, 'there is no "ssl_certificate" for it', 'remove it, or give its certificate');
  if (passwords) scope.ledger.say('converted', passwords, '→ certificate');
  const [first] = certificates;
  if (pairs.length > 0 && first) scope.put('certificate', pairs.length === 1 ? pairs[0] : pairs, first);
  return pairs.length > 0;
}

/** Shared with proxy_ssl_protocols. Gives the versions that stand. */
export function convertProtocols(scope: Scope, name: string, key: string): readonly string[] {
  const directive = scope.one(name);
  if (!directive) {
    scope.put(key, ['TLSv1.2', 'TLSv1.3']);
    return ['TLSv1.2', 'TLSv1.3'];
  }
  const { versions, dropped, replaced } = strongProtocols(directive.args);
  const unknown = dropped.filter(word => !/^(SSLv[23]|TLSv1(\.1)?)$/i.test(word));
  if (unknown.length > 0)
    scope.refuse(directive, `invalid value "${unknown.join(' ')}"`, 'TLSv1.2 and TLSv1.3 are spoken');
  const note =
    dropped.length > 0
      ? `${dropped.join(', ')} dropped${replaced ? '; TLSv1.2 and TLSv1.3 take their place' : ''}`
      : undefined;
  scope.put(key, [...versions], directive, note);
  const weak = dropped.filter(word => !unknown.includes(word));
  if (weak.length > 0) {
    scope.find(directive, {
      severity: 'medium',
      code: 'weak-protocol',
      text: `${name} asks for ${weak.join(', ')}, which protect nothing today (RFC 8996)`,
      todo: 'nothing for Sekisho, which does not speak them; a peer that speaks nothing newer must be renewed or kept behind the old proxy',
    });
  }
  return versions;
}

interface CipherOptions {
  readonly versions: readonly string[];
  readonly directive: string;
  readonly command: string;
  readonly key: string;
  /** nginx's default list. */
  readonly otherwise: string;
}

/** Shared with proxy_ssl_ciphers. */
export function convertCiphers(
  scope: Scope,
  { versions, directive: name, command, key, otherwise }: CipherOptions,
): void {
  const suites = convertCommands(scope, command);
  const directive = scope.one(name);
  if (!directive) {
    scope.put(key, joinCiphers(otherwise, versions, suites));
    return;
  }
  const { list, dropped, added } = strongCiphers(directive.args[0] ?? '');
  const notes = [
    dropped.length > 0 ? `${dropped.join(', ')} dropped` : '',
    list === undefined ? 'nothing is left, so the modern default stands' : '',
    added.length > 0 ? `${added.join(', ')} added, or anonymous ciphers would be offered` : '',
    !versions.includes('TLSv1.2') ? 'it has no meaning without TLSv1.2' : '',
  ].filter(Boolean);
  const value = joinCiphers(list, versions, suites);
  if (value === undefined) scope.note(directive, notes.join('; '));
  else scope.put(key, value, directive, notes.length > 0 ? notes.join('; ') : undefined);
  if (dropped.length > 0) {
    scope.find(directive, {
      severity: 'medium',
      code: 'weak-cipher',
      text: `${name} asks for ${dropped.join(', ')}, which are broken or weak`,
      todo: 'nothing for Sekisho, which does not offer them; check that no peer depends on them',
    });
  }
}

/** `ssl_conf_command Ciphersuites …` gives the suites; options that only tune are ignored, the rest is refused. */
function convertCommands(scope: Scope, name: string): string {
  let suites = tls13Suites;
  for (const directive of scope.all(name)) {
    const [command = '', value = ''] = directive.args;
    if (command.toLowerCase() === 'ciphersuites') {
      const { list, dropped } = strongCiphers(value);
      suites = list ?? tls13Suites;
      if (dropped.length > 0) scope.note(directive, `${dropped.join(', ')} dropped`);
      else scope.ledger.say('converted', directive, '→ ciphers');
    } else if (
      command.toLowerCase() === 'options' &&
      value.split(',').every(option => tuning.has(option.replace(/^[+-]/, '').toLowerCase()))
    ) {
      scope.ignore(directive, 'it only tunes speed');
    } else {
      scope.refuse(directive, `${command} has no key here`, 'see protocols, ciphers, curves and session');
    }
  }
  return suites;
}
const tuning = new Set([
  'ktls',
  'prioritizechacha',
  'kTLSTxZerocopySendfile'.toLowerCase(),
  'noresumptiononrenegotiation',
  'norenegotiation',
]);

function convertCurves(scope: Scope): void {
  const directive = scope.one('ssl_ecdh_curve');
  if (!directive) return;
  if (directive.args[0] === 'auto') scope.ledger.say('converted', directive, 'it is the default');
  else scope.put('curves', directive.args[0], directive);
}

function convertSession(scope: Scope): void {
  const tickets = scope.flag('ssl_session_tickets', true);
  const timeout = scope.time('ssl_session_timeout');
  const cache = scope.one('ssl_session_cache');
  const ticketKeys = scope.all('ssl_session_ticket_key');
  if (tickets.directive) scope.put('session.tickets', tickets.on, tickets.directive);
  if (timeout) scope.put('session.timeout', formatDuration(Math.max(timeout.value, 1000)), timeout.directive);
  for (const key of ticketKeys)
    scope.ignore(
      key,
      'ticket keys are made and changed by the gate itself; a ticket of another machine costs a full handshake',
    );
  if (!cache) return;
  const sizes = cache.args.map(readCache);
  if (sizes.includes(undefined)) {
    scope.refuse(
      cache,
      `invalid session cache "${cache.args.join(' ')}"`,
      'write session: { cache: number of sessions }',
    );
    return;
  }
  const sessions = Math.max(0, ...sizes.map(size => size ?? 0));
  const note = cache.args.some(arg => arg.startsWith('shared:'))
    ? `a cache of this size holds about ${sessions} sessions`
    : undefined;
  scope.put('session.cache', sessions, cache, note);
}

/** Sessions: nginx says that one megabyte holds about 4000. `undefined` = not a cache. */
function readCache(text: string): number | undefined {
  if (text === 'off' || text === 'none') return 0;
  const builtin = /^builtin(?::(\d{1,9}))?$/.exec(text);
  if (builtin) return Math.min(1_000_000, Number(builtin[1] ?? 20_480));
  const size = parseNginxSize(/^shared:[^:]+:(.+)$/.exec(text)?.[1] ?? '');
  return size === undefined ? undefined : Math.min(1_000_000, Math.floor((size / 1024 ** 2) * 4000));
}

function convertDhparam(scope: Scope): void {
  const directive = scope.one('ssl_dhparam');
  if (!directive) return;
  const list = String(scope.keys.get('ciphers') ?? '')
    .split(':')
    .filter(token => !/^[!@-]|^TLS_/.test(token));
  if (list.length > 0 && list.every(token => /^(DHE|EDH)-/.test(token))) {
    scope.refuse(
      directive,
      'every cipher in the list needs these parameters, and finite-field DHE is not offered',
      'add ECDHE ciphers',
    );
  } else scope.ignore(directive, 'finite-field DHE is not offered; ECDHE takes its place');
}
