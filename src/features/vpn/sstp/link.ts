// The PPP link inside an SSTP call: LCP, then who it is, then IPCP, then IPv4 packets (RFC 1661 §3.2). Without sockets.
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../../core/clock.ts';
import { u16, u32 } from '../../../wire/bytes.ts';
import { octets } from '../../../wire/dhcp.ts';
import {
  decodePpp,
  decodePppPacket,
  encodePppPacket,
  type PppOption,
  type PppPacket,
  pppCodes,
  pppProtocols,
} from '../../../wire/ppp.ts';
import { Authentication, type AuthMethod, type Shown, type Verdict } from './authentication.ts';
import { type Judgement, Negotiation } from './negotiation.ts';

/** The addresses of both ends. */
export interface LinkAddresses {
  readonly member: number;
  /** Ours: the hub's router, so that whoever pings the other end pings that. */
  readonly own: number;
  readonly dns: readonly number[];
}
export interface LinkOptions {
  readonly clock: Clock;
  readonly send: (protocol: number, payload: Uint8Array) => void;
  readonly prove: (shown: Shown) => Promise<Verdict>;
  /** Who it is, is settled: now `assign` is waited for. */
  readonly authenticated: (verdict: Verdict) => void;
  /** IPv4 may flow. */
  readonly opened: () => void;
  readonly ended: (why: string) => void;
}

const lcpOptions = { mru: 1, map: 2, auth: 3, magic: 5 } as const;
const ipcpOptions = { address: 3, dns: [129, 131] } as const;
/** RFC 1661 §6.1: what is not said is 1500. Smaller than IPv4's least is none. */
const mru = { usual: 1500, least: 576 } as const;
/** In the order in which we would like them. */
const methods: readonly { readonly method: AuthMethod; readonly value: Uint8Array }[] = [
  { method: 'mschapv2', value: Uint8Array.of(0xc2, 0x23, 0x81) },
  { method: 'pap', value: Uint8Array.of(0xc0, 0x23) },
];

export class PppLink {
  readonly #options: LinkOptions;
  readonly #magic: Buffer = randomBytes(4);
  readonly #lcp: Negotiation;
  #method = methods[0]!;
  #saysMagic = true;
  #auth: Authentication | undefined;
  #ipcp: Negotiation | undefined;
  /** A wish that came before there was an address to give. */
  #early: PppPacket | undefined;
  #phase: 'dead' | 'establish' | 'authenticate' | 'network' | 'closed' = 'dead';
  #rejects = 0;
  /** The largest packet that the peer takes. */
  mru: number = mru.usual;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#lcp = new Negotiation({
      clock: options.clock,
      send: packet => this.#say(pppProtocols.lcp, packet),
      wishes: () => [
        { type: lcpOptions.auth, value: this.#method.value },
        ...(this.#saysMagic ? [{ type: lcpOptions.magic, value: this.#magic }] : []),
      ],
      refused: (list, kind) => this.#refused(list, kind),
      judge: list => this.#judgeLcp(list),
      opened: theirs => this.#established(theirs),
      failed: why => this.#end(`LCP: ${why}`),
    });
  }
  get method(): AuthMethod {
    return this.#method.method;
  }
  get isOpen(): boolean {
    return this.#phase === 'network' && this.#ipcp?.isOpen === true;
  }
  start(): void {
    this.#phase = 'establish';
    this.#lcp.start();
  }
  /** The member's address is known: IPCP may begin. */
  assign(addresses: LinkAddresses): void {
    if (this.#phase !== 'network' || this.#ipcp) return;
    this.#ipcp = new Negotiation({
      clock: this.#options.clock,
      send: packet => this.#say(pppProtocols.ipcp, packet),
      wishes: () => [{ type: ipcpOptions.address, value: Uint8Array.from(octets(addresses.own)) }],
      // Our address is what it is; a peer that does not want to know it may do without (RFC 1332 §3.3).
      refused: () => false,
      judge: list => judgeIpcp(list, addresses),
      opened: () => this.#options.opened(),
      failed: why => this.#end(`IPCP: ${why}`),
    });
    this.#ipcp.start();
    if (this.#early) this.#ipcp.input(this.#early);
    this.#early = undefined;
  }
  /** Says that the link ends; nothing of it counts any more. */
  terminate(text: string): void {
    if (this.#phase === 'closed' || this.#phase === 'dead') return;
    this.#say(pppProtocols.lcp, { code: pppCodes.terminateRequest, id: 0, data: Buffer.from(text.slice(0, 60)) });
    this.stop();
  }
  stop(): void {
    this.#phase = 'closed';
    this.#lcp.stop();
    this.#auth?.stop();
    this.#ipcp?.stop();
  }

  /** @returns the IPv4 packet in it, if there is one. @throws Fault `protocol` */
  input(frame: Uint8Array): Uint8Array | undefined {
    const { protocol, payload } = decodePpp(frame);
    if (protocol === pppProtocols.ipv4) return this.isOpen ? payload : undefined;
    if (this.#phase === 'closed' || this.#phase === 'dead') return undefined;
    if (protocol === pppProtocols.lcp) this.#lcpInput(decodePppPacket(payload));
    else if (protocol === pppProtocols.chap || protocol === pppProtocols.pap)
      this.#auth?.input(protocol, decodePppPacket(payload));
    else if (protocol === pppProtocols.ipcp) this.#ipcpInput(decodePppPacket(payload));
    else if (this.#lcp.isOpen) this.#rejectProtocol(protocol, payload);
    return undefined;
  }

  #lcpInput(packet: PppPacket): void {
    const { code, id, data } = packet;
    switch (code) {
      case pppCodes.configureRequest:
      case pppCodes.configureAck:
      case pppCodes.configureNak:
      case pppCodes.configureReject:
        return void this.#lcp.input(packet);
      case pppCodes.terminateRequest:
        this.#say(pppProtocols.lcp, { code: pppCodes.terminateAck, id, data: Buffer.alloc(0) });
        return void this.#end('it said goodbye');
      case pppCodes.codeReject:
        return void this.#end('LCP: it does not know what LCP is');
      case pppCodes.protocolReject:
        if (data.length >= 2 && u16(data, 0) === pppProtocols.ipcp) this.#end('it speaks no IPv4');
        return;
      case pppCodes.echoRequest:
        if (this.#lcp.isOpen && data.length >= 4)
          this.#say(pppProtocols.lcp, {
            ...{ code: pppCodes.echoReply, id },
            data: Buffer.concat([this.#magic, data.subarray(4)]),
          });
        return;
      case pppCodes.terminateAck:
      case pppCodes.echoReply:
      case pppCodes.discardRequest:
        return;
      default:
        // Microsoft's Identification and Time-Remaining (RFC 1570) come at the end of LCP, and want no answer.
        if (code !== 12 && code !== 13) this.#rejectCode(pppProtocols.lcp, packet);
    }
  }
  #ipcpInput(packet: PppPacket): void {
    if (this.#phase !== 'network') return; // RFC 1661 §3.5: nothing of the network before that
    const { code, id } = packet;
    if (code === pppCodes.terminateRequest) {
      this.#say(pppProtocols.ipcp, { code: pppCodes.terminateAck, id, data: Buffer.alloc(0) });
      this.#end('it ended IPv4');
    } else if (code >= pppCodes.configureRequest && code <= pppCodes.configureReject) {
      if (this.#ipcp) this.#ipcp.input(packet);
      else if (code === pppCodes.configureRequest) this.#early = { ...packet, data: Buffer.from(packet.data) };
    } else if (code !== pppCodes.terminateAck && code !== pppCodes.codeReject)
      this.#rejectCode(pppProtocols.ipcp, packet);
  }

  /** MRU, map and magic are fine; compression of fields, callback and bundles are not spoken here. */
  #judgeLcp(options: readonly PppOption[]): Judgement {
    const known: number[] = [lcpOptions.mru, lcpOptions.map, lcpOptions.magic];
    const reject = options.filter(({ type }) => !known.includes(type));
    const nak = options.flatMap(({ type, value }): PppOption[] => {
      const isFine = value.length === (type === lcpOptions.mru ? 2 : 4);
      if (type === lcpOptions.mru && (!isFine || u16(value, 0) < mru.least))
        return [{ type, value: Uint8Array.of(mru.usual >> 8, mru.usual & 255) }];
      // Our own magic number means that we hear ourselves (RFC 1661 §6.4).
      if (type === lcpOptions.magic && (!isFine || this.#magic.equals(value))) return [{ type, value: randomBytes(4) }];
      return type === lcpOptions.map && !isFine ? [{ type, value: new Uint8Array(4) }] : [];
    });
    return { reject, nak };
  }
  /** Who does not want to be asked by one method may suggest the other; who does not want to be asked stays out. */
  #refused(options: readonly PppOption[], kind: 'nak' | 'reject'): boolean {
    for (const { type, value } of options) {
      if (type === lcpOptions.magic) this.#saysMagic = false;
      if (type !== lcpOptions.auth) continue;
      if (kind === 'reject') return false;
      const wished = methods.find(one => Buffer.compare(one.value, value) === 0);
      const other = methods[methods.indexOf(this.#method) + 1];
      const next = wished ?? other;
      if (!next) return false;
      this.#method = next;
    }
    return true;
  }
  #established(theirs: readonly PppOption[]): void {
    const wished = theirs.find(({ type }) => type === lcpOptions.mru)?.value;
    this.mru = Math.min(mru.usual, wished ? u16(wished, 0) : mru.usual);
    this.#phase = 'authenticate';
    this.#auth = new Authentication(this.#method.method, {
      clock: this.#options.clock,
      send: (protocol, packet) => this.#say(protocol, packet),
      prove: this.#options.prove,
      done: verdict => {
        if (this.#phase === 'closed') return;
        if (verdict.ok) this.#phase = 'network';
        this.#options.authenticated(verdict);
      },
      failed: why => this.#end(why),
    });
    this.#auth.start();
  }

  /** With as much of it as fits (RFC 1661 §5.7). */
  #rejectProtocol(protocol: number, payload: Uint8Array): void {
    const data = Buffer.concat([Uint8Array.of(protocol >> 8, protocol & 255), payload.subarray(0, this.mru - 6)]);
    this.#say(pppProtocols.lcp, { code: pppCodes.protocolReject, id: ++this.#rejects & 255, data });
  }
  #rejectCode(protocol: number, packet: PppPacket): void {
    const data = encodePppPacket(packet).subarray(0, this.mru - 4);
    this.#say(protocol, { code: pppCodes.codeReject, id: ++this.#rejects & 255, data });
  }
  #say(protocol: number, packet: PppPacket): void {
    this.#options.send(protocol, encodePppPacket(packet));
  }
  #end(why: string): void {
    if (this.#phase === 'closed') return;
    this.stop();
    this.#options.ended(why);
  }
}

/** The member gets the address that DHCP gave, and the hub's name servers where it asks for them (RFC 1332, RFC 1877). */
function judgeIpcp(options: readonly PppOption[], { member, dns }: LinkAddresses): Judgement {
  const given = new Map<number, number | undefined>([
    [ipcpOptions.address, member],
    ...ipcpOptions.dns.map((type, index): [number, number | undefined] => [type, dns[index]]),
  ]);
  const reject = options.filter(({ type }) => given.get(type) === undefined);
  const nak: PppOption[] = [];
  for (const { type, value } of options) {
    const right = given.get(type);
    if (right !== undefined && (value.length !== 4 || u32(value, 0) !== right))
      nak.push({ type, value: Uint8Array.from(octets(right)) });
  }
  if (!options.some(({ type }) => type === ipcpOptions.address))
    nak.push({ type: ipcpOptions.address, value: Uint8Array.from(octets(member)) });
  return { reject, nak };
}
