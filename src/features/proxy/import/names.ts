// Server names and ALPN as nginx matches them (exact, wildcard, regex) → names that a route can carry.

/** `names` = what a route can say; a string = why it cannot be said. `never` = nginx matches it with nothing. */
export type NameReading =
  | { readonly names: readonly string[] }
  | { readonly never: string }
  | { readonly refused: string };

/** A key of a map over the server name, or an argument of `server_name`. */
export function readName(text: string, wildcards: boolean): NameReading {
  if (text.startsWith('~')) return readPattern(text);
  const name = text.startsWith('\\') ? text.slice(1).toLowerCase() : text.toLowerCase();
  if (name.includes('*') || name.startsWith('.')) {
    if (!wildcards) return { never: 'without `hostnames` nginx compares it letter by letter, so it never matches' };
    if (/^\*\.[^*]+$/.test(name)) return { names: [name] };
    if (/^\.[^*]+$/.test(name)) return { names: [name.slice(1), `*${name}`] };
    return { refused: `a name cannot end in a wildcard ("${text}")` };
  }
  if (name === '_') return { never: '"_" is no name that a client sends' };
  if (name === '')
    return { refused: 'a connection without a server name cannot be told from one with an unknown name' };
  return { names: [name] };
}

/** The few shapes of regular expressions that are wildcards in disguise; captures must not be used. */
function readPattern(text: string): NameReading {
  const pattern = text.replace(/^~\*?/, '');
  const exact = /^\^((?:[\w-]|\\\.)+)\$$/.exec(pattern)?.[1];
  if (exact !== undefined) return { names: [exact.replaceAll('\\.', '.').toLowerCase()] };
  const suffix = /^(?:\^?\(?\.[*+]\)?)?((?:\\\.[\w-]+)+)\$$/.exec(pattern)?.[1];
  if (suffix !== undefined) return { names: [`*${suffix.replaceAll('\\.', '.').toLowerCase()}`] };
  return { refused: `the regular expression ${text} is not a list of names` };
}

/** A key of a map over the client's ALPN list (`h2,http/1.1` in one string). */
export function readAlpn(text: string): NameReading {
  const pattern = /^~\*?(?:\(\^\|,\)|\\b|\^)?([\w./-]+?)(?:\(,\|\$\)|\\b|\$)?$/.exec(text)?.[1];
  if (pattern !== undefined) return { names: [pattern.replaceAll('\\.', '.')] };
  if (text.startsWith('~')) return { refused: `the regular expression ${text} is not one protocol` };
  if (text.includes(',')) return { refused: `"${text}" asks for a whole list; a route takes single protocols` };
  if (text === '') return { refused: 'a connection without ALPN cannot be told from one with another protocol' };
  return { names: [text] };
}
