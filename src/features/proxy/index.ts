// The front door of the stream proxy.
export { type ImportedRoute, importStream } from './import.ts';
