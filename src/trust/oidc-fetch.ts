// How the OpenID provider is asked: over verified TLS, never elsewhere, so much and no more, not for ever.
import { request } from 'node:https';
import { Fault } from '../core/fault.ts';

const patience = 10_000;
const longest = 1024 * 1024;

export interface Asked {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** `ca`: PEM instead of the system's CAs. Redirects are answers like any other: nobody is led elsewhere with a secret. */
export function oidcFetch(ca: string | undefined): (url: string, asked: Asked) => Promise<Response> {
  return (url, { method, headers, body }) =>
    new Promise((resolve, reject) => {
      if (!url.startsWith('https://'))
        throw new Fault('invalid', `the OpenID provider names ${new URL(url).origin}, which is not https`);
      const text = body instanceof URLSearchParams ? body.toString() : typeof body === 'string' ? body : undefined;
      const options = { method, headers, agent: false, signal: AbortSignal.timeout(patience), ...(ca ? { ca } : {}) };
      const asked = request(url, options, answer => {
        const chunks: Buffer[] = [];
        let length = 0;
        answer.on('data', (chunk: Buffer) => {
          length += chunk.length;
          if (length > longest) answer.destroy(new Fault('protocol', 'the OpenID provider answers more than 1 MiB'));
          chunks.push(chunk);
        });
        answer.once('error', reject);
        answer.once('end', () => {
          const { statusCode = 500, headers: fields } = answer;
          const told = new Headers();
          for (const [name, value] of Object.entries(fields)) told.set(name, String(value));
          const hasBody = statusCode !== 204 && statusCode !== 304;
          resolve(new Response(hasBody ? Buffer.concat(chunks) : null, { status: statusCode, headers: told }));
        });
      });
      asked.once('error', reject).end(text);
    });
}
