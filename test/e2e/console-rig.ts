// A gate for tests of its console: requests by hand, with the headers that a browser would send.
import { request } from 'node:https';
import type { TestContext } from 'node:test';
import { freePorts, startGate } from '../fixtures/gate-process.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

/** A whole gate, and requests as a browser's page would send them. */
export async function openGate(t: TestContext, more = '') {
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t, { config: `gate: { listen: 'tls://127.0.0.1:${port}', workers: 0 }\n${more}` });
  const ca = (await gate.run('cert', 'ca')).stdout;
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
  const link = async (user: string): Promise<string> => {
    const { stdout } = await gate.run('user', 'link', user, '--json');
    return new URL((JSON.parse(stdout) as { link: string }).link).hash.replace('#code=', '');
  };
  await gate.run('user', 'add', 'alice', '--role', 'admin');
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
  return { gate, ask, link, own, origin, port, ca, signIn, entered };
}
