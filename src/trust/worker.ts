// The room's door for worker processes: who a certificate is, and nothing that issues or stores.
export type { ClientTrust } from './client-trust.ts';
export { anonymous, type CertificateChecker, certificateChecker, identifyByCertificate } from './identify.ts';
