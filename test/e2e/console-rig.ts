// A gate for tests of its console: requests by hand, with the headers that a browser would send.
import { readFileSync } from 'node:fs';
import { request as localRequest } from 'node:http';
import { request } from 'node:https';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { freePorts, startGate } from '../fixtures/gate-process.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

/** Who closes it: a test, or a whole file of them. */
export interface Owner {
  after(call: () => unknown): void;
  diagnostic(text: string): void;
}

/** A whole gate, and requests as a browser's page would send them. */
export async function openGate(t: Owner, more = '') {
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t as TestContext, {
    config: `gate: { listen: 'tls://127.0.0.1:${port}', workers: 0 }\n${more}`,
  });
  const ca = readFileSync(join(gate.data, 'ca/root.crt'), 'utf8');
  const origin = `https://localhost:${port}`;
  const ask = (method: string, path: string, headers: Record<string, string> = {}, body?: unknown): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const json = body === undefined ? {} : { 'content-type': 'application/json' };
      const asked = request(
        {
          host: '127.0.0.1',
          servername: 'localhost',
          port,
          ca,
          method,
          path,
          headers: { host: `localhost:${port}`, ...json, ...headers },
        },
        response => {
          const chunks: Buffer[] = [];
          response.on('data', chunk => chunks.push(chunk));
          response.on('end', () =>
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              text: Buffer.concat(chunks).toString(),
            }),
          );
        },
      ).on('error', reject);
      asked.end(body === undefined ? undefined : JSON.stringify(body));
    });
  /** As the administrator, over the unix socket. @throws with what the gate said against it */
  const local = (method: string, path: string, body?: unknown) =>
    // biome-ignore lint/suspicious/noExplicitAny: tests read whatever came
    new Promise<any>((resolve, reject) => {
      const headers = { host: 'localhost', 'content-type': 'application/json' };
      const socketPath = join(gate.data, 'sekisho.sock');
      const asked = localRequest(
        { socketPath, method, path, headers: body === undefined ? { host: 'localhost' } : headers },
        response => {
          const chunks: Buffer[] = [];
          response.on('data', chunk => chunks.push(chunk));
          response.on('end', () => {
            const text = Buffer.concat(chunks).toString();
            if (response.statusCode === 200) resolve(JSON.parse(text));
            else reject(new Error(`${method} ${path}: ${text}`));
          });
        },
      ).on('error', reject);
      asked.end(body === undefined ? undefined : JSON.stringify(body));
    });
  const link = async (user: string): Promise<string> => {
    const { link: made } = await local('POST', `/v1/users/${user}/link`);
    return new URL(made).hash.replace('#code=', '');
  };
  const add = (name: string, ...roles: readonly string[]) => local('POST', '/v1/users', { name, roles });
  await add('alice', 'admin');
  const own = { origin, 'sec-fetch-site': 'same-origin' };
  /** What a browser sends from then on: its cookie, and the key that its pages keep. */
  const entered = ({ headers, text }: Answer) => ({
    ...own,
    cookie: String(headers['set-cookie']).split(';')[0] ?? '',
    'sekisho-key': (JSON.parse(text) as { key: string }).key,
  });
  const signIn = async (user = 'alice') => {
    const answer = await ask('POST', '/v1/sign-in', own, { code: await link(user) });
    return { cookie: String(answer.headers['set-cookie']), headers: entered(answer) };
  };
  return { gate, ask, local, add, link, own, origin, port, ca, signIn, entered };
}
