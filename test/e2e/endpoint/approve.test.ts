// Approve-to-open: the request waits, others decide, it opens by itself or lapses; whoever should know is told.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { TestClock } from '../../../src/core/clock.ts';
import { Secret } from '../../../src/core/secret.ts';
import { createWebhook } from '../../../src/net/webhook.ts';
import { memoryLog, memoryMetrics } from '../../fixtures/quiet.ts';
import { openRig, operator, until, user } from './rig.ts';

const minute = 60_000;
const access = [{ allow: 'endpoint.open', approve: { group: 'leads', count: 2, within: '20m' }, for: '1h' }];
const [ann, bob] = [user('ann', ['leads']), user('bob', ['leads'])];

test('it waits until enough others have said yes, then opens by itself, and its time begins only then', async t => {
  const rig = await openRig(t, { access });
  const asked = await rig.open({ for: 30 * minute, reason: 'pump stands still' });
  assert.equal(asked.state, 'waiting');
  assert.equal(await (await rig.service.get(asked.id)).port, 'wanted');
  const id = asked.approval ?? '';
  const view = await rig.approvals.get(id);
  assert.deepEqual(view.asks, { for: 30 * minute, from: ['127.0.0.0/8'], reason: 'pump stands still' });
  assert.equal(view.resource, 'device/pump-7/ssh');
  assert.equal(view.from, '127.0.0.1:40000');

  rig.clock.move(5 * minute);
  await rig.approvals.approve({ id, by: ann });
  assert.equal((await rig.service.settled(asked.id)).state, 'waiting');
  await rig.approvals.approve({ id, by: bob });
  const opened = await rig.service.settled(asked.id);
  assert.equal(opened.state, 'open');
  assert.equal(opened.until, rig.clock.now().getTime() + 30 * minute);
  assert.equal(await (await rig.enter(opened)).say('in'), 'in');
  const events = rig.notices.map(({ event }) => event);
  assert.deepEqual(events, ['endpoint.requested', 'endpoint.approved', 'endpoint.approved', 'endpoint.opened']);
  // An approval is good for one endpoint.
  assert.equal((await rig.open({ for: 30 * minute, reason: 'pump stands still' })).state, 'waiting');
  // What was approved holds until its end.
  await assert.rejects(rig.service.extend(opened.id, minute), { code: 'conflict' });
});

test('nobody approves their own, and nobody outside the group approves anything', async t => {
  const rig = await openRig(t, { access });
  const asked = await rig.open({}, ann);
  const id = asked.approval ?? '';
  await assert.rejects(rig.approvals.approve({ id, by: ann }), { code: 'denied' });
  await assert.rejects(rig.approvals.approve({ id, by: user('eve') }), { code: 'denied' });
  assert.equal((await rig.service.get(asked.id)).state, 'waiting');
});

test('one no is enough', async t => {
  const rig = await openRig(t, { access });
  const asked = await rig.open();
  await rig.approvals.refuse({ id: asked.approval ?? '', by: ann, reason: 'not today' });
  assert.equal((await rig.service.settled(asked.id)).cause, 'refused');
  assert.equal(rig.notices.at(-1)?.event, 'endpoint.refused');
});

test('nobody answers: it lapses by itself', async t => {
  const rig = await openRig(t, { access });
  const asked = await rig.open();
  rig.clock.move(20 * minute);
  await until('it lapses', async () => (await rig.service.get(asked.id)).state === 'closed');
  assert.equal((await rig.service.get(asked.id)).cause, 'lapsed');
  assert.equal((await rig.rows('endpoint.approval-lapsed')).length, 1);
  await assert.rejects(rig.approvals.approve({ id: asked.approval ?? '', by: ann }), { code: 'conflict' });
});

test('a request waits over a restart, and what was decided meanwhile counts', async t => {
  const rig = await openRig(t, { access });
  const [one, two] = [await rig.open(), await rig.open({}, bob)];
  await rig.service[Symbol.asyncDispose]();
  await rig.approvals.approve({ id: one.approval ?? '', by: ann });
  await rig.approvals.approve({ id: one.approval ?? '', by: bob });
  await rig.restart();
  assert.equal((await rig.service.get(one.id)).state, 'open');
  assert.equal((await rig.service.get(two.id)).state, 'waiting');
  await rig.approvals.approve({ id: two.approval ?? '', by: ann });
  await rig.approvals.approve({ id: two.approval ?? '', by: user('carl', ['leads']) });
  assert.equal((await rig.service.settled(two.id)).state, 'open');
});

test('the same request twice is one request; taking it back ends the waiting', async t => {
  const rig = await openRig(t, { access });
  const [one, two] = [await rig.open(), await rig.open()];
  assert.equal(one.id, two.id);
  assert.equal((await rig.service.close(one.id)).state, 'closed');
  await rig.approvals.approve({ id: one.approval ?? '', by: ann });
  await rig.approvals.approve({ id: one.approval ?? '', by: bob });
  assert.equal((await rig.service.settled(one.id)).state, 'closed');
});

test('the webhook is signed, comes in order, and is tried again', async t => {
  const heard: { body: string; signature: string }[] = [];
  let refusals = 1;
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', text => {
      body += text;
    });
    request.on('end', () => {
      const isRefused = refusals-- > 0;
      if (!isRefused) heard.push({ body, signature: String(request.headers['sekisho-signature']) });
      response.writeHead(isRefused ? 503 : 204).end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const clock = new TestClock('2026-11-22T09:00:00Z');
  const log = memoryLog();
  await using webhook = createWebhook({
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    secret: new Secret('shared'),
    ...{ clock, log, metrics: memoryMetrics() },
  });
  webhook.send({ event: 'endpoint.requested' });
  webhook.send({ event: 'endpoint.opened' });
  await until('the first try fails', () => log.lines.length > 0);
  assert.equal(heard.length, 0);
  clock.move(2000);
  await until('both are there', () => heard.length === 2);
  assert.deepEqual(
    heard.map(({ body }) => JSON.parse(body).event),
    ['endpoint.requested', 'endpoint.opened'],
  );
  for (const { body, signature } of heard) {
    const [, seconds = '', mac] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(signature) ?? [];
    assert.equal(mac, createHmac('sha256', 'shared').update(`${seconds}.${body}`).digest('hex'));
  }
});

test('a request for approval of somebody else’s endpoint tells who, what, from where, how long and why', async t => {
  const rig = await openRig(t, { access });
  await rig.open({ reason: 'why not' }, operator);
  const [notice] = rig.notices;
  assert.equal(notice?.endpoint.owner.id, 'operator1');
  assert.equal(notice?.endpoint.reason, 'why not');
  assert.deepEqual(notice?.approval && { ...notice.approval, id: '' }, { id: '', group: 'leads', needed: 2, votes: 0 });
});
