// The API as one part: Fastify for routing and schemas, our own server for the conns, no port.

import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import swagger from '@fastify/swagger';
import fastify from 'fastify';
import { jsonSchemaTransform, serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import type { Conn } from '../core/parts.ts';
import type { Page } from '../features/web/index.ts';
import { approvalHandlers } from './approval.ts';
import { auditHandlers } from './audit.ts';
import { authHandlers } from './auth.ts';
import { awsDoor } from './aws/door.ts';
import { certHandlers } from './cert.ts';
import type { ApiDeps } from './deps.ts';
import { deviceHandlers } from './device.ts';
import { deviceTerminalDoor } from './device-terminal.ts';
import { endpointHandlers } from './endpoint.ts';
import { enrolmentHandlers } from './enrolment.ts';
import { estDoor } from './est.ts';
import { faultHandler, pathOf, sendFault } from './faults.ts';
import { gateHandlers } from './gate.ts';
import { groupHandlers } from './group.ts';
import { createHttpServer, defaultLimits, type HttpServer } from './http-server.ts';
import { oidcDoor } from './oidc-door.ts';
import { passkeyHandlers } from './passkey.ts';
import { rotationHandlers } from './rotation.ts';
import { sessionHandlers } from './session.ts';
import { statusHandlers } from './status.ts';
import { tokenHandlers } from './token.ts';
import { tunnelHandlers } from './tunnel.ts';
import { tunnelStreamDoor } from './tunnel-stream.ts';
import { userHandlers } from './user.ts';
import { registerVerbs } from './verbs.ts';
import { vpnHandlers } from './vpn.ts';
import { webHandlers } from './web.ts';

export interface Api extends AsyncDisposable {
  /**
   * Serves one conn until it ends; never throws. `local` says that it came over the unix socket in the gate's folder,
   * whose peer acts as administrator; everybody else shows a token with each request.
   */
  handle(conn: Conn, door?: 'local'): Promise<void>;
  /** No new conns; event streams end, requests under way finish until `deadline`. */
  drain(deadline: AbortSignal): Promise<void>;
  /** The OpenAPI 3.1 document. */
  document(): object;
}

export async function createApi(deps: ApiDeps): Promise<Api> {
  const limits = { ...defaultLimits, ...deps.limits };
  const local = new WeakSet<Conn>();
  const draining = new AbortController();
  let http: HttpServer | undefined;
  const app = fastify({
    serverFactory: listener => {
      const isLocal = (conn: Conn): boolean => local.has(conn);
      const own = [
        ...[awsDoor(deps), tunnelStreamDoor(deps, isLocal), deviceTerminalDoor(deps, isLocal)],
        ...[oidcDoor(deps), estDoor(deps)],
      ];
      http = createHttpServer(listener, limits, () => [...own, ...(deps.doors?.() ?? [])]);
      return http.server;
    },
    bodyLimit: limits.body,
    logger: false, // faults are logged by their handler, requests by the hook below
    genReqId: () => randomBytes(9).toString('base64url'), // ours, never the caller's
    routerOptions: { maxParamLength: 300, ignoreTrailingSlash: false },
    return503OnClosing: false,
    clientErrorHandler: (error, socket) => {
      // Not HTTP, or too slow, or too long a header: there is no request to answer within.
      const status = {
        ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
        HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
      };
      const line = status[error.code as keyof typeof status] ?? '400 Bad Request';
      if (socket.writable) socket.write(`HTTP/1.1 ${line}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
      socket.destroy();
    },
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.removeContentTypeParser('text/plain');
  app.setErrorHandler(faultHandler(deps));
  app.setNotFoundHandler(async (request, reply) => {
    const page = await webPage(deps, request.raw, http?.connOf(request.raw));
    if (page) return reply.code(page.status).headers(page.headers).type(page.type).send(page.text);
    return sendFault(reply, 404, {
      code: 'missing',
      message: 'no such call; /v1/openapi.json lists them',
      request: request.id,
    });
  });
  app.addHook('onSend', async (request, reply) => {
    reply.header('x-request-id', request.id);
    reply.header('cache-control', 'no-store');
    reply.header('x-content-type-options', 'nosniff');
    // Pages that stand beside the API bring their own.
    if (!reply.hasHeader('content-security-policy'))
      reply.header('content-security-policy', "default-src 'none'; frame-ancestors 'none'");
    reply.header('x-frame-options', 'DENY');
    if (http?.isDraining()) reply.header('connection', 'close');
  });
  app.addHook('onResponse', async (request, reply) => {
    const facts = { request: request.id, method: request.method, path: pathOf(request), status: reply.statusCode };
    deps.log.debug({ ...facts, ms: Math.round(reply.elapsedTime) }, 'answered');
  });
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Sekisho',
        version: deps.house.version,
        description:
          'What a gate can be asked. Faults are `{error: {code, message, request}}`; times are RFC 3339 in UTC.',
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
    transform: jsonSchemaTransform,
  });
  const document = (): object => app.swagger();
  const own = { document, draining: draining.signal };
  const handlers = {
    ...statusHandlers(deps),
    ...webHandlers(deps),
    ...deviceHandlers(deps),
    ...endpointHandlers(deps),
    ...tunnelHandlers(deps),
    ...vpnHandlers(deps),
    ...sessionHandlers(deps),
    ...certHandlers(deps),
    ...enrolmentHandlers(deps),
    ...rotationHandlers(deps),
    ...userHandlers(deps),
    ...passkeyHandlers(deps),
    ...groupHandlers(deps),
    ...tokenHandlers(deps),
    ...approvalHandlers(deps),
    ...auditHandlers(deps, own),
    ...authHandlers(deps),
    ...gateHandlers(deps, own),
  };
  await app.register(async scope => {
    registerVerbs(scope, handlers, deps, {
      connOf: request => http?.connOf(request.raw),
      isLocal: conn => local.has(conn),
    });
  });
  await app.ready();

  const drain = async (deadline: AbortSignal): Promise<void> => {
    draining.abort();
    await http?.drain(deadline);
    await app.close();
  };
  return {
    async handle(conn, door) {
      if (door === 'local') local.add(conn);
      await http?.handle(conn);
    },
    drain,
    document,
    [Symbol.asyncDispose]: () => drain(AbortSignal.abort()),
  };
}

/** The PAC file and /check stand on the gate's own origin, beside the API. */
async function webPage(deps: ApiDeps, raw: IncomingMessage, conn: Conn | undefined): Promise<Page | undefined> {
  const { method = '', url = '', rawHeaders: fields, httpVersion: version } = raw;
  return conn && deps.house.web?.()?.page({ method, url, fields, version }, conn);
}
