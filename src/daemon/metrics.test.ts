// Metrics carry our prefix, bounded labels, and add up over processes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMetrics } from './metrics.ts';

test('counters, gauges and histograms appear under sekisho_', async () => {
  const metrics = createMetrics();
  metrics.count('proxy_connections_total', { route: 'db' });
  metrics.count('proxy_connections_total', { route: 'db' }, 2);
  metrics.gauge('proxy_live', { route: 'db' }, 2);
  metrics.gauge('proxy_live', { route: 'db' }, -1);
  metrics.observe('tls_seconds', {}, 0.2);
  const text = await metrics.text();
  assert.match(text, /^sekisho_proxy_connections_total\{route="db"\} 3$/m);
  assert.match(text, /^sekisho_proxy_live\{route="db"\} 1$/m);
  assert.match(text, /^sekisho_tls_seconds_count 1$/m);
});

test('a peer cannot make series without end, and gauges still come back to zero', async () => {
  const metrics = createMetrics();
  for (let i = 0; i < 3000; i++) metrics.gauge('live', { sni: `name-${i}` }, 1);
  for (let i = 0; i < 3000; i++) metrics.gauge('live', { sni: `name-${i}` }, -1);
  const lines = (await metrics.text()).split('\n').filter(line => line.startsWith('sekisho_live{'));
  assert.equal(lines.length, 1001);
  assert.ok(lines.every(line => line.endsWith(' 0')));
  assert.ok(lines.some(line => line.includes('sni="other"')));
});

test('labels that a later call adds or leaves out do not fail', async () => {
  const metrics = createMetrics();
  metrics.count('faults_total', { code: 'denied' });
  metrics.count('faults_total', { code: 'denied', more: 'x' });
  metrics.count('faults_total', {});
  assert.match(await metrics.text(), /^sekisho_faults_total\{code="denied"\} 2$/m);
});

test('the figures of workers are added to those of the gate process', async () => {
  const [gate, worker] = [createMetrics({ process: true }), createMetrics()];
  gate.count('sessions_total', { word: 'proxy' }, 1);
  worker.count('sessions_total', { word: 'proxy' }, 5);
  worker.gauge('live', {}, 2);
  const text = await gate.text([JSON.parse(JSON.stringify(await worker.snapshot()))]);
  assert.match(text, /^sekisho_sessions_total\{word="proxy"\} 6$/m);
  assert.match(text, /^sekisho_live 2$/m);
  assert.match(text, /sekisho_process_cpu_seconds_total/);
});
