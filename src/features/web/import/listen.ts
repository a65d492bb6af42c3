// Where servers listen → the gate's own port; a plain one can only redirect. And the names that they answer to.
import type { Ledger } from '../../../wire/import-ledger.ts';
import type { Directive } from '../../../wire/nginx-conf.ts';
import type { Scope } from './scope.ts';

/** Where the gate listens. A server on a plain port can only redirect. */
export function readListens(scope: Scope, gate: { listen: string[]; http?: string }): 'tls' | 'plain' {
  const { server, ledger } = scope;
  const listens = (server.block ?? []).filter(({ name }) => name === 'listen');
  const isTls = listens.some(({ args }) => args.includes('ssl')) || scope.one('ssl')?.args[0] === 'on';
  for (const one of listens) {
    const [address = '', ...options] = one.args;
    const [, host = '', port = '80'] = /^(?:(\[[^\]]*\]|[^:]*):)?(\d+)$/.exec(address) ?? [undefined, address, '80'];
    if (address.startsWith('unix:') || !/^\d+$/.test(port)) {
      scope.refuse(one, 'sites stand on a TCP port', 'write gate.listen by hand');
      continue;
    }
    const where = `${host === '' || host === '*' ? '0.0.0.0' : host}:${port}`;
    const told = options.filter(
      word => !/^(ssl|http2|default_server|reuseport|deferred|ipv6only=.*|backlog=\d+)$/.test(word),
    );
    if (told.length > 0) scope.refuse(one, `${told.join(' ')}: not understood`, 'write it in gate: by hand');
    else if (options.includes('ssl')) {
      const url = `tls://${where}`;
      if (!gate.listen.includes(url)) gate.listen.push(url);
      scope.ledger.say('converted', one, '→ gate.listen; every site stands on every port of the gate');
    } else if (isTls) scope.refuse(one, 'a site stands on TLS only', 'gate.http redirects from the plain port');
    else gate.http ??= `tcp://${where}`;
  }
  if (isTls || listens.length === 0) {
    // [::] hears IPv4 as well.
    for (const port of gate.listen.flatMap(url => /^tls:\/\/\[::\]:(\d+)$/.exec(url)?.[1] ?? []))
      gate.listen = gate.listen.filter(url => url !== `tls://0.0.0.0:${port}`);
    return 'tls';
  }
  settlePlain(scope, listens, ledger);
  return 'plain';
}

/** `return 301 https://$host$request_uri` is what gate.http does; anything else in the clear is not kept. */
function settlePlain({ server, location }: Scope, listens: readonly Directive[], ledger: Ledger): void {
  const answer = [...(server.block ?? []), ...(location?.block ?? [])].find(({ name }) => name === 'return');
  const redirects =
    answer !== undefined && /^30[1278]$/.test(answer.args[0] ?? '') && /^https:\/\//.test(answer.args[1] ?? '');
  for (const one of [
    ...listens,
    server,
    ...(server.block ?? []),
    ...(location ? [location, ...(location.block ?? [])] : []),
  ]) {
    if (ledger.has(one) && one !== location) continue;
    if (redirects) ledger.say('converted', one, '→ gate.http, which answers 308 for names of sites');
    else {
      ledger.say('refused', one, 'nothing is served in the clear', 'gate.http redirects names of sites to https');
    }
  }
}

export function namesOf(scope: Scope): string[] {
  const { server, ledger } = scope;
  const names: string[] = [];
  for (const one of (server.block ?? []).filter(({ name }) => name === 'server_name')) {
    for (const word of one.args) {
      const name = word.toLowerCase();
      if (name === '_' || name === '') scope.note(one, 'unknown names reach the gate itself, never a site');
      else if (name.startsWith('.')) names.push(name.slice(1), `*${name}`);
      else if (/^(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$/.test(name) && name.includes('.')) names.push(name);
      else
        scope.refuse(
          one,
          `"${word}" is no name that a certificate could carry`,
          'write the names that are meant, in full',
        );
    }
    if (!ledger.has(one)) ledger.say('converted', one, '→ web.sites');
  }
  if (names.length === 0 && !scope.directives.some(({ name }) => name === 'server_name')) {
    scope.refuse(
      server,
      'it has no server_name, and sites are told apart by theirs',
      'write the name under which it is reached',
    );
  }
  return names;
}
