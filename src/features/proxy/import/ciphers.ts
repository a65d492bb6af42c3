// Protocol and cipher lists of nginx → ours: weak tokens are dropped and named, never carried over.

/** OpenSSL's TLS 1.3 suites. nginx's cipher lists do not touch them; ours name both in one string. */
export const tls13Suites = 'TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256';

const weakWords = new Set(
  (
    'SSLV2 SSLV3 TLSV1 TLSV1.0 RC2 RC4 DES CBC3 3DES IDEA SEED MD5 NULL ANULL ENULL ADH AECDH EXP EXPORT EXP40 ' +
    'EXPORT40 EXPORT56 LOW MEDIUM COMPLEMENTOFALL'
  ).split(' '),
);
/** Names of groups that hold anonymous ciphers too, unless told otherwise. */
const groups =
  /^(ALL|HIGH|FIPS|[ak](RSA|ECDSA|EC?DHE?|ECDH|ANY)|EECDH|ECDHE?|EDH|DHE?|AES(128|256)?|AESGCM|AESCCM|CHACHA20|SHA(1|256|384)?|CAMELLIA(128|256)?|ARIA(128|256)?|TLSv1\.2)([+].*)?$/i;

export interface Ciphers {
  /** What is left; absent when nothing is. */
  readonly list?: string;
  readonly dropped: readonly string[];
  /** `!aNULL` and the like, appended because a group in the list would bring them in. */
  readonly added: readonly string[];
}

export function strongCiphers(text: string): Ciphers {
  const kept: string[] = [];
  const dropped: string[] = [];
  // `DEFAULT@SECLEVEL=0` is one token and a level.
  for (const token of text
    .replaceAll('@', ':@')
    .split(/[:, ]+/)
    .filter(Boolean))
    (isWeak(token) ? dropped : kept).push(token);
  const adds = kept.filter(token => !/^[!\-+@]/.test(token));
  if (adds.length === 0) return { dropped, added: [] };
  const added = adds.some(token => groups.test(token))
    ? ['!aNULL', '!eNULL'].filter(token => !kept.includes(token) && !(token === '!eNULL' && !adds.includes('ALL')))
    : [];
  return { list: [...kept, ...added].join(':'), dropped, added };
}

function isWeak(token: string): boolean {
  if (token.startsWith('!') || token.startsWith('-')) return false;
  if (token.startsWith('@')) return /^@SECLEVEL=0$/i.test(token);
  return token
    .replace(/^\+/, '')
    .split(/[-+]/)
    .some(word => weakWords.has(word.toUpperCase()));
}

export interface Protocols {
  readonly versions: readonly ('TLSv1.2' | 'TLSv1.3')[];
  readonly dropped: readonly string[];
  /** Nothing that is still spoken was asked for: the modern default stands. */
  readonly replaced: boolean;
}

export function strongProtocols(words: readonly string[]): Protocols {
  const all = ['TLSv1.2', 'TLSv1.3'] as const;
  const versions = all.filter(version => words.some(word => word.toLowerCase() === version.toLowerCase()));
  const dropped = words.filter(word => !all.some(version => version.toLowerCase() === word.toLowerCase()));
  return { versions: versions.length > 0 ? versions : all, dropped, replaced: versions.length === 0 };
}

/** One string for both: the suites where TLS 1.3 is spoken, the list where TLS 1.2 is. */
export function joinCiphers(
  list: string | undefined,
  versions: readonly string[],
  suites = tls13Suites,
): string | undefined {
  if (list === undefined && suites === tls13Suites) return undefined;
  const parts = [versions.includes('TLSv1.3') ? suites : undefined, versions.includes('TLSv1.2') ? list : undefined];
  return parts.filter(part => part !== undefined).join(':') || undefined;
}
