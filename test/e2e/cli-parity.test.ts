// Whatever the console does, the command line does: every verb of the API has a line that calls it, and answers in JSON.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { calls } from '../../console/src/api.ts';
import { type VerbName, verbs } from '../../src/api/contract/routes.ts';
import type { Verb } from '../../src/api/contract/verb.ts';
import { plant } from '../../src/cli/index.ts';
import { openHouse } from './api-house.ts';
import { runSekisho } from './cli-run.ts';

const id = '11111111-1111-4111-8111-111111111111';
interface Line {
  readonly line: string;
  readonly input?: string;
}
const typed = (line: string, input: string): Line => ({ line, input });

/** A line for each verb, as one types it. `FILE` is a new file, `PEM` a certificate, `LINK` an enrolment link. */
const lines: Partial<Record<VerbName, string | Line>> = {
  'status.show': 'status',
  'session.list': 'session list',
  'session.show': 'session show s1',
  'session.cut': 'session cut s1 --reason late',
  'proxy.list': 'proxy list',
  'web.list': 'web list',
  'web.pac': 'web pac --for chrome',
  'web.check': 'web check http://server1/',
  'device.list': 'device list',
  'device.show': 'device show pump-7',
  'device.enroll': 'device enroll pump-7 --service ssh=127.0.0.1:22',
  'device.change': 'device set pump-7 --tag a=b',
  'device.rename': 'device rename pump-7 pump-8',
  'device.revoke': 'device revoke pump-7',
  'device.remove': 'device remove pump-7 --yes',
  'device.host-keys': 'device host-keys pump-7',
  'device.host-key-remove': 'device forget-host-key pump-7 ssh',
  'endpoint.open': 'endpoint open device://pump-7/ssh --for 30m --from 203.0.113.7/32',
  'endpoint.list': 'endpoint list',
  'endpoint.show': 'endpoint show abcd1234',
  'endpoint.extend': 'endpoint extend abcd1234 --for 30m',
  'endpoint.close': 'endpoint close abcd1234',
  'endpoint.approve': 'endpoint approve abcd1234',
  'endpoint.link': 'endpoint link abcd1234',
  'endpoint.evidence': 'endpoint evidence abcd1234',
  'tunnel.open': 'tunnel open pump-7 --service ssh --for 1h',
  'tunnel.list': 'tunnel list',
  'tunnel.show': 'tunnel show t1',
  'tunnel.rotate': 'tunnel rotate t1',
  'tunnel.close': 'tunnel close t1',
  'tunnel.notify': 'tunnel notify t1',
  'vpn.hub-list': 'vpn hub list',
  'vpn.hub-show': 'vpn hub show office',
  'vpn.hub-create': 'vpn hub create office',
  'vpn.hub-change': 'vpn hub set office --anonymous',
  'vpn.hub-delete': 'vpn hub delete office --yes',
  'vpn.tables': 'vpn table office macs',
  'vpn.user-list': 'vpn user list office',
  'vpn.user-add': typed('vpn user add office/bob --password-stdin', 'correct horse'),
  'vpn.user-change': typed('vpn user passwd office/bob', 'correct horse'),
  'vpn.user-remove': 'vpn user remove office/bob',
  'vpn.group-list': 'vpn group list office',
  'vpn.group-change': 'vpn group set office/guests --policy noBridge=true',
  'vpn.group-remove': 'vpn group remove office/guests',
  'vpn.session-list': 'vpn session list',
  'vpn.session-cut': 'vpn session cut office/SID-BOB-1',
  'vpn.openvpn-show': 'vpn openvpn office',
  'vpn.admin-show': 'vpn admin show',
  'vpn.admin-passwd': typed('vpn admin passwd', 'correct horse'),
  'cert.ca': 'cert ca',
  'cert.issue': 'cert issue staff01',
  'cert.list': 'cert list',
  'cert.show': 'cert show abcdef0123456789',
  'cert.revoke': 'cert revoke abcdef0123456789',
  'cert.crl': 'cert crl',
  'cert.enroll': 'cert enroll staff02',
  'cert.renew': 'cert renew abcdef0123456789',
  'cert.enrolments': 'cert links',
  'cert.unlink': `cert unlink ${id}`,
  'cert.rotation': 'cert rotate',
  'cert.rotate': 'cert rotate prepare',
  'user.add': 'user add alice --role admin',
  'user.list': 'user list',
  'user.show': 'user show alice',
  'user.passwd': typed('user passwd alice', 'correct horse battery'),
  'user.link': 'user link alice',
  'user.key': 'user key alice',
  'user.key-revoke': 'user key alice --revoke SKIA0',
  'user.totp': 'user totp alice',
  'user.totp-remove': 'user totp alice --remove',
  'user.passkey-list': 'user passkey alice',
  'user.passkey-remove': 'user passkey alice --remove p1',
  'user.role': 'user role alice admin operator',
  'user.remove': 'user remove alice --yes',
  'group.add': 'group add staff bob',
  'group.list': 'group list',
  'group.show': 'group show staff',
  'group.remove': 'group remove staff bob',
  'token.create': 'token create bob --scope session.list',
  'token.list': 'token list',
  'token.revoke': `token revoke ${id}`,
  'approval.list': 'approval list',
  'approval.approve': `approval approve ${id}`,
  'approval.refuse': `approval refuse ${id}`,
  'audit.search': 'audit search',
  'audit.tail': 'audit tail',
  'audit.verify': 'audit verify',
  'audit.export': 'audit export --out FILE',
  'audit.head': 'audit head',
  'audit.recording-list': 'audit recordings',
  'audit.recording': 'audit recording r1 --out FILE',
  'auth.list': 'whoami --sign-ins',
  'auth.end': `logout --id ${id}`,
  'auth.whoami': 'whoami',
  'gate.check': 'check --running',
  'gate.reload': 'reload',
  'gate.backup': typed('backup FILE', 'correct horse battery'),
};
/** These speak to a gate by its address: cli.test.ts, cert-fetch.test.ts and the rooms' own tests run them. */
const elsewhere: Partial<Record<VerbName, string>> = {
  'auth.login': 'login',
  'auth.logout': 'logout',
  'cert.link': 'cert fetch',
  'cert.fetch': 'cert fetch',
  'device.join': 'agent',
};
const rows = Object.entries(verbs) as [VerbName, Verb][];

test('every verb has words on the command line, or says why not; what the console calls has them too', async () => {
  const io = {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: {},
    signal: AbortSignal.abort(),
  };
  const { program } = await plant(io, () => true);
  const isCommand = (words: string): boolean => {
    let at: typeof program | undefined = program;
    for (const word of words.split(' ')) at = at?.commands.find(one => one.name() === word);
    return at !== undefined;
  };
  for (const [name, { cli, noCli }] of rows) {
    assert.equal(cli === undefined, noCli !== undefined, `${name}: one of cli and noCli`);
    if (cli !== undefined) {
      assert.ok(isCommand(cli), `${name}: there is no command ${cli}`);
      assert.ok(lines[name] ?? elsewhere[name], `${name} needs a line in this table`);
    } else assert.match(noCli ?? '', /^\S.{20,}/, name);
  }
  // A browser's own ways to prove somebody; nothing else that the console does is without a command.
  const only = Object.keys(calls).filter(name => verbs[name as VerbName as 'auth.ways'].noCli !== undefined);
  assert.deepEqual(only.sort(), [
    ...['auth.oidc', 'auth.passkey-ask', 'auth.prove', 'auth.sign-in', 'auth.ways'],
    ...['user.passkey', 'user.passkey-ask'],
  ]);
});

test('each line calls its verb, and says in JSON what came of it', async t => {
  const house = await openHouse(t);
  await house.directory.ensure({ name: 'bob' });
  const said: string[] = [];
  const socket = join(house.dir, 'relay', 'sekisho.sock');
  mkdirSync(join(house.dir, 'relay'));
  const relay = createServer(near => {
    const far = connect(house.socket);
    for (const end of [near, far]) end.on('error', () => end.destroy());
    near.once('data', chunk => void said.push(String(chunk).split(' HTTP/')[0] ?? ''));
    near.pipe(far).pipe(near);
  }).listen(socket);
  await once(relay, 'listening');
  t.after(() => relay.close());
  let count = 0;
  for (const [name, entry] of Object.entries(lines) as [VerbName, string | Line][]) {
    const { line, input } = typeof entry === 'string' ? typed(entry, '') : entry;
    const file = join(house.dir, `out-${++count}`);
    const argv = [...line.replace('FILE', file).split(' '), '--json', '--data', join(house.dir, 'relay')];
    said.length = 0;
    const told = await runSekisho(argv, { ...(input === undefined ? {} : { input: `${input}\n` }) });
    const { method, path } = verbs[name];
    const wanted = new RegExp(`^${method} ${path.replace(/:\w+/g, '[^/?]+')}(\\?.*)?$`);
    assert.ok(
      said.some(request => wanted.test(request)),
      `${line}: ${said.join(', ')} ${told.err}`,
    );
    // What this small house has not is a sentence and a status; all the rest is JSON, one value or one a line.
    if (told.status !== 0) assert.match(told.err, /^sekisho: [^\n]+\n$/m, line);
    else assert.ok(isJson(told.out), `${line}: ${told.out}`);
  }
});

const isJson = (text: string): boolean => {
  const parses = (part: string): boolean => {
    try {
      return typeof JSON.parse(part) === 'object';
    } catch {
      return false;
    }
  };
  return parses(text) || text.trimEnd().split('\n').every(parses);
};
