// One line per connection, as nginx writes its access log.
import { formatAddress } from '../../core/address.ts';
import type { Address, TlsFacts } from '../../core/parts.ts';

export interface AccessLine {
  readonly time: Date;
  readonly route: string;
  readonly client: Address;
  /** The session's id, as in the audit; absent where nobody was admitted. */
  readonly session?: string;
  /** The user, or what the certificate says it is. */
  readonly who?: string;
  readonly tls?: TlsFacts;
  /** The target that was reached, or tried last. */
  readonly target?: string;
  /** Bytes from the client, and to it. */
  readonly up: number;
  readonly down: number;
  readonly seconds: number;
  /** How it ended: ended, idle, reset, denied, unreachable … */
  readonly cause: string;
}

/** `203.0.113.7:50312 - [22/Nov/2026:16:25:13 +0000] db db.example.com TLSv1.3/TLS_AES_128_GCM_SHA256 "10.0.0.5:5432" 1204 48220 3.172 ended` */
export function formatAccessLine(line: AccessLine): string {
  const { tls } = line;
  const spoken = tls?.protocol ? `${tls.protocol}/${tls.cipher ?? '-'}${tls.resumed ? '/resumed' : ''}` : '-';
  return [
    formatAddress(line.client),
    word(line.who),
    `[${clfTime(line.time)}]`,
    line.route,
    word(tls?.sni),
    spoken,
    `"${line.target ?? '-'}"`,
    line.up,
    line.down,
    line.seconds.toFixed(3),
    line.cause,
    word(line.session),
  ].join(' ');
}

/** What a peer wrote (a server name, a certificate's name) stays one word of printable characters. */
const word = (text: string | undefined): string => (text ? text.replace(/[^\x21-\x7e\u00a1-\uffff]|["\\]/g, '_') : '-');

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

function clfTime(time: Date): string {
  const [date = '', clock = ''] = time.toISOString().split('T');
  const [year, month, day] = date.split('-');
  return `${day}/${months[Number(month) - 1]}/${year}:${clock.slice(0, 8)} +0000`;
}
