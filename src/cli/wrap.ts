// sekisho wrap: one line puts TLS around one address; no configuration, no folder.
import type { Command } from 'commander';
import { formatAddress } from '../core/address.ts';
import { type Context, examples } from './command.ts';

interface Options {
  readonly listen: string;
  readonly to: string;
  readonly ca?: string;
  readonly name?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly verify: boolean;
}

export function define(command: Command, context: Context): void {
  command
    .requiredOption('--listen <url>', 'where clients come: tcp://127.0.0.1:3000, tls://0.0.0.0:443, unix:/run/app.sock')
    .requiredOption('--to <url>', 'where it leads: tls://host:port, tcp://host:port, unix:/path')
    .option('--ca <file>', "the CA of the target's certificate (default: the system's)")
    .option('--name <name>', "the name in the target's certificate (default: its host)")
    .option('--cert <file>', 'with --listen tls://: shown to clients; else: shown to the target')
    .option('--key <file>', 'its key')
    .option('--no-verify', 'accept any certificate of the target: encrypted, but from whom?')
    .action(async ({ listen, to, verify, ...files }: Options) => {
      const { wrap } = await import('../daemon/index.ts');
      await wrap({
        ...{ listen, to, verify, ...files },
        signal: context.io.signal,
        ready: ({ listen: address, warnings }) => {
          const at = formatAddress(address);
          if (context.json) return context.screen.jsonLine({ ready: true, listen: at, to, warnings });
          context.screen.note(`${at} → ${to}; Ctrl-C ends it`);
          for (const text of warnings) context.screen.note(`! ${text}`);
        },
      });
    });
  examples(
    command,
    ['sekisho wrap --listen tcp://127.0.0.1:3000 --to tls://gate.example.com:45738', 'TLS for a client that has none'],
    [
      'sekisho wrap --listen tls://:6380 --cert c.pem --key k.pem --to tcp://127.0.0.1:6379',
      'for a server that has none',
    ],
    ['sekisho wrap --listen tcp://127.0.0.1:3000 --to tls://10.0.0.5:443 --ca ca.pem --name app.example'],
  );
}
