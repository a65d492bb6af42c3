// One line of the access log: a request through the proxy, or a tunnel at its end.
import { formatAddress } from '../../core/address.ts';
import type { Address, Principal } from '../../core/parts.ts';

export interface WebLine {
  readonly time: Date;
  readonly request: string;
  readonly client: Address;
  /** A user's name; of a certificate that is only its attributes, its CN. */
  readonly who: string;
  readonly session?: string;
  readonly method: string;
  /** The site and the path without its query, which may hold secrets. */
  readonly url: string;
  readonly version: string;
  readonly status: number;
  readonly up: number;
  readonly down: number;
  readonly seconds: number;
  /** Why it ended where it did not end by itself. */
  readonly cause?: string;
}

export const whoText = ({ id, attributes }: Principal): string => id || (attributes.get('cn')?.[0] ?? '');

/** The combined form's order with the identity where the user stands, then what only we know. */
export function formatWebLine(line: WebLine): string {
  const {
    time,
    client,
    who,
    method,
    url,
    version,
    status,
    up,
    down,
    seconds,
    request,
    session = '-',
    cause = '-',
  } = line;
  const from = 'host' in client ? client.host : formatAddress(client);
  return `${from} - ${quiet(who) || '-'} [${time.toISOString()}] "${quiet(method)} ${quiet(url)} HTTP/${version}" ${status} ${down} ${up} ${seconds.toFixed(3)} ${request} ${session} ${cause}`;
}

/** What comes from outside cannot break out of its place. */
const quiet = (text: string): string =>
  text.replace(/[\x00-\x20"\\\x7f-\x9f]/g, character => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
