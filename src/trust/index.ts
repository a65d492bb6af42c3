// The front door of trust: who you are, the gate's own CA, and certificates from elsewhere.

export { type Acme, type AcmeOptions, type AcmeOrder, letsEncrypt, openAcme } from './acme.ts';
export {
  type AcmeCertificateOptions,
  type AcmeCertificates,
  type AcmeWish,
  createAcmeCertificates,
} from './acme-certificates.ts';
export {
  type AcmeChallenge,
  acmeAlpn,
  type ChallengeBoard,
  createChallengeBoard,
  type Publish,
} from './acme-challenges.ts';
export type { ExternalAccount } from './acme-jws.ts';
export { type AuthenticatorOptions, createAuthenticator } from './authenticator.ts';
export {
  type Authority,
  type AuthorityOptions,
  type Issued,
  openAuthority,
  type Root,
  type Rotation,
  type Signed,
} from './authority.ts';
export { type RotationStage, type RotationStep, stepsAfter } from './ca-rotation.ts';
export type { CertificateRecord } from './certificate-records.ts';
export type { ClientTrust } from './client-trust.ts';
export { type ClientTrustSource, clientTrustSource, type WantedClients } from './client-trust-source.ts';
export type { NewCode } from './codes.ts';
export { type OidcConfig, type RateLimitConfig, type TrustConfig, trustConfig } from './config.ts';
export { checkSameNames } from './csr-names.ts';
export {
  createDirectory,
  type Directory,
  type DirectoryOptions,
  type Gone,
  localAdministrator,
  type Voucher,
} from './directory.ts';
export { type Enrolment, type Enrolments, type EnrolmentWish, openEnrolments } from './enrolments.ts';
export { anonymous, type CertificateChecker, certificateChecker, identifyByCertificate } from './identify.ts';
export type { Identity } from './identity-file.ts';
export { keyFiles } from './key-files.ts';
export type { AccessKey, NewToken, Token } from './keyring.ts';
export { createLimiter, type Limiter } from './limiter.ts';
export { bindingHash, createOidc, type Oidc, type OidcOptions, type OidcSignIn } from './oidc.ts';
export { oidcPeople } from './oidc-people.ts';
export type { Bound, ClientRequest, ServerRequest } from './orders.ts';
export { openPasskeys, type Passkey, type PasskeyOptions, type PasskeySite, type Passkeys } from './passkeys.ts';
export { createPasswords, type Passwords } from './passwords.ts';
export { derBlocks } from './pem.ts';
export { certsOnly } from './pkcs7.ts';
export type { Reason } from './pki-crl.ts';
export { principalOf } from './principal.ts';
export { checkRenewable, expiringWithin } from './renewable.ts';
export { type Role, roles } from './roles.ts';
export { openSealer, type Sealer } from './sealing.ts';
export {
  createServerCertificates,
  type ServerCertificateOptions,
  type ServerCertificates,
} from './server-certificates.ts';
export type { Staple } from './staples.ts';
export { openTotp, type Totp, type TotpOptions } from './totp.ts';
export type { Group, NewUser, User, UserChange } from './users.ts';
