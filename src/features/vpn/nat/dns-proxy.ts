// The router's DNS: queries go on to the name servers of this machine, each from a socket and with an id of its own
// (RFC 5452), and only an answer to the very question comes back.
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { getServers } from 'node:dns';
import { isIPv6 } from 'node:net';
import { putU16, u16 } from '../../../wire/bytes.ts';
import { answers, dnsFailure, dnsResults, readDnsQuery } from '../../../wire/dns.ts';

/** Milliseconds until the next server is asked. */
const patience = 3000;
/** Queries under way at one time: of all, and of one asker. */
const most = { all: 512, ofAsker: 64 } as const;

export class DnsProxy {
  readonly #servers: readonly { readonly host: string; readonly port: number }[];
  readonly #askers = new Map<unknown, number>();
  #count = 0;

  /** @param servers `192.0.2.1` or `192.0.2.1:53`; default: those of this machine */
  constructor(servers: readonly string[] = getServers()) {
    this.#servers = servers.slice(0, 3).map(parseServer);
  }
  /** Where DNS over TCP is led to. */
  get server(): { readonly host: string; readonly port: number } | undefined {
    return this.#servers[0];
  }

  /** The answer to a query, or nothing: what is no query, and what is too much. */
  async ask(query: Uint8Array, asker: unknown): Promise<Uint8Array | undefined> {
    let end: number;
    try {
      end = readDnsQuery(query).end;
    } catch {
      return undefined;
    }
    const own = this.#askers.get(asker) ?? 0;
    if (this.#count >= most.all || own >= most.ofAsker) return undefined;
    this.#count++;
    this.#askers.set(asker, own + 1);
    try {
      for (const server of this.#servers) {
        const answer = await ask(query, end, server);
        if (!answer) continue;
        putU16(answer, 0, u16(query, 0));
        return answer;
      }
      return dnsFailure(query, end, dnsResults.serverFailure);
    } finally {
      this.#count--;
      const left = (this.#askers.get(asker) ?? 1) - 1;
      if (left > 0) this.#askers.set(asker, left);
      else this.#askers.delete(asker);
    }
  }
}

function ask(
  query: Uint8Array,
  end: number,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<Uint8Array | undefined> {
  const own = Uint8Array.from(query);
  putU16(own, 0, randomInt(65_536));
  return new Promise(resolve => {
    const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
    const done = (answer: Uint8Array | undefined): void => {
      clearTimeout(timer);
      socket.removeAllListeners().on('error', () => {});
      try {
        socket.close();
      } catch {
        // closed already
      }
      resolve(answer);
    };
    const timer = setTimeout(done, patience, undefined);
    socket.on('error', () => done(undefined));
    socket.on('message', message => {
      if (answers(message, own, end)) done(Uint8Array.from(message));
    });
    socket.connect(port, host, () => socket.send(own));
  });
}

function parseServer(text: string): { host: string; port: number } {
  const bracketed = /^\[(.+)\](?::(\d+))?$/.exec(text);
  const plain = /^([\d.]+):(\d+)$/.exec(text);
  const [, host = text, port = '53'] = bracketed ?? plain ?? [];
  return { host, port: Number(port) };
}
