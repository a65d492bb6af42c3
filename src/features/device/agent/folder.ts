// The agent's folder: key and certificate in one file that is replaced whole, the gate's roots, where the gate is.
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { Fault } from '../../../core/fault.ts';

export interface Identity {
  /** PEM, the intermediates behind it. */
  readonly cert: string;
  readonly key: string;
}
export interface Home {
  /** `https://gate.example.com:8443`. */
  readonly url: string;
  /** What the gate's certificate says, where it is not the host of `url`. */
  readonly name?: string;
  readonly device: string;
}

export interface AgentFolder {
  readonly path: string;
  /** Undefined before enrolment. @throws Fault `invalid` for a damaged one */
  home(): Home | undefined;
  identity(): Identity;
  /** PEM. */
  roots(): readonly string[];
  saveHome(home: Home): void;
  saveIdentity(identity: Identity): void;
  saveRoots(roots: readonly string[]): void;
  readonly services: string;
  saveServices(text: string): void;
}

/** Made when missing, for its owner only. @throws Fault `invalid` */
export function openAgentFolder(path: string): AgentFolder {
  const at = (name: string): string => join(path, name);
  const save = (name: string, text: string, mode: number): void => {
    try {
      mkdirSync(path, { recursive: true, mode: 0o700 });
      rmSync(at(`${name}.new`), { force: true }); // its mode would stay what it was
      const file = openSync(at(`${name}.new`), 'wx', mode);
      try {
        writeSync(file, text);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(at(`${name}.new`), at(name));
    } catch (cause) {
      throw new Fault(
        'invalid',
        `${at(name)} cannot be written (${(cause as NodeJS.ErrnoException).code}); --dir chooses another folder`,
        { cause },
      );
    }
  };
  const load = (name: string): string | undefined => {
    try {
      return readFileSync(at(name), 'utf8');
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw new Fault('invalid', `${at(name)} cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
    }
  };
  const damaged = (name: string, cause?: unknown): Fault =>
    new Fault('invalid', `${at(name)} is missing or damaged; enrol this device again with a new code`, { cause });
  return {
    path,
    home() {
      const text = load('gate.json');
      if (text === undefined) return undefined;
      try {
        const { url, name, device } = JSON.parse(text) as Record<string, unknown>;
        if (typeof url !== 'string' || typeof device !== 'string') throw new Error('incomplete');
        return { url, device, ...(typeof name === 'string' ? { name } : {}) };
      } catch (cause) {
        throw damaged('gate.json', cause);
      }
    },
    identity() {
      const text = load('identity.pem');
      const key = /-----BEGIN PRIVATE KEY-----[\s\S]+?-----END PRIVATE KEY-----\n?/.exec(text ?? '')?.[0];
      const cert = (text ?? '').match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----\n?/g)?.join('');
      try {
        if (!key || !cert || !new X509Certificate(cert).checkPrivateKey(createPrivateKey(key)))
          throw damaged('identity.pem');
      } catch (cause) {
        throw cause instanceof Fault ? cause : damaged('identity.pem', cause);
      }
      return { key, cert };
    },
    roots() {
      const roots = load('roots.pem')?.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----\n?/g);
      if (!roots) throw damaged('roots.pem');
      return roots;
    },
    saveHome: home => save('gate.json', `${JSON.stringify(home, undefined, 2)}\n`, 0o600),
    saveIdentity: ({ key, cert }) => save('identity.pem', `${lined(key)}${lined(cert)}`, 0o600),
    saveRoots: roots => save('roots.pem', roots.map(lined).join(''), 0o600),
    services: at('services.yaml'),
    saveServices: text => save('services.yaml', text, 0o600),
  };
}

const lined = (pem: string): string => (pem.endsWith('\n') ? pem : `${pem}\n`);

export const keyText = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }) as string;

/** The certificate is for this key and comes from one of these roots' CAs. @throws Fault `protocol` */
export function checkedIdentity(key: KeyObject, cert: unknown, chain: unknown): Identity {
  const texts = [cert, ...(Array.isArray(chain) ? chain : [])];
  try {
    if (texts.length > 10 || texts.some(text => typeof text !== 'string')) throw new Error('no PEM');
    const [leaf] = (texts as string[]).map(text => new X509Certificate(text));
    if (!leaf?.checkPrivateKey(key)) throw new Error('another key');
  } catch (cause) {
    throw new Fault('protocol', 'the gate answered with a certificate that is not for this device’s key', { cause });
  }
  return { key: keyText(key), cert: (texts as string[]).map(lined).join('') };
}
