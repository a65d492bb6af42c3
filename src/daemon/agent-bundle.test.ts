// The agent's one file: small, lowered, and with the licences of whatever was bundled into it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildAgent } from './agent-bundle.ts';

test('the bundle is under 500 kB and carries the licence of every package in it, and no address but examples', async () => {
  const text = await buildAgent();
  assert.ok(text.length < 500_000, `${text.length} bytes`);
  const notices = text.slice(text.lastIndexOf('/*\nThis file contains'));
  for (const name of ['ws', 'mqtt', 'mqtt-packet', 'readable-stream', 'bl'])
    assert.match(notices, new RegExp(`^${name} \\d+\\.\\d+\\.\\d+ \\(MIT\\)$`, 'm'));
  assert.ok((notices.match(/Permission is hereby granted|as above: Permission is hereby/g) ?? []).length >= 15);
  assert.match(notices, /THE SOFTWARE IS PROVIDED "AS IS"/);
  assert.equal(notices.indexOf('*/'), notices.length - 3, 'one comment to the end');
  assert.doesNotMatch(text.slice(0, 300), /github|NOTICE/);
});
