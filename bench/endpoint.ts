// Endpoints: the path beside ssh -R, and what a flood of refused connections and a thousand open endpoints cost.
// npm run bench -- endpoint [path|flood] [--seconds 2] [--turns 5] [--rows PART]
import { parseArgs } from 'node:util';
import { turnOptions, turnsOf } from './beside.ts';
import { underFlood } from './endpoint-flood.ts';
import { besideSsh } from './endpoint-path.ts';

const { values, positionals } = parseArgs({ options: turnOptions, allowPositionals: true });
const parts = {
  path: () => besideSsh(turnsOf(values)),
  flood: () => underFlood(4 * Number(values.seconds)),
};
for (const [name, run] of Object.entries(parts)) {
  if (positionals.length === 0 || positionals.includes(name)) await run();
}
