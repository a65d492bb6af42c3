// A text as a QR code, drawn as one path: black on white in any light, since scanners want it so.
import qrcode from 'qrcode-generator';

export function Qr({ text, label }: { text: string; label: string }) {
  qrcode.stringToBytes = utf8;
  const code = qrcode(0, 'L'); // 0: as large as it must be
  code.addData(text, 'Byte');
  code.make();
  const count = code.getModuleCount();
  let path = '';
  for (let row = 0; row < count; row++) {
    for (let column = 0; column < count; column++)
      if (code.isDark(row, column)) path += `M${column + 4} ${row + 4}h1v1h-1z`;
  }
  const size = count + 8; // ISO/IEC 18004 §6.3.8: four modules of quiet
  return (
    <svg class="qr" viewBox={`0 0 ${size} ${size}`} role="img" aria-label={label}>
      <rect width={size} height={size} fill="#fff" />
      <path d={path} fill="#000" shape-rendering="crispEdges" />
    </svg>
  );
}

const utf8 = (text: string): number[] => [...new TextEncoder().encode(text)];
