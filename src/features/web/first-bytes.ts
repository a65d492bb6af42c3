// Told by a connection's first bytes: is it the proxy that is spoken to, or the gate?

/** Whether the first bytes of a TLS conn are a proxy's request: CONNECT, or an address with a scheme. */
export function isProxyRequest(bytes: Uint8Array): boolean | 'more' {
  const line = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, 80)).toString('latin1');
  const [, method, target] = /^(?:\r\n)*([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S*)/.exec(line) ?? [];
  if (method === undefined || target === undefined)
    return /^[\r\n!#$%&'*+.^_`|~0-9A-Za-z-]*$/.test(line) && line.length < 64 ? 'more' : false;
  if (method === 'CONNECT') return true;
  if (target === '') return 'more';
  if (/^[/*]/.test(target)) return false;
  if (/^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(target)) return true;
  return /^[A-Za-z][A-Za-z0-9+.-]*(:\/?)?$/.test(target) && line.endsWith(target) && line.length < 80 ? 'more' : false;
}
