// What the rigs of both ways share: who a certificate is, names, access lines that are waited for, conns that are served.
import { X509Certificate } from 'node:crypto';
import { Fault } from '../../../src/core/fault.ts';
import type { Conn, Decision, Identify, Listener, Principal, Upgrade } from '../../../src/core/parts.ts';
import type { WebLine } from '../../../src/features/web/index.ts';

export const anonymous: Principal = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };

/** The CN is the user, of group `staff`, unless it is among the revoked. */
export const byCommonName =
  (revoked: ReadonlySet<string>): Identify =>
  async conn => {
    const leaf = conn.tls?.leaf;
    if (!leaf) return anonymous;
    const cn = /CN=([^\n]*)/.exec(new X509Certificate(leaf).subject)?.[1] ?? '';
    if (revoked.has(cn)) throw new Fault('unknown-caller', 'the client certificate has been revoked');
    return { kind: 'user', id: cn, groups: ['staff'], attributes: new Map([['cn', [cn]]]), credential: `cert:${cn}` };
  };

/** A text = denied. */
export function decision(reason: string | undefined): Decision {
  return reason === undefined ? { allow: true, rule: 'access[0]' } : { allow: false, rule: 'access[0]', reason };
}

export const resolverOf = (names: Readonly<Record<string, readonly string[]>>) => ({
  async addresses(host: string) {
    const found = names[host];
    if (!found) throw new Fault('unreachable', `${host} has no address`);
    return { addresses: [...found], ttl: 5000 };
  },
});

/** Access lines so far; `line` waits for the nth. */
export function accessLines() {
  const lines: WebLine[] = [];
  const waiting = new Set<() => void>();
  return {
    lines,
    accessLog: (line: WebLine): void => {
      lines.push(line);
      for (const look of [...waiting]) look();
    },
    line: (index = 0): Promise<WebLine> =>
      new Promise(resolve => {
        const look = (): void => {
          const line = lines[index];
          if (!line) return;
          waiting.delete(look);
          resolve(line);
        };
        waiting.add(look);
        look();
      }),
  };
}

/** Serves every conn of the listener; resolves when the last one has ended. */
export async function serveAll(
  listener: Listener,
  upgrade: Upgrade,
  handle: (conn: Conn) => Promise<void>,
): Promise<void> {
  const serveOne = async (raw: Conn): Promise<void> => {
    try {
      const conn = await upgrade(raw, AbortSignal.timeout(10_000));
      await handle(conn);
      await conn.close(AbortSignal.timeout(5000));
    } catch {
      raw.stream.destroy();
    }
  };
  const open: Promise<void>[] = [];
  for await (const raw of listener) open.push(serveOne(raw));
  await Promise.all(open);
}
