// The gate that `sekisho up` runs without a configuration: its own port on loopback, its own CA, nothing else open.
import { type ConfigFile, parseConfig } from './config-file.ts';

const text = 'gate: {}\n';

export const defaultConfig = (): ConfigFile => parseConfig(text, { name: 'default', folder: process.cwd() });
