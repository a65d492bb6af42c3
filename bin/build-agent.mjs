// npm run build: the agent's one file, dist/agent.js.
import { writeAgent } from '../src/daemon/agent-bundle.ts';

const path = await writeAgent();
process.stdout.write(`${path}\n`);
