// OpenVPN over TCP: on the gate's own port, told by its first bytes, or on a port of its own.
import { randomBytes } from 'node:crypto';
import { Fault } from '../../../core/fault.ts';
import type { Conn, Upgrade } from '../../../core/parts.ts';
import { decodeControl, opcodeOf, opcodes, PacketSplitter, tcpFrame } from '../../../wire/openvpn.ts';
import { OpenVpnClient, type OpenVpnDeps } from './client.ts';
import type { Link } from './member.ts';
import { type Protection, type StaticKey, tlsCrypt, unprotected } from './tls-crypt.ts';

export interface OpenVpnDoorDeps extends OpenVpnDeps {
  /** The control channel's static key. */
  readonly key: StaticKey;
  /** Whether clients without it are answered. */
  readonly plain: boolean;
}

/** Bytes that may wait for the client; beyond it packets are dropped, as a switch drops them. */
const mostQueued = 1024 * 1024;
const farewell = 3000;
/** Milliseconds for the first packet. */
const patience = 15_000;

/** Serves one conn to its end. @throws Fault `protocol` */
export async function serveOpenVpnTcp(conn: Conn, tls: Upgrade, deps: OpenVpnDoorDeps): Promise<void> {
  const { stream, peer } = conn;
  const splitter = new PacketSplitter();
  const over = Promise.withResolvers<Error | undefined>();
  let client: OpenVpnClient | undefined;
  const stopWait = deps.clock.after(patience, () => over.resolve(undefined));
  const link: Link = {
    kind: 'tcp',
    peer,
    get isOpen() {
      return stream.writable;
    },
    send(packets) {
      if (!stream.writable || stream.writableLength >= mostQueued) return 0;
      stream.write(tcpFrame(packets));
      return packets.length;
    },
    close: () => conn.close(AbortSignal.timeout(farewell)),
  };
  const data = (chunk: Buffer): void => {
    try {
      const packets = splitter.push(chunk);
      if (packets.length === 0) return;
      if (!client) {
        const first = packets.shift()!;
        const begun = begin(first, deps);
        if (!begun) throw new Fault('protocol', 'the first OpenVPN packet is none, or not under our tls-crypt key');
        stopWait();
        client = new OpenVpnClient({ link, tls, ...begun, ownSession: randomBytes(8), from: 0, deps });
        void client.ended.then(() => over.resolve(undefined));
        packets.unshift(first);
      }
      client.take(packets);
    } catch (error) {
      // Told to whoever called: nobody else hears of what is thrown here.
      over.resolve(error as Error);
    }
  };
  const gone = (): void => over.resolve(undefined);
  stream.on('data', data).on('end', gone).on('close', gone).on('error', gone);
  const wrong = await over.promise;
  stopWait();
  stream.off('data', data);
  await client?.end(wrong ? 'protocol' : 'left');
  await link.close();
  if (wrong) throw wrong;
}

/** What a client's first packet says: its session, and whether it has the static key. */
export function begin(
  first: Buffer,
  { key, plain, clock }: Pick<OpenVpnDoorDeps, 'key' | 'plain' | 'clock'>,
): { readonly protection: Protection; readonly farSession: Buffer } | undefined {
  if (opcodeOf(first) === opcodes.hardResetClientV3)
    throw new Fault('protocol', 'tls-crypt-v2 is not spoken here; use the gate’s own profile, which has tls-crypt');
  const crypt = tlsCrypt(key, clock);
  const opened = crypt.unwrap(first);
  if (!opened && !plain) return undefined;
  const packet = decodeControl(opened ?? first);
  if (packet.opcode !== opcodes.hardResetClient || packet.keyId !== 0) return undefined;
  return { protection: opened ? crypt : unprotected, farSession: Buffer.from(packet.session) };
}
