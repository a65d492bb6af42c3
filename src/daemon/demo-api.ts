// The demonstration's way to the API of its own gates.
import { request } from 'node:http';

/** One call of the API over the unix socket, as the command line makes it. */
export function callApi<T>(socketPath: string, method: string, path: string, body?: object): Promise<T> {
  return new Promise((resolve, reject) => {
    const headers = { host: 'localhost', ...(body ? { 'content-type': 'application/json' } : {}) };
    const sending = request({ socketPath, method, path, headers }, async answer => {
      const text = (await answer.setEncoding('utf8').toArray()).join('');
      if ((answer.statusCode ?? 500) < 300) resolve(JSON.parse(text) as T);
      else reject(new Error(`${method} ${path}: ${text}`));
    });
    sending.on('error', reject).end(body ? JSON.stringify(body) : undefined);
  });
}
