// The agent as one JavaScript file: what `npm run build` put into dist/, or in a clone built on first need.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Fault } from '../core/fault.ts';
import { licencesOf } from './agent-licences.ts';
import { bundleApart } from './bundle-apart.ts';
import { version } from './places.ts';

export interface AgentBundle {
  readonly text: Buffer;
  /** Hex. */
  readonly sha256: string;
}

const root = fileURLToPath(new URL('../../', import.meta.url));
const built = join(root, 'dist/agent.js');
const source = join(root, 'src/daemon/agent-main.ts');

let known: Promise<AgentBundle> | undefined;

/** Made once a process. @throws Fault `unreachable` where it can neither be read nor built */
export function agentBundle(): Promise<AgentBundle> {
  known ??= load();
  known.catch(() => {
    known = undefined;
  });
  return known;
}

async function load(): Promise<AgentBundle> {
  // In a clone the sources are newer than whatever lies in dist/.
  const text = existsSync(source) ? Buffer.from(await bundleApart('agent')) : await readFile(built);
  return { text, sha256: createHash('sha256').update(text).digest('hex') };
}

/** Bundles the agent. @returns the file's text */
export async function buildAgent(): Promise<string> {
  const { rolldown } = await import('rolldown').catch((cause: unknown) => {
    throw new Fault('unreachable', 'the agent is not built and cannot be; run npm run build', { cause });
  });
  const bundle = await rolldown({
    input: source,
    platform: 'node',
    logLevel: 'silent',
    transform: { target: 'es2022', define: { __AGENT_VERSION__: JSON.stringify(version) } },
    external: /^node:/,
  });
  try {
    const { output } = await bundle.generate({
      format: 'cjs',
      minify: true,
      codeSplitting: false,
      banner:
        '#!/usr/bin/env node\n// Sekisho agent, Apache-2.0. The licences of the packages in it stand at its end.\n',
    });
    const [{ code, moduleIds }] = output;
    return `${code.trimEnd()}\n${licencesOf(moduleIds)}`;
  } finally {
    await bundle.close();
  }
}

/** `npm run build`: into dist/. */
export async function writeAgent(): Promise<string> {
  await mkdir(dirname(built), { recursive: true });
  await writeFile(`${built}.new`, await buildAgent());
  await rename(`${built}.new`, built);
  return built;
}
