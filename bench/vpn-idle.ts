// Members of a hub that say nothing: `node bench/vpn-idle.ts HOST PORT HUB USER COUNT`, the password as the first line of
// stdin. Prints a line when all are in; leaves when stdin ends.
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { connect } from 'node:tls';
import { packInt } from '../src/wire/softether-pack.ts';
import { SoftEtherClient } from '../test/fixtures/softether-client.ts';

const [host = '', port = '', hub = '', user = '', count = ''] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin });
const [password] = (await once(lines, 'line')) as [string];
const members: SoftEtherClient[] = [];
const leave = once(lines, 'close');
for (let one = 0; one < Number(count); one++) {
  const socket = connect({ host, port: Number(port), rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const client = new SoftEtherClient(socket);
  const error = packInt(await client.login({ hub, user, password }), 'error');
  if (error !== 0) throw new Error(`member ${one} was refused with ${error}`);
  members.push(client);
}
console.log('in');
await leave;
await Promise.all(members.map(member => member.close()));
process.exit(0);
