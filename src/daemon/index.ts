// Front door of the daemon: what the command line needs of it.
export { importNginx, importNginxFile, type NginxImport } from './import.ts';
