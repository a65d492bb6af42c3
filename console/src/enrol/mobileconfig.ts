// A configuration profile for iOS and macOS: the identity and the gate's root in one file that the system installs.
import { type Bytes, toBase64 } from './der.ts';

export interface Profile {
  /** `gate.example.com` */
  readonly gate: string;
  readonly user: string;
  readonly p12: Bytes;
  /** DER. */
  readonly root: Bytes;
}

/** The password is not in it: the system asks for it when the profile is installed. */
export function makeProfile({ gate, user, p12, root }: Profile): string {
  const reverse = gate.split('.').toReversed().join('.');
  const payload = (type: string, name: string, rest: string): string => `<dict>
      <key>PayloadType</key><string>${type}</string>
      <key>PayloadVersion</key><integer>1</integer>
      <key>PayloadIdentifier</key><string>${escaped(`${reverse}.${name}`)}</string>
      <key>PayloadUUID</key><string>${crypto.randomUUID()}</string>
      <key>PayloadDisplayName</key><string>${escaped(`${user} (${gate})`)}</string>
      ${rest}
    </dict>`;
  const file = (name: string, bytes: Bytes): string =>
    `<key>PayloadCertificateFileName</key><string>${escaped(name)}</string>
      <key>PayloadContent</key><data>${toBase64(bytes)}</data>`;
  return `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
  ${payload(
    'Configuration',
    'sekisho',
    `<key>PayloadContent</key><array>
    ${payload('com.apple.security.root', 'root', file('root.cer', root))}
    ${payload('com.apple.security.pkcs12', 'identity', file(`${user}.p12`, p12))}
    </array>`,
  )}
</plist>
`;
}

const escaped = (text: string): string =>
  text.replace(/[&<>"']/g, letter => `&#${letter.charCodeAt(0)};`).replace(/\p{Cc}/gu, '');
