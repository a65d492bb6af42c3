// Patterns in which `*` matches any run of characters, also none, and nothing else is special.

/** Exact otherwise: case counts; both sides are compared in Unicode's composed form (NFC). Linear in time. */
export function glob(pattern: string): (text: string) => boolean {
  const [first = '', ...rest] = pattern.normalize('NFC').split('*');
  const last = rest.pop();
  if (last === undefined) return text => compose(text) === first;
  const middle = rest.filter(part => part !== '');
  return given => {
    const text = compose(given);
    if (!text.startsWith(first) || !text.endsWith(last) || text.length < first.length + last.length) return false;
    let at = first.length;
    for (const part of middle) {
      const found = text.indexOf(part, at);
      if (found < 0) return false;
      at = found + part.length;
    }
    return at <= text.length - last.length;
  };
}

// What is ASCII is composed already; asking is cheaper than normalising.
const compose = (text: string): string => (/^[\x00-\x7f]*$/.test(text) ? text : text.normalize('NFC'));
