// Tables of trust/: users and their groups, what they prove themselves with, and the certificates we issued.
export interface TrustTables {
  user: UserTable;
  group_member: GroupMemberTable;
  password: PasswordTable;
  token: TokenTable;
  access_key: AccessKeyTable;
  one_time_code: OneTimeCodeTable;
  passkey: PasskeyTable;
  oidc_identity: OidcIdentityTable;
  certificate: CertificateTable;
  crl: CrlTable;
  enrolment: EnrolmentTable;
}

export interface UserTable {
  name: string;
  display: string;
  state: 'active' | 'disabled';
  /** JSON list of roles. */
  roles: string;
  created: string;
}

/** A group is there as long as it has members. */
export interface GroupMemberTable {
  group: string;
  user: string;
}

export interface PasswordTable {
  user: string;
  /** New with every change; sessions that were opened with the old one are told apart by it. */
  id: string;
  /** `$argon2id$v=19$m=…,t=…,p=…$salt$hash`. */
  hash: string;
  changed: string;
}

export interface TokenTable {
  id: string;
  /** SHA-256, hex. The token itself is nowhere. */
  hash: string;
  user: string;
  /** `login` is a signed-in browser or command line. */
  kind: 'api' | 'login';
  /** What its owner calls it. */
  note: string;
  /** JSON list of action patterns. */
  scope: string;
  created: string;
  expires: string | null;
  revoked: string | null;
  /** Of a sign-in: by what, `password+totp`; and the address that it came from. */
  how: string;
  address: string;
  /** SHA-256, hex, of the key that the console's pages keep and show beside the cookie; `''` where there is no cookie. */
  bound: string;
  /** When its owner last proved themselves. */
  proven: string | null;
}

export interface AccessKeyTable {
  id: string;
  user: string;
  /** Encrypted with the key outside the database, since SigV4 has to compute with it. */
  secret: string;
  created: string;
  expires: string | null;
  revoked: string | null;
}

export interface OneTimeCodeTable {
  id: string;
  /** SHA-256, hex. */
  hash: string;
  purpose: string;
  /** What it makes its bearer. */
  kind: 'user' | 'device';
  name: string;
  created: string;
  expires: string;
  spent: string | null;
}

export interface PasskeyTable {
  /** The credential id, base64url. */
  id: string;
  user: string;
  /** What the authenticator knows the user by: random, the same for all passkeys of one user, base64url. */
  handle: string;
  label: string;
  /** COSE key, base64url. */
  public_key: string;
  counter: number;
  /** JSON list: `usb`, `internal`, … */
  transports: string;
  /** 1 = may be copied to its owner's other devices (backup eligible). */
  synced: number;
  created: string;
  used: string | null;
}

/** Whom a person of an OpenID provider is here, from their first sign-in on. */
export interface OidcIdentityTable {
  issuer: string;
  subject: string;
  user: string;
  created: string;
}

/** Everything our CA signed; the private keys are not kept. */
export interface CertificateTable {
  serial: string;
  /** SHA-256 of the DER, hex. */
  fingerprint: string;
  /** Fingerprint of the issuing CA's certificate. */
  issuer: string;
  kind: 'server' | 'user' | 'device';
  /** The user or device; `''` for a server. */
  name: string;
  /** JSON list: `DNS:…`, `IP:…`, `URI:…`. */
  names: string;
  /** JSON: cn, ou, o. */
  subject: string;
  not_before: string;
  not_after: string;
  pem: string;
  revoked: string | null;
  reason: string | null;
  /** The serial of the certificate whose holder renewed it: revoking that one revokes this one. */
  replaces: string | null;
}

/** The number of each issuing CA's newest revocation list; it must never go back. */
export interface CrlTable {
  issuer: string;
  number: number;
}

/** A link with which a person fetches a certificate. */
export interface EnrolmentTable {
  id: string;
  /** SHA-256, hex. The code itself is nowhere. */
  hash: string;
  user: string;
  /** JSON: what stands in the certificate, and how long it lives. */
  wish: string;
  created: string;
  expires: string;
  /** When it was used or revoked. */
  ended: string | null;
  /** The certificate that came of it. */
  serial: string | null;
}
