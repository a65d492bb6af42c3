// The real vpncmd administers the gate: every command that existing scripts use, with the answers that they look at.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { freePorts, runSekisho, startGate } from '../fixtures/gate-process.ts';
import { administer, cell } from '../fixtures/softether-programs.ts';

const password = 'a long password';

test('a script of vpncmd runs from its first line to its last', async t => {
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t, { config: `gate: { listen: "tls://127.0.0.1:${port}", workers: 0 }\n` });
  const server = `127.0.0.1:${port}`;
  const off = await administer(server, password, ['ServerInfoGet']);
  assert.match(off.text, /Error code: 2\b/, 'no VPN server to speak of, until there is a hub or a password');
  const set = await runSekisho(['vpn', 'admin', 'passwd', '--data', gate.data], { input: `${password}\n` });
  assert.equal(set.status, 0, set.stderr);
  const wrong = await administer(server, 'another password', ['ServerInfoGet'], { patience: 5 });
  assert.match(wrong.text, /Access has been denied/);

  const lines: readonly (readonly [line: string, code?: number])[] = [
    ['ServerInfoGet'],
    ['ServerStatusGet'],
    ['HubCreate lab /PASSWORD:'],
    ['HubCreate lab /PASSWORD:', 57],
    ['HubList'],
    ['Hub nowhere', 8],
    ['Hub lab'],
    ['StatusGet'],
    ['UserCreate carol /GROUP:none /REALNAME:Carol /NOTE:none'],
    ['UserCreate carol /GROUP:none /REALNAME:Carol /NOTE:none', 66],
    ['UserPasswordSet carol /PASSWORD:carolpass'],
    ['UserPasswordSet nobody /PASSWORD:carolpass', 29],
    ['UserPolicySet carol /NAME:MultiLogins /VALUE:2'],
    ['UserList'],
    ['UserGet carol'],
    ['GroupCreate staff /REALNAME:Staff /NOTE:none'],
    ['GroupJoin staff /USERNAME:carol'],
    ['GroupList'],
    ['SecureNatEnable'],
    ['SecureNatStatusGet'],
    ['SecureNatHostGet'],
    [
      'DhcpSet /START:192.168.30.20 /END:192.168.30.99 /MASK:255.255.255.0 /EXPIRE:3600 /GW:none /DNS:none /DNS2:none /DOMAIN:lab.test /LOG:yes /PUSHROUTE:"10.0.1.0/255.255.255.0/192.168.30.1"',
    ],
    ['DhcpGet'],
    ['NatSet /MTU:1400 /TCPTIMEOUT:1000 /UDPTIMEOUT:30 /LOG:yes'],
    ['NatGet'],
    ['SessionList'],
    ['MacTable'],
    ['IpTable'],
    ['DhcpTable'],
    ['NatTable'],
    ['SessionDisconnect SID-CAROL-9', 29],
    ['SessionGet SID-CAROL-9', 29],
    [
      'AccessAdd discard /MEMO:web /PRIORITY:100 /SRCUSERNAME:carol /DESTUSERNAME: /SRCMAC: /DESTMAC: /SRCIP:192.168.30.0/24 /DESTIP:10.0.1.26/32 /PROTOCOL:tcp /SRCPORT: /DESTPORT:443 /TCPSTATE:',
    ],
    ['AccessList'],
    ['AccessDisable 1'],
    ['AccessEnable 1'],
    ['AccessDelete 2', 29],
    ['AccessDelete 1'],
    ['BridgeDeviceList'],
    ['BridgeList'],
    ['BridgeDelete lab /DEVICE:nix', 29],
    ['SetEnumAllow'],
    ['SetMaxSession 50'],
    ['OptionsGet'],
    ['Offline'],
    ['Online'],
    ['SecureNatDisable'],
    ['DhcpTable', 80],
    ['UserDelete carol'],
    ['GroupDelete staff'],
    ['HubDelete lab'],
    ['HubDelete lab', 8],
  ];
  const { codes, text } = await administer(
    server,
    password,
    lines.map(([line]) => line),
  );
  const expected = lines.map(([, code = 0]) => code);
  for (const [index, [line]] of lines.entries())
    assert.equal(codes[index], expected[index], `${line}\n${text.split(`>${line}`)[1]?.slice(0, 600)}`);
  assert.equal(codes.length, expected.length);

  const after = (command: string): string => text.slice(text.indexOf(`>${command}`));
  assert.equal(cell(after('ServerInfoGet'), 'Product Name'), 'Sekisho');
  assert.equal(cell(after('HubList'), 'Virtual Hub Name'), 'lab');
  assert.equal(cell(after('UserGet carol'), 'Auth Type'), 'Password Authentication');
  assert.match(after('UserGet carol'), /MultiLogins *\|[^|]*\|2/);
  assert.equal(cell(after('DhcpGet'), 'Static Routing Table to Push'), '10.0.1.0/255.255.255.0/192.168.30.1');
  assert.equal(cell(after('DhcpGet'), 'Default Gateway Address'), 'None');
  assert.equal(cell(after('NatGet'), 'MTU Value'), '1400');
  assert.match(after('SessionList'), /SID-SECURENAT-/);
  assert.match(
    after('AccessList'),
    /SrcIPv4=192\.168\.30\.0\/24, DstIPv4=10\.0\.1\.26\/32, Protocol=TCP, DstPort=443, SrcUser=carol/,
  );
  assert.equal(cell(after('OptionsGet'), 'Max Number of Sessions'), '50');

  const { stdout } = await gate.run('audit', 'search', '--event', 'vpn.*', '--json');
  for (const event of [
    'vpn.hub-created',
    'vpn.user-added',
    'vpn.filter-changed',
    'vpn.administered',
    'vpn.hub-deleted',
  ])
    assert.match(stdout, new RegExp(event), `the audit has ${event}`);
  assert.doesNotMatch(stdout, /carolpass/);
});
