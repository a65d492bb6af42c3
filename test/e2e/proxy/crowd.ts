// A crowd of TLS clients in a process of its own (file descriptors are counted per process). Run by fork(): opens as
// many as it is told, says so, and at the next message echoes a text over each of them and leaves.
import { once } from 'node:events';
import type { TLSSocket } from 'node:tls';
import { dialTlsTo, echoes } from './rig.ts';

const [port, count, ca] = process.argv.slice(2);
const clients: TLSSocket[] = [];
for (let left = Number(count); left > 0; left -= 50) {
  const more = Array.from({ length: Math.min(50, left) }, () => dialTlsTo(Number(port), { ca: ca ?? '' }));
  clients.push(...(await Promise.all(more)));
}
process.send?.('open');
await once(process, 'message');
let right = 0;
for (const [index, client] of clients.entries()) if ((await echoes(client, `c${index}`)) === `c${index}`) right++;
for (const client of clients) client.destroy();
process.send?.(right);
process.disconnect();
