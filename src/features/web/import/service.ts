// The half of a server block that looks towards its service: address, Host, TLS, times, what is rewritten.
import { type Directive, parseNginxSize } from '../../../wire/nginx-conf.ts';
import type { Scope } from './scope.ts';

const byHand = 'write the site by hand';
/** What nginx fills in with the name that the client asked for. */
const asked = /^\$\{?(http_host|host|server_name)\}?$/;

export interface ServiceContext {
  readonly file: (path: string) => string;
  readonly groups: ReadonlyMap<string, Directive>;
}

/** Writes the site's keys for one public name. False: nothing can be passed on. */
export function convertService(scope: Scope, name: string, { file, groups }: ServiceContext): boolean {
  const pass =
    scope.location?.block?.find(one => one.name === 'proxy_pass') ??
    scope.server.block?.find(one => one.name === 'proxy_pass');
  if (!pass) return false;
  const [, scheme, host, port, rest = ''] =
    /^(https?):\/\/(\$\{?\w+\}?|\[[^\]]*\]|[^:/$]+)(?::(\d+))?([\s\S]*)$/.exec(pass.args[0] ?? '') ?? [];
  if (scheme === undefined || host === undefined) {
    scope.refuse(pass, `"${pass.args[0]}" is no address that can be written`, byHand);
    return false;
  }
  const path = rest.replace(/\$\{?(request_uri|uri)\}?(\$is_args\$args)?$/, '');
  if (path.includes('$') || (path !== '' && !path.startsWith('/'))) {
    scope.refuse(pass, 'its path is computed from variables', byHand);
    return false;
  }
  const prefix = path === '' || path === '/' ? '/' : path.endsWith('/') ? path : `${path}/`;
  const isAsked = asked.test(host);
  if (host.startsWith('$') && !isAsked) {
    scope.refuse(pass, `${host} is computed at run time`, 'name the services, each as a site');
    return false;
  }
  const to = `${scheme}://${isAsked ? name : host}${port === undefined ? '' : `:${port}`}${prefix}`;
  const note = /http_host/.test(host) ? 'the port that a client writes beside the name is not passed on' : undefined;
  scope.put('to', to, pass, note);
  const group = groups.get(host);
  if (group && !convertGroup(scope, group, port, scheme)) return false;
  convertHost(scope, pass, isAsked);
  if (scheme === 'https') convertTls(scope, file);
  convertRewriting(scope, (pass.args[0] ?? '').includes('$'));
  convertTimes(scope);
  return true;
}

/** `upstream` with one server: where the service is dialled. */
function convertGroup(scope: Scope, group: Directive, port: string | undefined, scheme: string): boolean {
  const servers = (group.block ?? []).filter(one => one.name === 'server');
  const [first, ...more] = servers;
  const [, host = '', own] = /^([^:[]+|\[[^\]]+\])(?::(\d+))?$/.exec(first?.args[0] ?? '') ?? [];
  if (!first || host === '' || more.length > 0) {
    for (const one of [group, ...servers])
      scope.ledger.say(
        'refused',
        one,
        more.length > 0 ? 'a site leads to one service' : 'its server cannot be written',
        'write a proxy route over these servers, and at: its address',
      );
    return false;
  }
  scope.put('at', `tcp://${host}:${own ?? port ?? (scheme === 'https' ? 443 : 80)}`, first);
  scope.ledger.say('converted', group, '→ at');
  for (const one of group.block ?? [])
    if (one !== first) scope.ledger.say('ignored', one, 'connections are kept for each client connection');
  return true;
}

function convertHost(scope: Scope, pass: Directive, isAsked: boolean): void {
  const fields = scope.all('proxy_set_header');
  for (const field of fields) {
    const [name = '', ...words] = field.args;
    const value = words.join(' ');
    const lower = name.toLowerCase();
    if (lower === 'host') hostField(scope, field, value, isAsked);
    else if (/^x-(forwarded-(for|proto|host|port|scheme)|real-ip)$/.test(lower) && value.startsWith('$')) {
      scope.put(
        'forwarded',
        true,
        field,
        'X-Forwarded-For, -Host and -Proto are written by the gate; what clients wrote there is taken out',
      );
    } else if (lower === 'upgrade' || lower === 'connection') {
      scope.ledger.say('converted', field, 'WebSockets pass by themselves');
    } else if (/ssl_client_/.test(value)) {
      scope.refuse(
        field,
        'services are told who is there in fields of the gate',
        'write identity: true, and let the service read X-Sekisho-User',
      );
    } else
      scope.refuse(
        field,
        'fields are not added to requests',
        'let the service do without it, or keep nginx behind the site',
      );
  }
  if (!fields.some(({ args }) => args[0]?.toLowerCase() === 'host')) {
    scope.ledger.say('converted', pass, 'Host is the address’s own, as without proxy_set_header');
  }
}

function hostField(scope: Scope, field: Directive, value: string, isAsked: boolean): void {
  if (value === '$proxy_host' || (isAsked && asked.test(value)))
    scope.ledger.say('converted', field, 'it is the default');
  else if (value === '$http_host') scope.put('host', 'keep', field);
  else if (value === '$host' || value === '$server_name')
    scope.put('host', 'keep', field, 'a port that the client wrote stays in it');
  else if (/^[A-Za-z0-9_.-]+(:\d+)?$/.test(value)) scope.put('host', value, field);
  else scope.refuse(field, `"${value}" is computed at run time`, 'write host: with the name that the service wants');
}

function convertTls(scope: Scope, file: (path: string) => string): void {
  const named = scope.one('proxy_ssl_name');
  const name = named?.args[0]?.includes('$') ? undefined : named?.args[0];
  if (named && name === undefined) scope.ignore(named, 'it is the address’s own');
  else if (named) scope.ledger.say('converted', named, '→ verify.name');
  convertVerify(scope, file, name);
  const sni = scope.one('proxy_ssl_server_name');
  if (sni?.args[0] !== 'on') scope.keys.set('sni', 'off');
  else if (name !== undefined) scope.keys.set('sni', name);
  if (sni) scope.ledger.say('converted', sni, '→ sni');
  const [cert, key] = [scope.one('proxy_ssl_certificate'), scope.one('proxy_ssl_certificate_key')];
  if (!cert || !key) return;
  scope.put('identify', { cert: file(cert.args[0] ?? ''), key: file(key.args[0] ?? '') }, cert);
  scope.ledger.say('converted', key, '→ identify.key');
}

function convertVerify(scope: Scope, file: (path: string) => string, name: string | undefined): void {
  const verify = scope.one('proxy_ssl_verify');
  const ca = scope.one('proxy_ssl_trusted_certificate');
  if (verify?.args[0] === 'on') {
    const value = { ...(ca ? { ca: file(ca.args[0] ?? '') } : {}), ...(name === undefined ? {} : { name }) };
    scope.put('verify', value, verify);
    if (ca) scope.ledger.say('converted', ca, '→ verify.ca');
    return;
  }
  scope.put('verify', 'off');
  if (verify) scope.ledger.say('converted', verify, '→ verify');
  scope.ignore(ca, 'proxy_ssl_verify is off');
  scope.find(scope.location ?? scope.server, {
    severity: 'high',
    code: 'upstream-not-verified',
    text: 'the service behind is reached by TLS, but any certificate is accepted: whoever stands between can pose as it',
    todo: 'remove verify: off, or give its CA with verify: { ca: file:… }',
  });
}

/** nginx rewrites Location and Refresh only, by a prefix; here the rules of URLs decide, and cookies follow. */
function convertRewriting(scope: Scope, isComputed: boolean): void {
  const redirects = scope.all('proxy_redirect');
  const ruled = redirects.map(one => redirectRule(scope, one)).includes(true);
  const cookies = [...scope.all('proxy_cookie_domain'), ...scope.all('proxy_cookie_path')].map(one =>
    cookieRule(scope, one),
  );
  const off = redirects.find(({ args }) => args[0] === 'off');
  if (ruled || cookies.includes(true) || (redirects.length === 0 && !isComputed)) scope.put('rewrite', 'headers');
  else {
    scope.put('rewrite', 'off', off);
    if (!off) scope.comment('rewrite', nothingRewritten);
  }
  for (const one of scope.all('proxy_cookie_flags')) {
    const flags = one.args.slice(1).map(text => text.toLowerCase());
    const same = flags.find(text => text.startsWith('samesite='))?.slice(9);
    if (flags.includes('secure')) scope.keys.set('cookies.secure', true);
    if (same) scope.keys.set('cookies.samesite', same);
    scope.note(one, 'said of every cookie of the service', 'cookies');
  }
}

const nothingRewritten =
  'nginx rewrites nothing where proxy_pass has variables; remove this line to have redirects and cookies put right';

/** Whether addresses are rewritten by it. */
function redirectRule(scope: Scope, one: Directive): boolean {
  const [from = ''] = one.args;
  if (from === 'off') return false;
  if (from === 'default') scope.ledger.say('converted', one, '→ rewrite');
  else if (/^~|\$/.test(from)) {
    const todo = 'addresses of sites are rewritten by the map; write a site for what else it meant';
    scope.refuse(one, 'a pattern of its own cannot be said', todo);
  } else {
    const text = 'addresses of every site are rewritten by the rules of URLs, so in more spellings than this prefix';
    scope.note(one, text, 'rewrite');
  }
  return true;
}

function cookieRule(scope: Scope, one: Directive): boolean {
  if (one.args[0] === 'off') scope.ledger.say('converted', one, 'it is the default of nginx');
  else scope.note(one, 'cookies follow the renaming of the site', 'rewrite');
  return one.args[0] !== 'off';
}

function convertTimes(scope: Scope): void {
  scope.time('proxy_connect_timeout', 'timeouts.connect', '60s');
  scope.time('proxy_send_timeout', 'timeouts.send', undefined);
  scope.time('proxy_read_timeout', 'timeouts.read', '60s');
  const body = scope.one('client_max_body_size');
  const size = parseNginxSize(body?.args[0] ?? '1m');
  if (size === undefined && body) scope.refuse(body, `"${body.args[0]}" is no size`, 'write limits: { body: … }');
  else if (size !== 0) scope.put('limits.body', body?.args[0]?.toLowerCase() ?? '1m', body);
  else if (body) scope.ledger.say('converted', body, 'any size is the default');
  scope.put('hsts', 'off');
}
