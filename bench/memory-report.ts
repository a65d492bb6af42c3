// Loaded into a gate that is measured (`--import`): on SIGUSR2 it collects its garbage and says what its memory is made of.
// SNAPSHOT=DIR: writes a heap snapshot as well.
import { join } from 'node:path';
import { setFlagsFromString, writeHeapSnapshot } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
let reports = 0;

process.on('SIGUSR2', () => {
  const asItIs = process.memoryUsage().heapUsed;
  collect();
  const number = ++reports;
  process.stderr.write(`memory ${number} ${JSON.stringify({ asItIs, ...process.memoryUsage() })}\n`);
  const folder = process.env['SNAPSHOT'];
  if (folder) writeHeapSnapshot(join(folder, `${number}.heapsnapshot`));
});
