// The key that signs the chain's heads. It lies outside the database, so that whoever can write the one cannot forge the other.
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { Fault } from '../core/fault.ts';
import type { ChainEnd } from './audit-row.ts';

/** The chain's end at a time, signed: keep it elsewhere, and later truncation and rewriting are found. */
export interface SignedHead extends ChainEnd {
  readonly at: string;
  /** SHA-256 of the public key (SPKI, DER), hex. */
  readonly key: string;
  /** Ed25519, base64. */
  readonly signature: string;
}

/** Says that the rows up to and with `seq` were removed on purpose, and from which hash the chain goes on. */
export interface Checkpoint extends SignedHead {
  /** Rows older than this were removed. */
  readonly before: string;
}

export interface AuditKey {
  /** PEM. */
  readonly publicKey: string;
  readonly id: string;
  signHead(end: ChainEnd, at: string): SignedHead;
  signCheckpoint(end: ChainEnd, at: string, before: string): Checkpoint;
  signExport(text: string): string;
}

/** Reads the key, or makes it at the first use (0600). @throws Fault `invalid` for a file that holds no Ed25519 key */
export function openAuditKey(file: string): AuditKey {
  const key = readKey(file) ?? makeKey(file);
  const publicKey = createPublicKey(key);
  const id = keyId(publicKey);
  const seal = (text: string): string => sign(null, Buffer.from(text), key).toString('base64');
  return {
    publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    id,
    signHead: ({ seq, hash }, at) => ({ seq, hash, at, key: id, signature: seal(headText({ seq, hash, at })) }),
    signCheckpoint: ({ seq, hash }, at, before) => ({
      seq,
      hash,
      at,
      before,
      key: id,
      signature: seal(checkpointText({ seq, hash, at, before })),
    }),
    signExport: seal,
  };
}

function readKey(file: string): KeyObject | undefined {
  let pem: string;
  try {
    pem = readFileSync(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Fault('invalid', `the audit key ${file} cannot be read: ${(cause as Error).message}`, { cause });
  }
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch {
    // said below, without the parser's words: they may quote the key
  }
  throw new Fault('invalid', `the audit key ${file} is not an Ed25519 private key in PEM; put the right file back`);
}

function makeKey(file: string): KeyObject {
  const { privateKey } = generateKeyPairSync('ed25519');
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeFileSync(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600, flag: 'wx', flush: true });
  } catch (cause) {
    throw new Fault('invalid', `the audit key ${file} cannot be made: ${(cause as Error).message}`, { cause });
  }
  return privateKey;
}

// What is signed: lines of text, the first of which says what it is, so that one kind cannot pass for another.
const headText = (head: Pick<SignedHead, 'seq' | 'hash' | 'at'>): string =>
  `sekisho audit head\n${head.seq}\n${head.hash}\n${head.at}\n`;
const checkpointText = (point: Pick<Checkpoint, 'seq' | 'hash' | 'at' | 'before'>): string =>
  `sekisho audit checkpoint\n${point.seq}\n${point.hash}\n${point.at}\n${point.before}\n`;

/** Checks what a key signed; with several keys (an older one was replaced), the one that is named. */
export interface Seals {
  isHead(head: SignedHead): boolean;
  isCheckpoint(point: Checkpoint): boolean;
  isExport(text: string, key: string, signature: string): boolean;
}

/** @throws Fault `invalid` for a PEM that holds no public key */
export function sealsOf(publicKeys: readonly string[]): Seals {
  const keys = new Map(publicKeys.map(pem => [keyId(readPublicKey(pem)), readPublicKey(pem)]));
  const isSealed = (text: string, id: string, signature: string): boolean => {
    const key = keys.get(id);
    return key !== undefined && verify(null, Buffer.from(text), key, Buffer.from(String(signature), 'base64'));
  };
  return {
    isHead: head => isSealed(headText(head), head.key, head.signature),
    isCheckpoint: point => isSealed(checkpointText(point), point.key, point.signature),
    isExport: isSealed,
  };
}

function readPublicKey(pem: string): KeyObject {
  try {
    const key = createPublicKey(pem);
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch {
    // said below
  }
  throw new Fault('invalid', 'the audit is checked with an Ed25519 public key in PEM; this is none');
}

const keyId = (key: KeyObject): string =>
  createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('hex');
