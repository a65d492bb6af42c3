// Notifications: to a real SMTP server (the npm package smtp-server) as python reads them, and to a receiver that checks
// the signature with openssl.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { TestClock } from '../../src/core/clock.ts';
import { Secret } from '../../src/core/secret.ts';
import { notifyConfig } from '../../src/features/notify/config.ts';
import { createMailer, createNotifier, mailOf, type Notice } from '../../src/features/notify/index.ts';
import { createDeliveries } from '../../src/net/deliveries.ts';
import { noMetrics, silentLog } from '../e2e/api-fakes.ts';
import { openGate } from '../e2e/console-rig.ts';
import { makeCa, temporaryFolder } from '../fixtures/certificates.ts';

interface Letter {
  readonly raw: string;
  readonly from: string;
  readonly to: readonly string[];
}

/** Waits for the nth of what comes. */
function inbox<T>() {
  const all: T[] = [];
  const watchers = new Set<() => void>();
  return {
    all,
    put(one: T) {
      all.push(one);
      for (const look of [...watchers]) look();
    },
    nth: (index: number): Promise<T> =>
      new Promise(resolve => {
        const look = (): void => {
          const one = all[index];
          if (one === undefined) return;
          watchers.delete(look);
          resolve(one);
        };
        watchers.add(look);
        look();
      }),
  };
}

const ca = makeCa('Mail CA');
const { fullchain: cert, key } = ca.issue({ cn: 'localhost', san: ['localhost'] });
const [user, password] = ['sekisho', 'a password of the mail server'];

async function mailServer(t: TestContext, options: SMTPServerOptions = {}) {
  const letters = inbox<Letter>();
  const server = new SMTPServer({
    ...{ cert, key, authMethods: ['PLAIN', 'LOGIN'], disableReverseLookup: true },
    onAuth: ({ username, password: sent }, _, done) =>
      username === user && sent === password ? done(null, { user }) : done(new Error('who?')),
    onData(stream, session, done) {
      const chunks: Buffer[] = [];
      stream.on('data', chunk => chunks.push(chunk));
      stream.on('end', () => {
        const { mailFrom, rcptTo } = session.envelope;
        letters.put({
          raw: Buffer.concat(chunks).toString('latin1'),
          from: mailFrom ? mailFrom.address : '',
          to: rcptTo.map(({ address }) => address),
        });
        done();
      });
    },
    ...options,
  });
  server.on('error', () => {});
  server.listen(0, '127.0.0.1');
  await once(server.server, 'listening');
  t.after(() => new Promise<void>(done => server.close(() => done())));
  return { letters, port: (server.server.address() as AddressInfo).port };
}

/** As python's mail library reads it. */
function read(raw: string): { subject: string; headers: string[]; text: string } {
  const script = `import email, email.policy, json, sys
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
print(json.dumps({'subject': m['subject'], 'headers': m.keys(), 'text': m.get_content()}))`;
  return JSON.parse(execFileSync('python3', ['-c', script], { input: Buffer.from(raw, 'latin1') }).toString());
}

const mailConfig = (server: string, more = {}) => {
  const mail = { server, from: 'gate@example.com', to: ['ops@example.com'], ...more };
  const { mail: parsed } = notifyConfig.parse({ mail });
  assert.ok(parsed);
  return parsed;
};

test('a burst of denials and a waiting approval are told once each, by mail in Japanese and by a webhook that openssl checks', async t => {
  const folder = temporaryFolder('notify');
  writeFileSync(join(folder, 'mail.password'), `${password}\n`);
  writeFileSync(join(folder, 'hook.secret'), 'the secret of the hook\n');
  const { letters, port } = await mailServer(t);
  const hooks = inbox<{ body: string; signature: string }>();
  const receiver = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', chunk => chunks.push(chunk));
    request.on('end', () => {
      response.end();
      hooks.put({ body: Buffer.concat(chunks).toString(), signature: String(request.headers['sekisho-signature']) });
    });
  }).listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  t.after(() => void receiver.close());
  const notify = {
    burst: { count: 5, within: '1m' },
    webhook: {
      url: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`,
      secret: `file:${folder}/hook.secret`,
    },
    mail: {
      ...{ server: `smtp://localhost:${port}`, from: 'gate@example.com', to: ['ops@example.com', 'night@example.com'] },
      ...{ auth: { user, password: `file:${folder}/mail.password` }, ca: `file:${ca.certFile}`, language: 'ja' },
    },
  };
  const access = [{ allow: 'cert.issue', who: { user: 'bob' }, approve: { group: 'leads' } }];
  const house = await openGate(t, `notify: ${JSON.stringify(notify)}\naccess: ${JSON.stringify(access)}\n`);
  const { ask, add, signIn, own } = house;
  await add('bob', 'member');
  const { headers } = await signIn('bob');
  const asked = await ask('POST', '/v1/certs', headers, { name: 'bob', password: 'secret-of-file' });
  assert.equal(asked.status, 403, asked.text);
  // Each of another kind, so that the audit has them as rows of their own at once.
  for (const path of [
    '/v1/users',
    '/v1/audit',
    '/v1/certs',
    '/v1/approvals',
    '/v1/tokens',
    '/v1/proxy',
    '/v1/status',
    '/v1/devices',
  ])
    assert.equal((await ask('GET', path, headers)).status, 403, path);
  for (let tries = 0; tries < 6; tries++)
    assert.equal((await ask('POST', '/v1/sign-in', own, { user: 'bob', password: `wrong ${tries}` })).status, 401);

  const first = await hooks.nth(0);
  const { event, gate, facts, resource } = JSON.parse(first.body);
  assert.deepEqual([event, gate, facts.by], ['approval.waiting', house.origin, 'bob']);
  assert.match(resource, /^cert\//);
  const [, seconds = '', mac = ''] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(first.signature) ?? [];
  const checked = execFileSync('openssl', ['dgst', '-sha256', '-hmac', 'the secret of the hook', '-r'], {
    input: `${seconds}.${first.body}`,
  });
  assert.equal(checked.toString().split(' ')[0], mac);

  const letter = await letters.nth(0);
  assert.deepEqual([letter.from, letter.to], ['gate@example.com', ['ops@example.com', 'night@example.com']]);
  assert.match(letter.raw, /^Subject: =\?UTF-8\?/im, 'encoded as RFC 2047 wants it');
  const said = read(letter.raw);
  assert.match(said.subject, /^\[Sekisho\] 承認待ち: bob → cert\//);
  assert.match(said.text, /承認を待っている要求があります。/);
  assert.ok(!letter.raw.includes(password));
  const kinds = new Set<string>();
  for (let index = 0; !kinds.has('denied.burst'); index++) kinds.add(JSON.parse((await hooks.nth(index)).body).event);
  const audit = JSON.stringify(await house.local('GET', '/v1/audit?limit=1000'));
  assert.ok(!audit.includes('notify.failed'));
  const bursts = hooks.all
    .filter(({ body }) => JSON.parse(body).event === 'denied.burst')
    .map(({ body }) => JSON.parse(body).facts.word);
  assert.equal(new Set(bursts).size, bursts.length, 'each word once');
});

test('mail goes over verified TLS or not at all', async t => {
  const notice = { id: '1', subject: 'x', text: 'y' };
  const trusted = ca.cert;
  const both = await mailServer(t);
  const send = (server: string, more: Partial<Parameters<typeof createMailer>[0]> = {}) =>
    createMailer({
      config: mailConfig(server, { auth: { user, password: 'env:X' } }),
      password: new Secret(password),
      ca: trusted,
      ...more,
    })(notice);
  await send(`smtp://localhost:${both.port}`);
  await assert.rejects(send(`smtp://localhost:${both.port}`, { ca: undefined }), /certificate/i, 'an unknown CA');
  await assert.rejects(send(`smtp://127.0.0.1:${both.port}`), /altnames|certificate|does not match/i, 'another name');
  await assert.rejects(send(`smtp://localhost:${both.port}`, { password: new Secret('wrong') }), /who\?|Invalid login/);
  const plain = await mailServer(t, { hideSTARTTLS: true, disabledCommands: ['STARTTLS'] });
  await assert.rejects(send(`smtp://localhost:${plain.port}`), /STARTTLS|TLS/i, 'the offer was taken out on the way');
  const atOnce = await mailServer(t, { secure: true });
  await send(`smtps://localhost:${atOnce.port}`);
  assert.deepEqual([both.letters.all.length, plain.letters.all.length, atOnce.letters.all.length], [1, 0, 1]);
});

test('nothing that people type becomes a header, a command or another line', async t => {
  const { letters, port } = await mailServer(t);
  const evil = 'x\r\nBcc: evil@example.com\r\n\r\n.\r\nMAIL FROM:<evil@example.com>\u2028\u202e';
  const notice: Notice = {
    ...{ event: 'approval.waiting', key: 'k', at: '2026-11-30T00:00:00Z', resource: `cert/${evil}` },
    facts: { by: evil, reason: `${evil}\n.\n`, group: 'leads', approval: '1' },
  };
  const mailer = createMailer({
    ...{
      config: mailConfig(`smtp://localhost:${port}`, { auth: { user, password: 'env:X' } }),
      password: new Secret(password),
    },
    ca: ca.cert,
  });
  await mailer({ id: 'one', ...mailOf(notice, 'en', 'https://gate.example.com') });
  const letter = await letters.nth(0);
  assert.deepEqual([letters.all.length, letter.to], [1, ['ops@example.com']]);
  const { headers, subject, text } = read(letter.raw);
  assert.ok(!headers.some(name => /^b?cc$/i.test(name)), headers.join());
  assert.match(subject, /^\[Sekisho\] x Bcc: evil@example\.com \. MAIL FROM/);
  assert.doesNotMatch(text, /\u202e|\u2028|\r\n\.\r\n/);
  for (const bad of [
    'a@example.com\nBcc: b@example.com',
    'A <a@example.com>',
    'a@example.com, b@example.com',
    'a b@example.com',
  ])
    assert.throws(() => mailConfig('smtp://localhost', { to: [bad] }), bad);
});

test('what cannot be delivered is tried again, given up and said; what is much is bounded; nobody waits', async () => {
  const clock = new TestClock();
  const lost: string[] = [];
  let tries = 0;
  const { promise: over, resolve } = Promise.withResolvers<void>();
  await using line = createDeliveries<number>({
    ...{ what: 'mail', counter: 'x', clock, log: silentLog, metrics: noMetrics },
    deliver: async () => {
      tries++;
      throw new Error('no route');
    },
    onLost: ({ message }, cause) => {
      lost.push(`${message} ${cause}`);
      if (message === 0) resolve();
    },
  });
  for (let message = 0; message <= 1003; message++) line.send(message);
  assert.deepEqual(lost.slice(0, 3), ['1 too many wait', '2 too many wait', '3 too many wait']);
  let isOver = false;
  void over.then(() => {
    isOver = true;
  });
  while (!isOver) {
    await new Promise(setImmediate);
    clock.move(60_000);
  }
  assert.equal(lost.at(3), '0 no route');
  assert.ok(tries >= 6);

  const config = notifyConfig.parse({ quiet: '1h', burst: { count: 3, within: '1m' } });
  const told: Notice[] = [];
  const notify = createNotifier({ config, ways: [notice => told.push(notice)], clock });
  const row = (event: string, facts: object, from = '203.0.113.7:1') => {
    const at = clock.now().toISOString();
    notify({ at, event, resource: 'cert/1', who: { kind: 'user', id: 'a' }, from, facts: { ...facts } });
  };
  row('cert.expiring', { until: '2027-01-01' });
  row('cert.expiring', { until: '2027-01-01' });
  row('user.denied', { count: 1 });
  row('user.denied', { count: 1 }, '203.0.113.8:1');
  assert.deepEqual(
    told.map(({ event }) => event),
    ['cert.expiring'],
  );
  row('user.denied', { count: 2 }, '203.0.113.7:2');
  row('user.denied', { count: 9 });
  assert.deepEqual(
    told.map(({ event, facts }) => `${event} ${facts['from'] ?? ''}`),
    ['cert.expiring ', 'denied.burst 203.0.113.7'],
  );
  clock.move(3_600_001);
  row('cert.expiring', { until: '2027-01-01' });
  assert.equal(told.length, 3);
});
