// The console's files, as the gate hands them out: a page, a script, a style sheet, and headers that let nothing else in.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import type { HttpDoor } from '../api/index.ts';
import type { Log } from '../core/parts.ts';
import { bundleApart } from './bundle-apart.ts';
import { hasConsoleSources } from './console-bundle.ts';

interface File {
  readonly type: string;
  readonly tag: string;
  readonly plain: Buffer;
  readonly gzip: Buffer;
  readonly brotli: Buffer;
}

const types: Readonly<Record<string, string>> = {
  'index.html': 'text/html; charset=utf-8',
  'enrol.html': 'text/html; charset=utf-8',
  'enrol.js': 'text/javascript; charset=utf-8',
  'console.js': 'text/javascript; charset=utf-8',
  'console.css': 'text/css; charset=utf-8',
  'icon.svg': 'image/svg+xml',
  'terminal.js': 'text/javascript; charset=utf-8',
  'terminal.css': 'text/css; charset=utf-8',
};
/** Addresses that people see, without the file's name in them. */
const pages: Readonly<Record<string, string>> = { '/': 'index.html', '/enrol': 'enrol.html' };
/** Nothing from elsewhere, nothing inline, no frames, no plugins, no forms that leave by themselves (CSP level 3). */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join('; ');
const headers = {
  'content-security-policy': policy,
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'cache-control': 'no-cache',
  vary: 'accept-encoding',
};

/** Where `npm run build` puts them; in a clone they are made on the first request. */
const built = join(import.meta.dirname, '../console');

export function consoleDoor({ log }: { readonly log: Log }): HttpDoor {
  let files: Promise<ReadonlyMap<string, File>> | undefined;
  const load = (): Promise<ReadonlyMap<string, File>> => {
    files ??= readConsole().catch(error => {
      files = undefined; // the next request tries again
      throw error;
    });
    return files;
  };
  return {
    name: 'console',
    claims: ({ method, url }) => (method === 'GET' || method === 'HEAD') && nameOf(url) in types,
    answer(request, response) {
      const name = nameOf(request.url);
      load().then(
        all => send(request, response, all.get(name)),
        error => {
          log.error({ error }, 'the console cannot be shown');
          response.writeHead(503, { 'content-type': 'text/plain' }).end('the console cannot be shown; see the log\n');
        },
      );
    },
  };
}

const nameOf = (url = ''): string => {
  const path = url.split('?', 1)[0];
  return path === undefined ? '' : (pages[path] ?? path.slice(1));
};

async function readConsole(): Promise<ReadonlyMap<string, File>> {
  const texts = hasConsoleSources
    ? new Map(await bundleApart('console'))
    : new Map(Object.keys(types).map(name => [name, readFileSync(join(built, name), 'utf8')]));
  return new Map([...texts].map(([name, text]) => [name, fileOf(name, text)]));
}

function fileOf(name: string, text: string): File {
  const plain = Buffer.from(text);
  return {
    type: types[name] ?? 'application/octet-stream',
    tag: `"${createHash('sha256').update(plain).digest('base64url').slice(0, 22)}"`,
    plain,
    gzip: gzipSync(plain, { level: 9 }),
    brotli: brotliCompressSync(plain, { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } }),
  };
}

function send({ method, headers: asked }: IncomingMessage, response: ServerResponse, file: File | undefined): void {
  if (!file) return void response.writeHead(404).end();
  if (asked['if-none-match'] === file.tag) return void response.writeHead(304, { ...headers, etag: file.tag }).end();
  const accepts = String(asked['accept-encoding'] ?? '');
  const coding = /\bbr\b/.test(accepts) ? 'br' : /\bgzip\b/.test(accepts) ? 'gzip' : undefined;
  const bytes = { br: file.brotli, gzip: file.gzip, plain: file.plain }[coding ?? 'plain'];
  response.writeHead(200, {
    ...headers,
    etag: file.tag,
    'content-type': file.type,
    'content-length': bytes.length,
    ...(coding ? { 'content-encoding': coding } : {}),
  });
  response.end(method === 'HEAD' ? undefined : bytes);
}
