// Socket errors → Faults that say what happened, where, and what to do.
import { Fault } from '../core/fault.ts';

const listenReasons: Record<string, ['conflict' | 'invalid', string]> = {
  EADDRINUSE: ['conflict', 'is in use by another program; stop it, or listen elsewhere (ss -ltnp shows who holds it)'],
  EACCES: [
    'invalid',
    'may not be opened by this user; ports below 1024 need CAP_NET_BIND_SERVICE, a file needs a writable folder',
  ],
  EPERM: ['invalid', 'may not be opened by this user'],
  EADDRNOTAVAIL: ['invalid', 'is not an address of this machine; ip addr lists those it has'],
  EAFNOSUPPORT: ['invalid', 'is of a family that this machine does not have'],
  ENOTFOUND: ['invalid', 'is a name that cannot be resolved'],
  EAI_AGAIN: ['invalid', 'is a name that cannot be resolved now'],
  EINVAL: ['invalid', 'is not something that can be listened on'],
  EBADF: ['invalid', 'names a file descriptor that is not open'],
  ENOTSOCK: ['invalid', 'names a file descriptor that is not a socket'],
  ENOENT: ['invalid', 'lies in a folder that does not exist'],
  ENAMETOOLONG: ['invalid', 'is longer than a unix socket path may be (107 bytes)'],
};

export function listenFault(error: Error, where: string): Fault {
  const code = codeOf(error);
  const [kind, text] = listenReasons[code] ?? ['invalid', `cannot be opened (${code || error.message})`];
  return new Fault(kind, `${where} ${text}`, { cause: error, facts: { address: where } });
}

const dialReasons: Record<string, string> = {
  ECONNREFUSED: 'refused the connection; nothing listens there, or a firewall says so',
  EHOSTUNREACH: 'cannot be reached; there is no route to that host',
  ENETUNREACH: 'cannot be reached; there is no route to that network',
  ENOTFOUND: 'is a name that cannot be resolved',
  EAI_AGAIN: 'is a name that cannot be resolved now; the name server did not answer',
  ECONNRESET: 'reset the connection while it was being made',
  EADDRNOTAVAIL: 'cannot be dialled: the address to come from is not one of this machine, or its ports are used up',
  EACCES: 'may not be dialled: a local firewall or permission forbids it',
  EPERM: 'may not be dialled: a local firewall or permission forbids it',
  ENOENT: 'does not exist',
  EMFILE: 'cannot be dialled: this process has no file descriptors left',
  EAGAIN: 'cannot take another connection now',
};

export function dialFault(error: Error, where: string): Fault {
  const code = codeOf(error);
  if (code === 'ETIMEDOUT') return new Fault('timeout', `${where} did not answer`, { cause: error });
  const text = dialReasons[code] ?? `cannot be reached (${code || error.message})`;
  return new Fault('unreachable', `${where} ${text}`, { cause: error, facts: { address: where, code } });
}

/** Of several addresses tried (AggregateError) the first failure speaks. */
function codeOf(error: Error): string {
  const first = error instanceof AggregateError ? (error.errors[0] as Error | undefined) : undefined;
  return (error as NodeJS.ErrnoException).code ?? (first as NodeJS.ErrnoException | undefined)?.code ?? '';
}
