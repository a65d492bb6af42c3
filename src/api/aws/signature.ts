// AWS Signature Version 4, the verifying side: what a request claims, and whether a secret made its signature.
//
//   Authorization: AWS4-HMAC-SHA256 Credential=<id>/<yyyymmdd>/<region>/<service>/aws4_request,
//                  SignedHeaders=<names, sorted, ;>, Signature=<hex>
import { createHash, createHmac } from 'node:crypto';
import { sameSecret } from '../../core/secret.ts';
import { AwsError } from './error.ts';

export interface SignedRequest {
  readonly method: string;
  /** Path and query as they came. */
  readonly url: string;
  readonly rawHeaders: readonly string[];
  readonly body: Uint8Array;
}

export interface Claimed {
  readonly accessKeyId: string;
  readonly region: string;
  /** Whether this secret made the signature; in constant time. */
  verify(secretAccessKey: string): boolean;
}

/** The name in the scope has capitals; it is neither `iot` nor `iotsecuretunneling`. */
export const serviceInScope = 'IoTSecuredTunneling';
const algorithm = 'AWS4-HMAC-SHA256';
/** Milliseconds that clocks may differ. */
const skew = 5 * 60_000;
/** What a signature must cover, or somebody on the way could exchange it. */
const mustSign = ['host', 'x-amz-target'];

/** Checks form, time and scope; the signature itself is checked by `verify`. @throws AwsError */
export function readSignature(request: SignedRequest, now: Date): Claimed {
  const headers = headersOf(request.rawHeaders);
  const authorization = headers.get('authorization');
  if (authorization === undefined) {
    throw new AwsError('MissingAuthenticationTokenException', 'Missing Authentication Token', 403);
  }
  if (headers.has('x-amz-security-token')) {
    throw new AwsError('UnrecognizedClientException', 'This gate issues access keys without session tokens', 403);
  }
  const { credential, signed, signature } = partsOf(authorization);
  const [accessKeyId = '', day = '', region = '', service = '', ending = '', ...more] = credential.split('/');
  if (more.length > 0 || ending !== 'aws4_request' || !/^[A-Za-z0-9]{1,128}$/.test(accessKeyId)) {
    throw incomplete('Credential must be <key>/<date>/<region>/<service>/aws4_request');
  }
  if (service !== serviceInScope) {
    throw invalid(`Credential should be scoped to correct service: '${serviceInScope}'`);
  }
  if (!/^[a-z0-9-]{1,64}$/.test(region)) throw incomplete('The region in the credential is none');
  const time = headers.get('x-amz-date') ?? '';
  const at = timeOf(time);
  if (at === undefined) throw incomplete("Authorization header requires existence of a 'X-Amz-Date' header");
  if (!time.startsWith(day))
    throw invalid('Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date');
  if (Math.abs(now.getTime() - at) > skew) {
    throw invalid(`Signature expired or not yet current: ${time}, and here it is ${now.toISOString()} (± 5 min)`);
  }
  const names = signed.split(';');
  const needed = [...mustSign, ...(headers.has('x-amz-date') ? ['x-amz-date'] : [])];
  if (
    needed.some(name => !names.includes(name)) ||
    names.some(name => name !== name.toLowerCase() || !headers.has(name))
  ) {
    throw invalid(`The signature must cover ${needed.join(', ')}, and nothing that was not sent`);
  }
  const hash = sha256(request.body);
  const told = headers.get('x-amz-content-sha256');
  if (told !== undefined && told !== hash) throw invalid('x-amz-content-sha256 is not the hash of the body');
  const canonical = [
    ...[request.method, ...canonicalUrl(request.url)],
    ...names.map(name => `${name}:${headers.get(name)}`),
    ...['', signed, hash],
  ].join('\n');
  const scope = `${day}/${region}/${service}/aws4_request`;
  const toSign = [algorithm, time, scope, sha256(canonical)].join('\n');
  return {
    ...{ accessKeyId, region },
    verify(secretAccessKey) {
      const key = [day, region, service, 'aws4_request'].reduce<Buffer>(
        (secret, part) => hmac(secret, part),
        Buffer.from(`AWS4${secretAccessKey}`),
      );
      return sameSecret(hmac(key, toSign).toString('hex'), signature);
    },
  };
}

function partsOf(authorization: string): { credential: string; signed: string; signature: string } {
  const [, kind, rest = ''] = /^(\S+)\s+(.*)$/.exec(authorization) ?? [];
  if (kind !== algorithm) throw incomplete(`only ${algorithm} is understood here`);
  const fields = new Map(
    rest.split(',').map((part): [string, string] => {
      const [name = '', ...value] = part.trim().split('=');
      return [name, value.join('=')];
    }),
  );
  const [credential = '', signed = '', signature = ''] = ['Credential', 'SignedHeaders', 'Signature'].map(name =>
    fields.get(name),
  );
  if (credential === '' || signed === '' || !/^[0-9a-f]{64}$/.test(signature)) {
    throw incomplete('Authorization header requires Credential, SignedHeaders and Signature');
  }
  return { credential, signed, signature };
}

/** Lower-case names; values trimmed, runs of spaces one; repeated fields joined in order. */
function headersOf(rawHeaders: readonly string[]): Map<string, string> {
  const headers = new Map<string, string>();
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = (rawHeaders[index] ?? '').toLowerCase();
    const value = (rawHeaders[index + 1] ?? '').trim().replace(/ +/g, ' ');
    const before = headers.get(name);
    headers.set(name, before === undefined ? value : `${before},${value}`);
  }
  return headers;
}

/** The path, and the query with its pairs in order. The path of this API is always `/`. */
function canonicalUrl(url: string): [string, string] {
  const [path = '/', query = ''] = url.split('?', 2);
  const pairs = query === '' ? [] : query.split('&').map(pair => (pair.includes('=') ? pair : `${pair}=`));
  return [path, pairs.sort().join('&')];
}

function timeOf(text: string): number | undefined {
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text) ?? [];
  if (year === undefined) return undefined;
  const at = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return Number.isNaN(at) ? undefined : at;
}

const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');
const hmac = (key: Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
const invalid = (text: string): AwsError => new AwsError('InvalidSignatureException', text, 403);
const incomplete = (text: string): AwsError => new AwsError('IncompleteSignatureException', text, 403);
