// The site of the documents: whole, without a link that leads nowhere, without anything from elsewhere.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { docsSite } from '../docs/site/build.ts';
import { verbs } from '../src/api/contract/routes.ts';
import { seats } from '../src/cli/index.ts';

const files = await docsSite();
const pages = [...files].filter(([name]) => name.endsWith('.html'));

test('every link leads to a page of the site, and to a place that it has', () => {
  assert.ok(pages.length > 25, `${pages.length} pages`);
  for (const [name, html] of pages) {
    for (const [, href = ''] of html.matchAll(/href="([^"]*)"/g)) {
      if (/^https:/.test(href)) continue;
      const [file = '', anchor] = href.split('#');
      const target = file === '' ? html : files.get(file);
      assert.ok(target, `${name} leads to ${href}, which is not there`);
      if (anchor) assert.ok(target.includes(`id="${anchor}"`), `${name} leads to ${href}, a place that is not there`);
    }
  }
});

test('a browser is given no script, and nothing of another origin', () => {
  for (const [name, html] of pages) {
    assert.doesNotMatch(html, /<script|\son[a-z]+=|src="http|<(?:iframe|object|embed|form)/i, name);
    assert.match(html, /default-src 'none'/, name);
  }
});

test('the references have every command and every verb of the API', () => {
  const [cli = '', api = ''] = [files.get('cli.html'), files.get('api.html')];
  for (const { name } of seats) assert.ok(cli.includes(`id="sekisho-${name}"`), `sekisho ${name}`);
  for (const [name, { method, path }] of Object.entries(verbs)) {
    assert.ok(api.includes(`<code>${name}</code>`), name);
    assert.ok(api.includes(`${method} ${path.replace(/:(\w+)/g, '{$1}')}`), `${method} ${path}`);
  }
});
