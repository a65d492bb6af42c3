// One server block: its settings converted once, then a route for each kind of listener and each way that its maps lead.

import type { Directive } from '../../../wire/nginx-conf.ts';
import { addressKey, type Server } from './addresses.ts';
import { convertClientTls } from './client-tls.ts';
import { byHand, type StreamContext } from './context.ts';
import { readName } from './names.ts';
import { convertOptions } from './options.ts';
import { type ImportedRoute, type Names, writeWay } from './route.ts';
import { convertLimits, convertProxyIn, convertRules } from './rules.ts';
import type { Scope } from './scope.ts';
import { convertServerTls } from './server-tls.ts';
import { convertResolver, findWays, passedHost } from './ways.ts';

export function convertServer(server: Server, context: StreamContext): ImportedRoute[] {
  const { scope } = server;
  const pass = scope.one('proxy_pass');
  const prereads = readPreread(scope);
  const rejects = readReject(server, context);
  const names = readServerNames(server, context, prereads);
  const { listens } = server;
  if (listens.length === 0 && !(scope.server.block ?? []).some(one => one.name === 'listen')) {
    scope.refuse(scope.server, 'no "listen" is defined for it', byHand);
  }
  const ends = listens.some(({ tls }) => tls);
  const canEnd = ends && !rejects ? convertServerTls(scope, context.file) : true;
  if (!ends) ignoreServerTls(scope);
  convertRules(scope, listens);
  convertLimits(scope, context.zones, listens);
  convertOptions(scope, { listens, prereads: prereads && !ends });
  const from = convertProxyIn(scope, listens);
  const ways = pass && listens.length > 0 ? findWays(server, pass, prereads, context) : [];
  const [first] = ways;
  convertClientTls(scope, context.file, first ? passedHost(first.cases, context) : { host: '', isGroup: false });
  convertResolver(scope, ways, context);
  if (!canEnd && !rejects) {
    scope.refuse(
      scope.server,
      'TLS is ended here, and there is no certificate that can be read',
      'write certificate: { cert: file:…, key: file:… }',
    );
    return [];
  }
  if (rejects || names === undefined) return [];
  const routes = ways.flatMap(way => writeWay(server, way, { context, names, from }));
  const said = scope.ledger.refused(scope.server);
  if (!said && routes.length > 0)
    scope.ledger.say('converted', scope.server, `→ ${routes.map(route => `proxy.${route.name}`).join(', ')}`);
  else if (!said) scope.refuse(scope.server, pass ? 'no route comes of it' : 'it passes nothing on', byHand);
  return routes;
}

function readPreread(scope: Scope): boolean {
  const preread = scope.flag('ssl_preread', false);
  if (preread.directive) {
    scope.ledger.say(
      'converted',
      preread.directive,
      preread.on ? 'the ClientHello is read, not answered' : 'nothing is read in advance',
    );
  }
  return preread.on;
}

/** A default server that rejects is a listener without a default route: unknown names are refused anyway. */
function readReject({ scope, listens }: Server, { shared }: StreamContext): boolean {
  const reject = scope.flag('ssl_reject_handshake', false);
  if (!reject.directive) return false;
  const harmless = listens.every(listen => shared.get(addressKey(listen))?.[0]?.scope === scope);
  if (!reject.on) scope.ledger.say('converted', reject.directive, 'it is the default');
  else if (harmless) {
    scope.ledger.say('converted', reject.directive, 'no route is the default, so names that no route has are refused');
    scope.ledger.say('converted', scope.server, 'it only rejects; no route is needed for that');
    for (const one of scope.server.block ?? [])
      if (/^ssl_(?!reject)/.test(one.name)) scope.ignore(one, 'every handshake is rejected');
  } else
    scope.refuse(
      reject.directive,
      'single names cannot be rejected beside a default',
      'remove `default: true` from the default route',
    );
  return reject.on;
}

/** `undefined`: nginx would never choose this server. Names matter only where several servers share an address. */
function readServerNames({ scope, listens }: Server, { shared }: StreamContext, prereads: boolean): Names | undefined {
  const directives = (scope.server.block ?? []).filter(one => one.name === 'server_name');
  const crowded = listens.filter(listen => (shared.get(addressKey(listen))?.length ?? 0) > 1);
  if (crowded.length === 0) {
    for (const one of directives) scope.ignore(one, 'only one server listens there, so it answers every name');
    return { list: [] };
  }
  const isDefault = crowded.every(listen => shared.get(addressKey(listen))?.[0]?.scope === scope);
  const sees = crowded.some(({ tls }) => tls) || prereads;
  if (!sees) {
    for (const one of directives)
      scope.ignore(one, 'plain connections carry no name, so the default server answers them all');
    if (isDefault) return { list: [] };
    scope.refuse(
      scope.server,
      'another server is the default on this address, so nginx never chooses this one',
      'remove it, or give it an address',
    );
    return undefined;
  }
  const list = directives.flatMap(one => one.args.flatMap(arg => readOneName(scope, one, arg)));
  if (list.length > 0 || isDefault) return { list };
  if (!directives.some(one => scope.ledger.refused(one))) {
    scope.refuse(
      scope.server,
      'it has no name and is not the default, so nginx never chooses it',
      'give it a server_name, or remove it',
    );
  }
  return undefined;
}

function readOneName(scope: Scope, directive: Directive, text: string): readonly string[] {
  const reading = readName(text, true);
  if ('names' in reading) {
    scope.ledger.say('converted', directive, '→ names');
    return reading.names;
  }
  if ('never' in reading || text === '')
    scope.ignore(directive, 'never' in reading ? reading.never : 'the default route takes connections without a name');
  else scope.refuse(directive, reading.refused, 'write the names in `names:`');
  return [];
}

function ignoreServerTls(scope: Scope): void {
  const own = (scope.server.block ?? []).filter(one => /^ssl_(?!preread|reject)/.test(one.name));
  for (const one of own) scope.ignore(one, 'no listen … ssl stands in this server');
}
