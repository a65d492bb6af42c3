// npm run build, after tsc: what is bundled — the agent and the console — goes into dist/.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { agentBundle } from './agent-bundle.ts';
import { bundleConsole } from './console-bundle.ts';

const dist = join(import.meta.dirname, '../../dist');
const files = new Map([
  ['agent.js', (await agentBundle()).text.toString()],
  ...[...(await bundleConsole())].map(([name, text]) => [`console/${name}`, text] as const),
]);
for (const [name, text] of files) {
  mkdirSync(dirname(join(dist, name)), { recursive: true });
  writeFileSync(join(dist, name), text);
  process.stdout.write(`dist/${name}  ${text.length} bytes\n`);
}
