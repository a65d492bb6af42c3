// AWS JSON 1.1 on the gate's own origin: POST / with X-Amz-Target, proven by Signature Version 4 with access keys of ours.
import { createHash, randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Fault, isWeather } from '../../core/fault.ts';
import type { AccessRequest, Conn } from '../../core/parts.ts';
import type { Caller } from '../caller.ts';
import type { ApiDeps } from '../deps.ts';
import type { HttpDoor } from '../http-server.ts';
import { tunnelsOf } from '../tunnel.ts';
import { act } from '../verbs.ts';
import { AwsError, toAwsError } from './error.ts';
import { operations } from './operations.ts';
import type { Input } from './shapes.ts';
import { readSignature, type SignedRequest } from './signature.ts';

const prefix = 'IoTSecuredTunneling.';
/** Bytes of a body: 200 tags of the longest fit. */
const longestBody = 512 * 1024;

export function awsDoor(deps: ApiDeps): HttpDoor {
  return {
    name: 'aws',
    claims: ({ method, url, headers }) =>
      method === 'POST' && (url === '/' || url?.startsWith('/?') === true) && headers['x-amz-target'] !== undefined,
    answer(request, response, conn) {
      void serve(request, response, conn, deps);
    },
  };
}

async function serve(request: IncomingMessage, response: ServerResponse, conn: Conn, deps: ApiDeps): Promise<void> {
  const id = randomUUID();
  const target = String(request.headers['x-amz-target'] ?? '');
  try {
    const signed = signedOf(request);
    await refuseStrangers(signed, conn, deps);
    const body = await readBody(request);
    const answer = await run(target, { ...signed, body }, conn, deps);
    send(response, 200, id, answer);
    deps.log.debug({ request: id, target }, 'answered');
  } catch (error) {
    if (isWeather(error) || response.destroyed) return void request.destroy();
    const refusal = toAwsError(error);
    const facts = { request: id, target: target.slice(0, 100), from: conn.peer, type: refusal.type };
    if (refusal.status >= 500) deps.log.error({ ...facts, error }, refusal.message);
    else deps.log.info(facts, refusal.message);
    deps.metrics.count('api_faults_total', { code: refusal.type });
    send(response, refusal.status, id, { __type: refusal.type, message: refusal.message }, refusal.type);
  }
}

const nothing = new Uint8Array();
const hashOfNothing = createHash('sha256').update(nothing).digest('hex');

/** Before the body is read: who names no key of ours gets none of our memory. @throws AwsError, as with the body */
async function refuseStrangers(signed: Omit<SignedRequest, 'body'>, conn: Conn, deps: ApiDeps): Promise<void> {
  const rawHeaders = signed.rawHeaders.map((text, at, all) =>
    at % 2 === 1 && all[at - 1]?.toLowerCase() === 'x-amz-content-sha256' ? hashOfNothing : text,
  );
  const early = { ...signed, rawHeaders, body: nothing };
  const { accessKeyId } = readSignature(early, deps.clock.now());
  if (!deps.directory.hasAccessKey(accessKeyId)) await callerOf(early, conn, deps);
}

const signedOf = ({ method = '', url = '', rawHeaders }: IncomingMessage): Omit<SignedRequest, 'body'> => ({
  ...{ method, url, rawHeaders },
});

async function run(target: string, request: SignedRequest, conn: Conn, deps: ApiDeps): Promise<object> {
  const caller = await callerOf(request, conn, deps);
  const name = target.startsWith(prefix) ? target.slice(prefix.length) : '';
  const operation = Object.hasOwn(operations, name) ? operations[name] : undefined;
  if (!operation)
    throw new AwsError('UnknownOperationException', `This gate knows no operation ${target.slice(0, 200)}.`);
  const input = parse(request.body);
  deps.metrics.count('api_calls_total', { action: operation.action });
  const asked: AccessRequest = {
    ...{ who: caller.who, action: operation.action, resource: operation.resource(input), from: caller.from },
  };
  const tunnels = tunnelsOf(deps);
  try {
    if (operation.changes) {
      return await act(deps.gate, asked, note => operation.run({ input, caller, tunnels, note }));
    }
    judgeRead(asked, deps);
    return await operation.run({ input, caller, tunnels, note: () => {} });
  } catch (error) {
    throw error instanceof Fault && error.code === 'denied' ? denied(name, asked, error) : error;
  }
}

/** As /v1 does it: refusals are written down, reads that are allowed are not. */
function judgeRead(asked: AccessRequest, { gate, policy, clock }: ApiDeps): void {
  const decision = policy().decide(asked, clock.now());
  if (decision.allow === true) return;
  gate.refuse(asked, decision.allow === false ? decision.reason : 'reading cannot wait for approvals');
  throw new Fault('denied', 'not allowed');
}

function denied(name: string, { who, resource }: AccessRequest, fault: Fault): AwsError {
  const why = fault.facts['approval'] === undefined ? '' : `: ${fault.message}`;
  const text = `User: ${who.id} is not authorized to perform: iot:${name} on resource: ${resource}${why}`;
  return new AwsError('AccessDeniedException', text, 403);
}

async function callerOf(request: SignedRequest, conn: Conn, deps: ApiDeps): Promise<Caller> {
  const { accessKeyId, verify } = readSignature(request, deps.clock.now());
  const from = conn.peer;
  try {
    const signal = AbortSignal.timeout(10_000);
    const who = await deps.authenticator.prove({ kind: 'access-key', accessKeyId, verify, from }, signal);
    return { who: deps.standing(who), from };
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    if (error.code === 'limit') throw new AwsError('ThrottlingException', `Rate exceeded: ${error.message}`);
    if (error.code !== 'unknown-caller') throw error;
    // Which of the two it was may be told: the id of a key is no secret, and is too long to be guessed.
    if (!deps.directory.hasAccessKey(accessKeyId))
      throw new AwsError('UnrecognizedClientException', 'The security token included in the request is invalid.', 403);
    throw new AwsError(
      'InvalidSignatureException',
      'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.',
      403,
    );
  }
}

function parse(body: Uint8Array): Input {
  if (body.length === 0) return {};
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw new AwsError('SerializationException', 'The body is not JSON.');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new AwsError('SerializationException', 'The body is not a JSON object.');
  }
  return value as Input;
}

/** The server's own limits on time hold; this one is on bytes. */
async function readBody(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > longestBody)
      throw new AwsError('RequestEntityTooLargeException', `The body is longer than ${longestBody} bytes.`, 413);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

function send(response: ServerResponse, status: number, id: string, answer: object, type?: string): void {
  const body = Buffer.from(JSON.stringify(answer));
  response.writeHead(status, {
    'content-type': 'application/x-amz-json-1.1',
    'content-length': body.length,
    'x-amzn-requestid': id,
    'cache-control': 'no-store',
    ...(type === undefined ? {} : { 'x-amzn-errortype': type }),
    ...(status === 413 ? { connection: 'close' } : {}),
  });
  response.end(body);
}
