// Which frames go before others when a session has the QoS flag: small ICMP, and IPv4 whose TOS byte says so.

/** Larger ICMP is no ping that somebody waits for. */
const smallIcmp = 512;

/** SoftEther's own rule (its IsPriorityHighestPacketForQoS). */
export function isUrgent(frame: Uint8Array): boolean {
  if (frame.length < 34 || frame[12] !== 0x08 || frame[13] !== 0x00 || ((frame[14] ?? 0) & 0xf0) !== 0x40) return false;
  return frame[15] !== 0 || (frame[23] === 1 && frame.length <= smallIcmp);
}
