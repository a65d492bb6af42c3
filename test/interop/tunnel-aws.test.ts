// AWS's own tools against a real gate over TLS: Debian's aws for all eight operations, and the JavaScript SDK.
import assert from 'node:assert/strict';
import { createHash, createHmac, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { request } from 'node:https';
import { test } from 'node:test';
import { tunnelGate } from '../e2e/tunnel/rig.ts';
import { run } from '../fixtures/programs.ts';
import { type Peer, types } from '../fixtures/tunnel-peer.ts';

interface Key {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}
// biome-ignore lint/suspicious/noExplicitAny: answers that are looked at member by member
type Answer = any;
/** Debian's, where it is there beside others. */
const program = existsSync('/usr/bin/aws') ? '/usr/bin/aws' : 'aws';

test('AWS’s tools', async t => {
  const house = await tunnelGate(t, 'tunnel: { region: eu-central-1 }');
  const { port, ca, caFile } = house;
  const key = await house.call<Key>('user', 'key', 'operator1');
  const endpoint = `https://localhost:${port}`;
  const cli = async (args: readonly string[], by: Key = key, more: Record<string, string> = {}) => {
    const outcome = await run(
      program,
      ['--endpoint-url', endpoint, '--output', 'json', 'iotsecuretunneling', ...args],
      {
        env: {
          ...{ AWS_ACCESS_KEY_ID: by.accessKeyId, AWS_SECRET_ACCESS_KEY: by.secretAccessKey, AWS_CA_BUNDLE: caFile },
          ...{ AWS_DEFAULT_REGION: 'us-west-2', AWS_PAGER: '', AWS_MAX_ATTEMPTS: '1', HOME: '/nonexistent', ...more },
        },
      },
    );
    return { ...outcome, json: outcome.stdout.trim() === '' ? undefined : (JSON.parse(outcome.stdout) as Answer) };
  };
  const good = async (...args: string[]) => {
    const { code, json, stderr } = await cli(args);
    assert.equal(code, 0, stderr);
    return json;
  };
  const refused = async (pattern: RegExp, ...args: string[]): Promise<void> => {
    const { code, stderr } = await cli(args);
    assert.equal(code, 254, stderr);
    assert.match(stderr, pattern);
  };

  await t.test('aws: the life of a tunnel, all eight operations', async () => {
    const opened = await good(
      ...[
        'open-tunnel',
        '--destination-config',
        'thingName=TunnelTestDevice,services=SSH,WEB',
        '--description',
        'ポンプ室',
      ],
      ...['--tags', 'key=team,value=ops', 'key=site,value=大阪', '--timeout-config', 'maxLifetimeTimeoutMinutes=60'],
    );
    const { tunnelId, tunnelArn, sourceAccessToken, destinationAccessToken } = opened;
    assert.equal(tunnelArn, `arn:aws:iot:eu-central-1:000000000000:tunnel/${tunnelId}`);
    const source: Peer = await house.peer('source', sourceAccessToken);
    assert.deepEqual((await source.next(types.serviceIds)).services, ['SSH', 'WEB']);

    const { tunnel } = await good('describe-tunnel', '--tunnel-id', tunnelId);
    assert.equal(tunnel.status, 'OPEN');
    assert.equal(tunnel.sourceConnectionState.status, 'CONNECTED');
    assert.ok(Math.abs(Date.parse(tunnel.sourceConnectionState.lastUpdatedAt) - Date.now()) < 60_000);
    assert.deepEqual(tunnel.destinationConnectionState, { status: 'DISCONNECTED' });
    assert.equal(tunnel.description, 'ポンプ室');
    assert.deepEqual(tunnel.destinationConfig, { thingName: 'TunnelTestDevice', services: ['SSH', 'WEB'] });
    assert.deepEqual(tunnel.timeoutConfig, { maxLifetimeTimeoutMinutes: 60 });

    await good('tag-resource', '--resource-arn', tunnelArn, '--tags', 'key=site,value=東京', 'key=more,value=');
    await good('untag-resource', '--resource-arn', tunnelArn, '--tag-keys', 'team');
    const { tags } = await good('list-tags-for-resource', '--resource-arn', tunnelArn);
    assert.deepEqual(tags, [
      { key: 'site', value: '東京' },
      { key: 'more', value: '' },
    ]);

    const rotated = await good('rotate-tunnel-access-token', '--tunnel-id', tunnelId, '--client-mode', 'DESTINATION');
    assert.deepEqual(Object.keys(rotated).sort(), ['destinationAccessToken', 'tunnelArn']);
    const old = await house.knock('destination', destinationAccessToken);
    assert.ok('status' in old);
    await house.peer('destination', rotated.destinationAccessToken);

    const { code, stdout } = await cli(['close-tunnel', '--tunnel-id', tunnelId]);
    assert.deepEqual([code, stdout], [0, '']);
    assert.equal((await source.closed).code, 1000);
    assert.equal((await good('describe-tunnel', '--tunnel-id', tunnelId)).tunnel.status, 'CLOSED');
    const { tunnelSummaries } = await good('list-tunnels', '--thing-name', 'TunnelTestDevice');
    assert.deepEqual(
      tunnelSummaries.map((one: Answer) => [one.tunnelId, one.status]),
      [[tunnelId, 'CLOSED']],
    );
    await good('close-tunnel', '--tunnel-id', tunnelId, '--delete');
    await refused(/ResourceNotFoundException/, 'describe-tunnel', '--tunnel-id', tunnelId);
  });

  await t.test('aws: refusals have AWS’s names', async () => {
    const { tunnelId } = await good('open-tunnel');
    await refused(/ValidationException.*720/, 'open-tunnel', '--timeout-config', 'maxLifetimeTimeoutMinutes=9999');
    await refused(/LimitExceededException/, 'open-tunnel', '--destination-config', 'services=a,b,c,d');
    await refused(/ValidationException/, 'open-tunnel', '--destination-config', 'services=a b');
    await refused(/ValidationException/, 'open-tunnel', '--tags', 'key=a<b,value=c');
    await refused(
      /ValidationException.*enum/,
      'rotate-tunnel-access-token',
      '--tunnel-id',
      tunnelId,
      '--client-mode',
      'source',
    );
    await refused(
      /ValidationException/,
      ...[
        'rotate-tunnel-access-token',
        '--tunnel-id',
        tunnelId,
        '--client-mode',
        'SOURCE',
        '--destination-config',
        'services=a',
      ],
    );
    await refused(/ResourceNotFoundException/, 'close-tunnel', '--tunnel-id', randomUUID());
    await refused(
      /ResourceNotFoundException/,
      'list-tags-for-resource',
      '--resource-arn',
      'arn:aws:iot:us-west-2:1:tunnel/x',
    );
    const wrong = await cli(['list-tunnels'], { ...key, secretAccessKey: 'x'.repeat(40) });
    assert.match(wrong.stderr, /InvalidSignatureException/);
    const unknown = await cli(['list-tunnels'], { ...key, accessKeyId: 'AKIAAAAAAAAAAAAAAAAA' });
    assert.match(unknown.stderr, /UnrecognizedClientException/);
    const { stderr } = await run(
      program,
      ['--endpoint-url', endpoint, '--no-sign-request', 'iotsecuretunneling', 'list-tunnels'],
      {
        env: { AWS_CA_BUNDLE: caFile, AWS_DEFAULT_REGION: 'us-west-2', AWS_PAGER: '' },
      },
    );
    assert.match(stderr, /MissingAuthenticationToken/);
  });

  await t.test('aws: an access key may what its user may', async () => {
    await house.call('user', 'add', 'looker', '--role', 'auditor');
    const looker = await house.call<Key>('user', 'key', 'looker');
    assert.equal((await cli(['list-tunnels'], looker)).code, 0);
    const { stderr } = await cli(['open-tunnel'], looker);
    assert.match(stderr, /AccessDeniedException.*looker is not authorized to perform: iot:OpenTunnel/);
    await house.call('user', 'key', 'looker', '--revoke', looker.accessKeyId);
    assert.match((await cli(['list-tunnels'], looker)).stderr, /UnrecognizedClientException/);
  });

  await t.test('the JavaScript SDK: errors are its classes, times are dates, pages follow one another', async () => {
    const sdk = await import('@aws-sdk/client-iotsecuretunneling');
    const { NodeHttpHandler } = await import('@smithy/node-http-handler' as string);
    const { Agent } = await import('node:https');
    const client = new sdk.IoTSecureTunnelingClient({
      ...{ endpoint, region: 'ap-southeast-2', credentials: key, maxAttempts: 1 },
      requestHandler: new NodeHttpHandler({ httpsAgent: new Agent({ ca }) }),
    });
    t.after(() => client.destroy());
    const ids: (string | undefined)[] = [];
    for (const service of ['a', 'b', 'c', 'd', 'e']) {
      const answer = await client.send(
        new sdk.OpenTunnelCommand({ destinationConfig: { thingName: 'paged', services: [service] } }),
      );
      assert.ok(answer.$metadata.requestId);
      ids.unshift(answer.tunnelId);
    }
    const seen: (string | undefined)[] = [];
    let pages = 0;
    for await (const page of sdk.paginateListTunnels({ client, pageSize: 2 }, { thingName: 'paged' })) {
      pages++;
      seen.push(...(page.tunnelSummaries ?? []).map(one => one.tunnelId));
      assert.ok(page.tunnelSummaries?.every(one => one.createdAt instanceof Date));
    }
    assert.deepEqual(seen, ids);
    assert.equal(pages, 3);
    await assert.rejects(
      client.send(new sdk.DescribeTunnelCommand({ tunnelId: 'none' })),
      sdk.ResourceNotFoundException,
    );
    const rotated = await client.send(new sdk.RotateTunnelAccessTokenCommand({ tunnelId: ids[0], clientMode: 'ALL' }));
    assert.ok(rotated.sourceAccessToken && rotated.destinationAccessToken);
    await client.send(new sdk.CloseTunnelCommand({ tunnelId: ids[0], delete: true }));
    await assert.rejects(client.send(new sdk.ListTunnelsCommand({ nextToken: 'bogus' })), {
      name: 'ValidationException',
    });
  });

  // --- What no tool of AWS's sends ---

  const sign = (
    changes: { time?: Date; service?: string; signed?: string[]; body?: string; sent?: string; target?: string } = {},
  ) => {
    const { time = new Date(), service = 'IoTSecuredTunneling', body = '{}', target = 'ListTunnels' } = changes;
    const headers: Record<string, string> = {
      host: `localhost:${port}`,
      'x-amz-date': time.toISOString().replace(/[-:]|\.\d+/g, ''),
      'x-amz-target': `IoTSecuredTunneling.${target}`,
      'content-type': 'application/x-amz-json-1.1',
    };
    const day = (headers['x-amz-date'] ?? '').slice(0, 8);
    const names = changes.signed ?? ['content-type', 'host', 'x-amz-date', 'x-amz-target'];
    const sha = (text: string): string => createHash('sha256').update(text).digest('hex');
    const canonical = `POST\n/\n\n${names.map(name => `${name}:${headers[name]}\n`).join('')}\n${names.join(';')}\n${sha(body)}`;
    const scope = `${day}/mars-north-1/${service}/aws4_request`;
    const secret = [day, 'mars-north-1', service, 'aws4_request'].reduce<Buffer>(
      (by, part) => createHmac('sha256', by).update(part).digest(),
      Buffer.from(`AWS4${key.secretAccessKey}`),
    );
    const text = `AWS4-HMAC-SHA256\n${headers['x-amz-date']}\n${scope}\n${sha(canonical)}`;
    const signature = createHmac('sha256', secret).update(text).digest('hex');
    headers['authorization'] =
      `AWS4-HMAC-SHA256 Credential=${key.accessKeyId}/${scope}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
    return post(headers, changes.sent ?? body);
  };
  const post = (
    headers: Record<string, string>,
    body: string,
  ): Promise<{ status: number; type: string; body: Answer }> =>
    new Promise((resolve, reject) => {
      const sending = request(
        { host: 'localhost', port, ca, path: '/', method: 'POST', headers, agent: false },
        async answer => {
          const all = Buffer.concat(await answer.toArray()).toString();
          const parsed = JSON.parse(all) as { __type?: string };
          resolve({ status: answer.statusCode ?? 0, type: parsed.__type ?? '', body: parsed });
        },
      );
      sending.on('error', reject).end(body);
    });

  await t.test('signatures: any region; five minutes; the body, the target and the service are bound', async () => {
    assert.equal((await sign()).status, 200);
    assert.equal((await sign({ time: new Date(Date.now() - 4 * 60_000) })).status, 200);
    const refusals = {
      'six minutes ago': { time: new Date(Date.now() - 6 * 60_000) },
      'in six minutes': { time: new Date(Date.now() + 6 * 60_000) },
      'another service': { service: 'iot' },
      'another body': { sent: '{"maxResults":5}' },
      'an unsigned target': { signed: ['host', 'x-amz-date'] },
    };
    for (const [what, change] of Object.entries(refusals)) {
      const { status, type } = await sign(change);
      assert.deepEqual([status, type], [403, 'InvalidSignatureException'], what);
    }
    assert.equal((await sign({ target: 'MakeCoffee' })).type, 'UnknownOperationException');
    assert.equal((await sign({ body: '[1]' })).type, 'SerializationException');
    assert.equal((await sign({ body: '{"maxResults":"5"}' })).type, 'SerializationException');
    assert.equal((await sign({ body: '{"maxResults":101}' })).type, 'ValidationException');
    assert.equal((await sign({ body: '{"maxResults":null}' })).status, 200);
    assert.equal(
      (await post({ 'x-amz-target': 'IoTSecuredTunneling.ListTunnels', authorization: 'Bearer x' }, '{}')).type,
      'IncompleteSignatureException',
    );
  });

  await t.test('guessing signatures is slowed down', async () => {
    let throttled = false;
    for (let count = 0; count < 40 && !throttled; count++) {
      const { stderr } =
        count === 0 ? await cli(['list-tunnels'], { ...key, secretAccessKey: 'y'.repeat(40) }) : { stderr: '' };
      const answer = await sign({ sent: '{"maxResults":5}' });
      throttled = answer.type === 'ThrottlingException' || /Throttling/.test(stderr);
    }
    assert.ok(throttled);
  });
});
