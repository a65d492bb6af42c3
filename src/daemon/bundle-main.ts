// Executable: bundles what a clone serves, and writes it to stdout as JSON. See bundle-apart.ts.
import { buildAgent } from './agent-bundle.ts';
import { bundleConsole } from './console-bundle.ts';

const made = process.argv[2] === 'console' ? [...(await bundleConsole())] : await buildAgent();
process.stdout.write(JSON.stringify(made));
