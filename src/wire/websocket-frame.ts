// One unfragmented binary message of a WebSocket, as it is sent (RFC 6455 §5.2):
//
//   FIN + opcode 2 | MASK + 7-bit length | 16-bit length, where that is 126, or 64-bit, where it is 127 | key | payload
//
// A client's key is all zeros: RFC 6455 §5.3 wants a mask, and this one changes nothing.

/** The head of a message, with `room` more bytes behind it for the payload. */
export function binaryHead(length: number, isClient: boolean, room = 0): Buffer {
  const short = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const size = isClient ? short + 4 : short;
  const head = Buffer.allocUnsafe(size + room);
  head[0] = 0x82;
  head[1] = (isClient ? 0x80 : 0) | (short === 2 ? length : short === 4 ? 126 : 127);
  if (short === 4) head.writeUInt16BE(length, 2);
  if (short === 10) {
    head.writeUInt32BE(0, 2);
    head.writeUInt32BE(length, 6);
  }
  if (isClient) head.fill(0, short, size);
  return head;
}
