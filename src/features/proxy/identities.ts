// Certificates and keys from files: read, decrypted, matched, and looked at for what is weak.
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { Fault } from '../../core/fault.ts';
import type { Read } from '../../wire/config-value.ts';
import type { Findings } from './findings.ts';
import type { Identity, TlsChoice, TlsVersion } from './route-plan.ts';

export interface IdentityFiles {
  readonly cert: string;
  readonly key: string;
  readonly passphrase?: string | undefined;
}

const day = 86_400_000;
/** A certificate from a file that ends within this time is reported. */
const endsSoon = 21 * day;

/** Reads one certificate with its key. Mistakes go to `findings`, then the answer is undefined. */
export async function loadIdentity(
  files: IdentityFiles,
  read: Read,
  findings: Findings,
): Promise<Identity | undefined> {
  const cert = await findings.at('cert').attempt(async () => (await read(files.cert)).toString());
  const keyText = await findings.at('key').attempt(async () => (await read(files.key)).toString());
  const passphrases =
    files.passphrase === undefined
      ? []
      : await findings.at('passphrase').attempt(async () => linesOf((await read(files.passphrase ?? '')).toString()));
  if (cert === undefined || keyText === undefined || passphrases === undefined) return undefined;

  const chain = await findings.at('cert').attempt(() => parseCertificates(cert));
  const key = await findings.at('key').attempt(() => decryptKey(keyText, passphrases));
  const leaf = chain?.[0];
  if (!chain || !leaf || !key) return undefined;
  if (!leaf.checkPrivateKey(key)) {
    const other = chain.findIndex(candidate => candidate.checkPrivateKey(key));
    findings
      .at('key')
      .mistake(
        other > 0
          ? `belongs to certificate ${other + 1} of ${files.cert}; put the server's own certificate first, its intermediates after it`
          : `the key does not match the certificate of ${files.cert}; give the key that the certificate was made for`,
      );
    return undefined;
  }
  return { cert, key: key.export({ type: 'pkcs8', format: 'pem' }).toString() };
}

/** The PEM certificates of a text, in order. @throws Fault `invalid` when there is none or one cannot be read. */
export function parseCertificates(text: string): X509Certificate[] {
  return pemBlocks(text, 'CERTIFICATE').map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch (cause) {
      throw new Fault('invalid', `certificate ${index + 1} of the file cannot be read; is it damaged?`, { cause });
    }
  });
}

/** The blocks of one kind in a PEM text. @throws Fault `invalid` when there is none. */
export function pemBlocks(text: string, label: 'CERTIFICATE' | 'X509 CRL'): string[] {
  const blocks = text.match(new RegExp(`-----BEGIN ${label}-----[^-]+-----END ${label}-----`, 'g'));
  if (!blocks) {
    const der = text.charCodeAt(0) === 0x30 ? ' (it looks like DER: convert it with openssl … -inform der)' : '';
    throw new Fault('invalid', `the file holds no PEM block "BEGIN ${label}"${der}`);
  }
  return blocks;
}

/** Reports what is weak or wrong in time about a certificate that will be presented under these names. */
export function judgeIdentity({ cert }: Identity, names: readonly string[], now: Date, findings: Findings): void {
  const leaf = new X509Certificate(cert);
  const end = new Date(leaf.validTo);
  if (end < now) findings.warn(`the certificate expired on ${iso(end)}; clients that verify will refuse it`);
  else if (end.getTime() - now.getTime() < endsSoon) findings.warn(`the certificate ends on ${iso(end)}; renew it`);
  if (new Date(leaf.validFrom) > now)
    findings.warn(`the certificate is valid only from ${iso(new Date(leaf.validFrom))}`);
  const { modulusLength } = leaf.publicKey.asymmetricKeyDetails ?? {};
  if (modulusLength !== undefined && modulusLength < 2048) {
    findings.warn(`the RSA key has only ${modulusLength} bits; use 2048 or more, or ECDSA`);
  }
  for (const name of names) {
    if (!leaf.checkHost(name.replace(/^\*/, 'any'))) {
      findings.warn(`the certificate does not cover ${name}; clients that verify will refuse it`);
    }
  }
}

/** Makes a TLS context once, so that what OpenSSL refuses is found before anything opens. */
export function tryTls(
  choice: TlsChoice,
  identities: readonly Identity[],
  findings: Findings,
  at = 'certificate',
): void {
  const { ciphers, curves, protocols } = choice;
  const range = versionRange(protocols);
  if (ciphers !== undefined) {
    const suites = ciphers.split(':').filter(one => /^TLS_/.test(one));
    if (range.minVersion === 'TLSv1.3' && suites.length === 0) {
      findings
        .at('ciphers')
        .mistake(
          'names no TLS 1.3 suite, and protocols allows only TLSv1.3; remove ciphers, or write suites like TLS_AES_256_GCM_SHA384',
        );
    } else if (range.maxVersion === 'TLSv1.2' && suites.length === ciphers.split(':').length) {
      findings
        .at('ciphers')
        .mistake('names only TLS 1.3 suites, and protocols allows only TLSv1.2; add ciphers of TLS 1.2');
    } else {
      refused(
        { ciphers },
        findings.at('ciphers'),
        'OpenSSL knows no cipher of this list; try it with `openssl ciphers`',
      );
    }
  }
  if (curves !== undefined) {
    refused(
      { ecdhCurve: curves },
      findings.at('curves'),
      'OpenSSL does not know these curves; write for example X25519:P-256',
    );
  }
  for (const { cert, key } of identities) {
    refused({ cert, key, ...range }, findings.at(at), 'OpenSSL does not take this certificate');
  }
}

/** `protocols:` as the least and the greatest version. */
export function versionRange(protocols: readonly TlsVersion[] | undefined): {
  minVersion: TlsVersion;
  maxVersion: TlsVersion;
} {
  if (!protocols) return { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3' };
  return {
    minVersion: protocols.includes('TLSv1.2') ? 'TLSv1.2' : 'TLSv1.3',
    maxVersion: protocols.includes('TLSv1.3') ? 'TLSv1.3' : 'TLSv1.2',
  };
}

function refused(options: SecureContextOptions, findings: Findings, text: string): void {
  try {
    createSecureContext(options);
  } catch (error) {
    const reason = (error as { reason?: string }).reason ?? (error as Error).message;
    findings.mistake(`${text} (${reason})`);
  }
}

function decryptKey(text: string, passphrases: readonly string[]): KeyObject {
  if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text)) {
    throw new Fault('invalid', 'the file holds no PEM private key ("BEGIN … PRIVATE KEY")');
  }
  if (!/ENCRYPTED/.test(text)) {
    try {
      return createPrivateKey(text);
    } catch (cause) {
      throw new Fault('invalid', 'the private key cannot be read; is it damaged?', { cause });
    }
  }
  if (passphrases.length === 0) {
    throw new Fault('invalid', 'the key is encrypted; add passphrase: file:… with its passphrase on a line');
  }
  let last: unknown;
  for (const passphrase of passphrases) {
    try {
      return createPrivateKey({ key: text, passphrase });
    } catch (cause) {
      last = cause;
    }
  }
  const unsupported = (last as { code?: string }).code === 'ERR_OSSL_EVP_UNSUPPORTED';
  const lines =
    passphrases.length === 1 ? 'the passphrase does not fit' : `none of ${passphrases.length} passphrases fits`;
  throw new Fault(
    'invalid',
    unsupported
      ? 'the key is encrypted in a way that OpenSSL 3 no longer reads; encrypt it anew with `openssl pkcs8 -topk8 -v2 aes-256-cbc`'
      : `the key cannot be decrypted: ${lines}; write the right one into the passphrase file, a line each`,
    { cause: last },
  );
}

function linesOf(text: string): string[] {
  const lines = text.split(/\r?\n/).filter(line => line !== '');
  if (lines.length === 0)
    throw new Fault('invalid', 'the passphrase file is empty; write the passphrase on a line of its own');
  return lines;
}

const iso = (date: Date): string => date.toISOString().slice(0, 10);
