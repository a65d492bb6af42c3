// Tables of web/ and of the second factor: codes of an authenticator, and who has signed in with which certificate.
export interface WebTables {
  totp: TotpTable;
  web_sign_in: WebSignInTable;
}

export interface TotpTable {
  user: string;
  /** Sealed with the key beside the database. */
  secret: string;
  created: string;
  /** The newest 30 seconds whose code was taken: none is taken twice. */
  last: number;
}

export interface WebSignInTable {
  /** `cert:<fingerprint>` */
  credential: string;
  user: string;
  at: string;
}
