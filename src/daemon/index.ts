// The daemon's front door: a configuration runs, is checked, or is not needed at all. The command line loads it lazily.
export { verifyExport } from '../access/index.ts';
export { restoreBackup } from '../api/index.ts';
export type { CheckFinding, CheckReport } from './check.ts';
export { checkConfig } from './check-config.ts';
export { configJsonSchema } from './config.ts';
export type { ConfigFile } from './config-file.ts';
export { type DemoOptions, demo } from './demo.ts';
export type { Gateway } from './gateway.ts';
export { importNginx, importNginxFile, type NginxImport } from './import.ts';
export { type RunOptions, runGateway } from './run.ts';
export { type WrapOptions, wrap } from './wrap.ts';
export { formatMistake, type Mistake } from './yaml-source.ts';
