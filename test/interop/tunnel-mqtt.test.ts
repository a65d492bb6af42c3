// How devices are told: mosquitto's clients and mqtt.js with a device's certificate at the gate, Mosquitto as the broker
// instead, and article 002's agent in Python.
import assert from 'node:assert/strict';
import { type EventEmitter, once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt';
import { type TunnelGate, tunnelGate } from '../e2e/tunnel/rig.ts';
import { makeCa, temporaryFolder } from '../fixtures/certificates.ts';
import { freePorts, until } from '../fixtures/gate-process.ts';
import { serving } from '../fixtures/programs.ts';

interface Told {
  readonly topic: string;
  readonly notice: { clientAccessToken: string; clientMode: string; region: string; services: string[] };
}

interface DeviceFiles {
  readonly cert: string;
  readonly key: string;
  readonly certFile: string;
  readonly keyFile: string;
}

/** For things without our agent: `device enroll --pem`. */
async function enroll({ gate }: TunnelGate, name: string): Promise<DeviceFiles> {
  const dir = join(gate.folder, name);
  const { status, stderr } = await gate.run('device', 'enroll', name, '--pem', dir);
  assert.equal(status, 0, stderr);
  const [certFile, keyFile] = [join(dir, `${name}.crt`), join(dir, `${name}.key`)];
  return { cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8'), certFile, keyFile };
}

async function openHouse(t: TestContext) {
  const [mqttPort = 0] = await freePorts(1);
  const house = await tunnelGate(t, `tunnel: { region: eu-west-1, mqtt: { listen: "tls://127.0.0.1:${mqttPort}" } }`);
  const devices = {
    TunnelTestDevice: await enroll(house, 'TunnelTestDevice'),
    pump: await enroll(house, 'pump'),
    'pump-7': await enroll(house, 'pump-7'),
    'pump-8': await enroll(house, 'pump-8'),
  };
  return { ...house, devices, mqttPort };
}

test('telling devices at the gate', async t => {
  const house = await openHouse(t);
  const { port, mqttPort, ca, caFile, devices, open, call } = house;
  const notify = (device: string): string => `$aws/things/${device}/tunnels/notify`;

  const client = async (t: TestContext, device: DeviceFiles, options: IClientOptions): Promise<MqttClient> => {
    const made = await connectAsync({
      ...{
        host: 'localhost',
        ca,
        cert: device.cert,
        key: device.key,
        reconnectPeriod: 0,
        protocolVersion: 4,
        connectTimeout: 10_000,
      },
      ...options,
    } as IClientOptions);
    t.after(() => made.end(true));
    return made;
  };
  const nextOf = async (made: MqttClient): Promise<Told> => {
    const [topic, payload] = (await once(made as unknown as EventEmitter, 'message')) as [string, Buffer];
    return { topic, notice: JSON.parse(String(payload)) };
  };
  /** On 443 by ALPN, on a port of its own, and over WebSocket. */
  const ways: Readonly<Record<string, IClientOptions>> = {
    'ALPN x-amzn-mqtt-ca': { protocol: 'mqtts', port, ALPNProtocols: ['x-amzn-mqtt-ca'] },
    'ALPN mqtt': { protocol: 'mqtts', port, ALPNProtocols: ['mqtt'] },
    'tunnel.mqtt.listen': { protocol: 'mqtts', port: mqttPort },
    'WebSocket at /mqtt': { protocol: 'wss', port, path: '/mqtt' },
  };
  for (const [way, options] of Object.entries(ways)) {
    await t.test(`mqtt.js by ${way}: the notice of a tunnel, in AWS’s form`, async t => {
      const made = await client(t, devices['pump-7'], { ...options, clientId: 'pump-7' });
      const granted = await made.subscribeAsync(notify('pump-7'), { qos: 1 });
      assert.equal(granted[0]?.qos, 1);
      const told = nextOf(made);
      const { destinationToken } = await open('pump-7', ['SSH']);
      assert.deepEqual(await told, {
        topic: notify('pump-7'),
        notice: {
          clientAccessToken: destinationToken,
          clientMode: 'destination',
          region: 'eu-west-1',
          services: ['SSH'],
        },
      });
    });
  }

  await t.test('mosquitto_sub, on 443 and on the port of its own', async () => {
    for (const where of [
      ['-p', String(port), '--tls-alpn', 'x-amzn-mqtt-ca'],
      ['-p', String(mqttPort)],
    ]) {
      const { certFile, keyFile } = devices['pump-8'];
      await using listening = await serving(
        'stdbuf', // or it writes nothing down a pipe before it ends
        [
          ...[
            '-oL',
            'mosquitto_sub',
            '-h',
            'localhost',
            ...where,
            '--cafile',
            caFile,
            '--cert',
            certFile,
            '--key',
            keyFile,
            '-V',
            'mqttv311',
          ],
          ...['-i', 'pump-8-agent', '-q', '1', '-t', notify('pump-8'), '-C', '1', '-d'],
        ],
        /Subscribed/,
      );
      const { destinationToken } = await open('pump-8', ['ssh']);
      await until('mosquitto_sub was told', () => listening.output().includes(destinationToken));
    }
  });

  await t.test('rotating the destination tells again; notify tells by hand, also on the article’s topic', async t => {
    const made = await client(t, devices['pump-7'], { ...ways['ALPN mqtt'], clientId: 'pump-7-agent' });
    await made.subscribeAsync([notify('pump-7'), '$aws/things/pump-7/tunneling/notify'], { qos: 1 });
    const first = nextOf(made);
    const { id, destinationToken } = await open('pump-7', ['SSH']);
    assert.equal((await first).notice.clientAccessToken, destinationToken);
    const again = nextOf(made);
    const told = await call<{ rotated: boolean }>(
      'tunnel',
      'notify',
      id,
      '--topic',
      '$aws/things/pump-7/tunneling/notify',
    );
    assert.equal(told.rotated, false);
    assert.deepEqual(
      [(await again).topic, (await again).notice.clientAccessToken],
      [...['$aws/things/pump-7/tunneling/notify', destinationToken]],
    );
    const rotated = nextOf(made);
    const { destinationToken: fresh } = await call<{ destinationToken: string }>(
      'tunnel',
      'rotate',
      id,
      '--side',
      'destination',
    );
    assert.equal((await rotated).notice.clientAccessToken, fresh);
    await using destination = await house.peer('destination', fresh).then(peer => ({
      [Symbol.asyncDispose]: async () => peer.drop(),
    }));
    assert.ok(destination);
    const third = nextOf(made);
    const used = await call<{ rotated: boolean }>('tunnel', 'notify', id);
    assert.equal(used.rotated, true, 'a token that was used is replaced');
    assert.notEqual((await third).notice.clientAccessToken, fresh);
    const { status } = await house.gate.run('tunnel', 'notify', id, '--topic', '$aws/things/pump-8/tunnels/notify');
    assert.equal(status, 2, 'not to another device');
  });

  await t.test('own topics only, and nothing may be published', async t => {
    const made = await client(t, devices['pump-7'], { ...ways['ALPN mqtt'], clientId: 'pump-7' });
    for (const topic of [
      notify('pump-8'),
      notify('pump'),
      '#',
      '$aws/#',
      '$aws/things/+/tunnels/notify',
      '$SYS/#',
      'other',
    ]) {
      await assert.rejects(made.subscribeAsync(topic, { qos: 1 }), /128|Unspecified/, topic);
    }
    const closed = once(made as unknown as EventEmitter, 'close');
    made.publish(notify('pump-7'), 'forged', { qos: 1 });
    await closed;
  });

  await t.test('any client id will do, and it takes over nothing but connections of the same device', async t => {
    const told = async (device: 'pump' | 'pump-7', clientId: string) => {
      const made = await client(t, devices[device], { ...ways['ALPN mqtt'], clientId });
      await made.subscribeAsync(notify(device));
      return { made, next: nextOf(made) };
    };
    // The article's script has a default; some call themselves by another device's name.
    for (const clientId of ['basicPubSub', 'pump-7', 'pump-7 basicPubSub']) {
      const [one, other] = [await told('pump-7', clientId), await told('pump', clientId)];
      assert.deepEqual([one.made.connected, other.made.connected], [true, true]);
      for (const [device, { next }] of [
        ['pump-7', one],
        ['pump', other],
      ] as const) {
        const { destinationToken } = await open(device, ['SSH']);
        const { topic, notice } = await next;
        assert.deepEqual([topic, notice.clientAccessToken], [notify(device), destinationToken]);
      }
      const closed = once(one.made as unknown as EventEmitter, 'close');
      await client(t, devices['pump-7'], { ...ways['ALPN mqtt'], clientId });
      await closed; // the same device may [MQTT-3.1.4-2]
      assert.ok(other.made.connected);
    }
    const unnamed = await client(t, devices['pump-7'], { ...ways['ALPN mqtt'], clientId: '' });
    await unnamed.subscribeAsync(notify('pump-7'));
    await assert.rejects(
      client(t, devices['pump-7'], { ...ways['ALPN mqtt'], clientId: 'x'.repeat(600) }),
      /Identifier rejected/,
    );
  });

  /** A raw TLS socket at the gate. */
  const raw = async (t: TestContext, device: DeviceFiles | undefined): Promise<TLSSocket> => {
    const socket = tlsConnect({
      ...{ port, host: 'localhost', ca, ALPNProtocols: ['mqtt'] },
      ...(device ? { cert: device.cert, key: device.key } : {}),
    });
    t.after(() => socket.destroy());
    await once(socket, 'secureConnect');
    socket.on('error', () => {}); // TLS 1.3: the server's verdict comes after our handshake
    return socket;
  };
  const connect = (level: number): Buffer => {
    const id = Buffer.from('pump-7');
    const body = Buffer.concat([
      Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, level, 2, 0, 60, ...(level === 5 ? [0] : []), 0, id.length]),
      id,
    ]);
    return Buffer.concat([Buffer.from([0x10, body.length]), body]);
  };

  await t.test('MQTT 5 is refused with 0x84, and the log says so', async t => {
    const socket = await raw(t, devices['pump-7']);
    socket.write(connect(5));
    const [answer] = (await once(socket, 'data')) as [Buffer];
    assert.deepEqual([...answer], [0x20, 3, 0, 0x84, 0]);
    await once(socket, 'end');
    await house.gate.logged(/speaks MQTT 5/);
    await assert.rejects(
      client(t, devices['pump-7'], { ...ways['ALPN mqtt'], clientId: 'pump-7', protocolVersion: 5 }),
    );
  });

  await t.test('a packet beyond 128 kB ends the connection before it is gathered', async t => {
    const socket = await raw(t, devices['pump-7']);
    socket.write(connect(4));
    await once(socket, 'data');
    const closed = once(socket, 'close');
    socket.on('error', () => {});
    socket.write(Buffer.from([0x30, 0x81, 0x80, 0x08])); // 131,073 bytes follow
    await closed;
  });

  await t.test('without a device’s certificate nobody gets in', async t => {
    const { status, stderr } = await house.gate.run('cert', 'issue', 'alice', '--pem', house.gate.folder);
    assert.equal(status, 0, stderr);
    const read = (name: string): string => readFileSync(join(house.gate.folder, name), 'utf8');
    const person: DeviceFiles = { cert: read('alice.crt'), key: read('alice.key'), certFile: '', keyFile: '' };
    for (const shown of [undefined, person]) {
      const socket = await raw(t, shown).catch(() => undefined);
      let answered = false;
      socket?.once('data', () => {
        answered = true;
      });
      const closed = socket && !socket.closed ? new Promise(resolve => socket.once('close', resolve)) : undefined;
      socket?.resume().write(connect(4));
      await closed;
      assert.equal(answered, false);
    }
  });

  await t.test('a certificate that is revoked ends its connection at once', async t => {
    const made = await client(t, devices.pump, { ...ways['ALPN mqtt'], clientId: 'pump' });
    const closed = once(made as unknown as EventEmitter, 'close');
    const before = Date.now();
    await call('device', 'revoke', 'pump');
    await closed;
    assert.ok(Date.now() - before < 30_000);
  });

  await t.test(
    'article 002: the agent in Python is told on the article’s topic and starts the local proxy',
    async () => {
      const { certFile, keyFile } = devices.TunnelTestDevice;
      const out = join(temporaryFolder('agent'), 'token');
      const agent = join(import.meta.dirname, '../../examples/article-002/iot_agent.py');
      // What it starts here writes down the token that it was given; in life it is a local proxy.
      await using running = await serving(
        '/usr/bin/python3',
        [
          ...[
            agent,
            '--endpoint',
            'localhost',
            '--rootCA',
            caFile,
            '--cert',
            certFile,
            '--key',
            keyFile,
            '--port',
            String(mqttPort),
          ],
          ...[
            '--localproxy',
            'sh',
            '-c',
            `printf %s "$AWSIOT_TUNNEL_ACCESS_TOKEN" > ${out}.part && mv ${out}.part ${out}`,
          ],
        ],
        /subscribed/,
      );
      const { id, destinationToken } = await open('TunnelTestDevice', ['ssh']);
      await until('the agent was told when the tunnel was opened', () => existsSync(out));
      assert.equal(readFileSync(out, 'utf8'), destinationToken);
      rmSync(out);
      await call('tunnel', 'notify', id, '--topic', '$aws/things/TunnelTestDevice/tunneling/notify');
      await until('the agent was told by hand', () => existsSync(out));
      assert.match(running.output(), /tunneling\/notify/);
    },
  );
});

test('Mosquitto as the broker instead', async t => {
  const ca = makeCa('broker');
  const [brokerPort = 0] = await freePorts(1);
  const folder = temporaryFolder('mosquitto');
  const own = ca.issue({ cn: 'localhost', san: ['localhost'] });
  const gateCertificate = ca.issue({ cn: 'gate', client: true });
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(folder, 'mosquitto.conf'),
    [
      ...[
        `listener ${brokerPort} 127.0.0.1`,
        `cafile ${ca.certFile}`,
        `certfile ${own.certFile}`,
        `keyfile ${own.keyFile}`,
      ],
      ...[
        'require_certificate true',
        'allow_anonymous true',
        'user root',
        'log_dest stderr',
        'connection_messages true',
      ],
    ].join('\n'),
  );
  await using broker = await serving('/usr/sbin/mosquitto', ['-c', join(folder, 'mosquitto.conf'), '-v'], /running/);
  const at = ['-h', 'localhost', '-p', String(brokerPort), '--cafile', ca.certFile];
  await using listening = await serving(
    'stdbuf',
    [
      '-oL',
      'mosquitto_sub',
      ...at,
      '--cert',
      gateCertificate.certFile,
      '--key',
      gateCertificate.keyFile,
      '-q',
      '1',
      '-t',
      '$aws/things/pump-7/tunnels/notify',
      '-v',
      '-d',
    ],
    /Subscribed/,
  );
  const house = await tunnelGate(
    t,
    `tunnel:
  mqtt: { broker: "mqtts://localhost:${brokerPort}", ca: "file:${ca.certFile}", cert: "file:${gateCertificate.certFile}", key: "file:${gateCertificate.keyFile}" }
`,
  );
  const { destinationToken, id } = await house.open('pump-7', ['ssh']);
  await until('it came by way of Mosquitto', () => listening.output().includes(destinationToken));
  const { topic } = await house.call<{ topic: string }>('tunnel', 'notify', id);
  assert.equal(topic, '$aws/things/pump-7/tunnels/notify');
  // A broker that is gone: the tunnel opens all the same, and telling by hand says what is wrong.
  await broker[Symbol.asyncDispose]();
  const opened = await house.open('pump-7', ['ssh']);
  const { status, stderr } = await house.gate.run('tunnel', 'notify', opened.id);
  assert.equal(status, 6);
  assert.match(stderr, /MQTT broker localhost:\d+ did not take the notice/);
});
