// An imported configuration behaves as nginx does: the same file, the same probes, first nginx, then Sekisho.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, suite, test } from 'node:test';
import { type Ca, type Issued, makeCa, temporaryFolder } from '../fixtures/certificates.ts';
import { openImported } from '../fixtures/imported.ts';
import { nginxPrologue, startNginx } from '../fixtures/nginx-process.ts';
import { freePort } from '../fixtures/ports.ts';
import {
  answerAtEnd,
  ask,
  askUdp,
  type Backend,
  backend,
  echo,
  firstAnswer,
  halfClose,
  handshake,
  handshakeAfter,
  open,
  record,
  removeSocket,
  resumes,
  tlsBackend,
  udpBackend,
} from '../fixtures/probes.ts';

let ca: Ca;
let foreign: Ca;
let rsa: Issued;
let ecdsa: Issued;
let client: Issued;
let revoked: Issued;
let stranger: Issued;
let crl: string;
before(() => {
  ca = makeCa('Import CA');
  foreign = makeCa('Foreign CA');
  rsa = ca.issue({ cn: 'rsa.example', san: ['localhost', 'rsa.example'], key: 'rsa' });
  ecdsa = ca.issue({ cn: 'ecdsa.example', san: ['localhost', 'ecdsa.example'], key: 'ec' });
  client = ca.issue({ cn: 'client', client: true });
  revoked = ca.issue({ cn: 'revoked', client: true });
  stranger = foreign.issue({ cn: 'client', client: true });
  crl = ca.crl({ revoked: [revoked] }).file;
});

/** What a scenario is handed: ports that are its own, a folder, and backends that end with it. */
class World implements AsyncDisposable {
  readonly folder = temporaryFolder('import');
  readonly #stack = new AsyncDisposableStack();
  /** Paths of unix sockets that a proxy leaves behind. */
  readonly sockets: string[] = [];

  async serve(make: Promise<Backend>): Promise<Backend> {
    return this.#stack.use(await make);
  }
  socket(name: string): string {
    const path = join(this.folder, name);
    this.sockets.push(path);
    return path;
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack[Symbol.asyncDispose]();
  }
}

interface Scenario {
  /** What stands in `stream {}`. */
  readonly stream: string;
  readonly probe: () => Promise<unknown>;
  /** What both must give, where the scenario is about one thing; else only that they are equal. */
  readonly expect?: unknown;
}

/** Runs both and compares. Nothing may be refused by the import. */
function same(promise: string, make: (world: World) => Promise<Scenario>): void {
  test(promise, async () => {
    const { ours, theirs, expect } = await runBoth(make);
    assert.deepEqual(ours, theirs);
    if (expect !== undefined) assert.deepEqual(theirs, expect, 'the scenario does not show what it says');
  });
}

/** Where the two are known to differ: if they come together one day, the test says so. */
function differs(
  fact: string,
  make: (world: World) => Promise<Omit<Scenario, 'expect'> & { nginx: unknown; sekisho: unknown }>,
): void {
  test(`known difference: ${fact}`, async () => {
    const wanted: { nginx?: unknown; sekisho?: unknown } = {};
    const { ours, theirs } = await runBoth(async world => {
      const { nginx, sekisho, ...scenario } = await make(world);
      Object.assign(wanted, { nginx, sekisho });
      return scenario;
    });
    assert.deepEqual({ nginx: theirs, sekisho: ours }, wanted);
  });
}

async function runBoth(make: (world: World) => Promise<Scenario>) {
  await using world = new World();
  const { stream, probe, expect } = await make(world);
  const text = `${nginxPrologue(world.folder)}\nevents {}\nstream {\n${stream}\n}\n`;
  let theirs: unknown;
  {
    await using _nginx = await startNginx(text, world.folder);
    theirs = await probe();
  }
  for (const path of world.sockets) removeSocket(path);
  await using imported = await openImported(text, world.folder);
  const refused = imported.result.rows.filter(row => row.status === 'refused');
  assert.deepEqual(refused, [], 'something was refused');
  return { ours: await probe(), theirs, expect };
}

const strict = 'ssl_protocols TLSv1.2 TLSv1.3;';
const pair = ({ fullchainFile, keyFile }: Issued): string =>
  `ssl_certificate ${fullchainFile}; ssl_certificate_key ${keyFile};`;

suite('plain forwarding', () => {
  same('bytes go through and come back', async world => {
    const [port, target] = [await freePort(), await world.serve(backend(echo('a')))];
    return {
      stream: `server { listen 127.0.0.1:${port}; proxy_pass 127.0.0.1:${target.port}; }`,
      probe: () => ask(port),
      expect: 'a:hello',
    };
  });
  same('half-close is off unless it is asked for: the first end closes both', async world => {
    const target = await world.serve(backend(answerAtEnd));
    const [off, on] = [await freePort(), await freePort()];
    return {
      stream: `
        server { listen 127.0.0.1:${off}; proxy_pass 127.0.0.1:${target.port}; }
        server { listen 127.0.0.1:${on}; proxy_pass 127.0.0.1:${target.port}; proxy_half_close on; }`,
      probe: async () => [await halfClose(off, 'four'), await halfClose(on, 'four')],
      expect: ['', 'got 4'],
    };
  });
  same('unix sockets stand on either side', async world => {
    const [front, back] = [world.socket('front.sock'), join(world.folder, 'back.sock')];
    await world.serve(backend(echo('unix'), { path: back }));
    return {
      stream: `upstream back { server unix:${back}; } server { listen unix:${front}; proxy_pass back; }`,
      probe: () => ask(front),
      expect: 'unix:hello',
    };
  });
  same('datagrams are forwarded and answered', async world => {
    const [port, target] = [await freePort(), await world.serve(udpBackend('udp'))];
    return {
      stream: `server { listen 127.0.0.1:${port} udp; proxy_pass 127.0.0.1:${target.port}; proxy_responses 1; }`,
      probe: () => askUdp(port, 'ping'),
      expect: 'udp:ping',
    };
  });
  same('a range of ports leads by $server_port', async world => {
    const [one, two] = await Promise.all([world.serve(backend(echo('one'))), world.serve(backend(echo('two')))]);
    const [first, second] = [await freePort(), await freePort()];
    return {
      stream: `
        map $server_port $target { ${first} 127.0.0.1:${one.port}; default 127.0.0.1:${two.port}; }
        server { listen 127.0.0.1:${first}; listen 127.0.0.1:${second}; proxy_pass $target; }`,
      probe: async () => [await ask(first), await ask(second)],
      expect: ['one:hello', 'two:hello'],
    };
  });
  same('a silent connection ends after proxy_timeout', async world => {
    const [port, target] = [await freePort(), await world.serve(backend(() => {}))];
    return {
      stream: `server { listen 127.0.0.1:${port}; proxy_pass 127.0.0.1:${target.port}; proxy_timeout 300ms; }`,
      probe: () => ask(port),
      expect: 'closed',
    };
  });
});

suite('who may come in', () => {
  same('allow and deny: in order, the first match wins, no match is let in', async world => {
    const target = await world.serve(backend(echo('a')));
    const ports = [await freePort(), await freePort(), await freePort(), await freePort()];
    const rules = [
      'deny 127.0.0.2; ',
      'allow 127.0.0.2; deny all;',
      'deny 127.0.0.0/30; allow all;',
      'allow ::1; deny 127.0.0.3;',
    ];
    return {
      stream: rules
        .map(
          (rule, index) => `server { listen 127.0.0.1:${ports[index]}; proxy_pass 127.0.0.1:${target.port}; ${rule} }`,
        )
        .join('\n'),
      probe: async () => {
        const answers = [];
        for (const port of ports) {
          for (const from of ['127.0.0.1', '127.0.0.2', '127.0.0.3', '127.0.0.4']) {
            answers.push(await ask({ port, host: '127.0.0.1', localAddress: from }));
          }
        }
        return answers;
      },
    };
  });
  same('rules of the stream block hold where a server has none', async world => {
    const target = await world.serve(backend(echo('a')));
    const [inherits, own] = [await freePort(), await freePort()];
    return {
      stream: `
        deny 127.0.0.1;
        server { listen 127.0.0.1:${inherits}; proxy_pass 127.0.0.1:${target.port}; }
        server { listen 127.0.0.1:${own}; proxy_pass 127.0.0.1:${target.port}; deny 127.0.0.2; }`,
      probe: async () => [await ask(inherits), await ask(own)],
      expect: ['closed', 'a:hello'],
    };
  });
  same('limit_conn closes the connection too many, by address and in all', async world => {
    const target = await world.serve(backend(echo('a')));
    const [byAddress, inAll] = [await freePort(), await freePort()];
    const probe = async (port: number): Promise<string[]> => {
      const dial = (from: string) => open({ port, host: '127.0.0.1', localAddress: from });
      const answers: string[] = [];
      const sockets = [];
      for (const from of ['127.0.0.1', '127.0.0.1', '127.0.0.2']) {
        const socket = dial(from);
        sockets.push(socket);
        socket.write('x');
        answers.push(await firstAnswer(socket));
      }
      for (const socket of sockets) socket.destroy();
      return answers;
    };
    return {
      stream: `
        limit_conn_zone $binary_remote_addr zone=address:1m;
        limit_conn_zone $server_port zone=all:1m;
        server { listen 127.0.0.1:${byAddress}; proxy_pass 127.0.0.1:${target.port}; limit_conn address 1; }
        server { listen 127.0.0.1:${inAll}; proxy_pass 127.0.0.1:${target.port}; limit_conn all 2; }`,
      probe: async () => [await probe(byAddress), await probe(inAll)],
      expect: [
        ['a:x', 'closed', 'a:x'],
        ['a:x', 'a:x', 'closed'],
      ],
    };
  });
  same('an IPv6 wildcard hears IPv6 only, as nginx does', async world => {
    const [port, target] = [await freePort(), await world.serve(backend(echo('a')))];
    return {
      stream: `server { listen [::]:${port}; proxy_pass 127.0.0.1:${target.port}; }`,
      probe: async () => [await ask({ port, host: '::1' }), await ask(port)],
      expect: ['a:hello', 'closed'],
    };
  });
  same('both wildcards in one server hear both families', async world => {
    const [port, target] = [await freePort(), await world.serve(backend(echo('a')))];
    return {
      stream: `server { listen ${port}; listen [::]:${port}; proxy_pass 127.0.0.1:${target.port}; }`,
      probe: async () => [await ask({ port, host: '::1' }), await ask(port)],
      expect: ['a:hello', 'a:hello'],
    };
  });
});

suite('targets', () => {
  same('a target that is down is passed over for the next', async world => {
    const [port, dead, target] = [await freePort(), await freePort(), await world.serve(backend(echo('b')))];
    return {
      stream: `
        upstream group { server 127.0.0.1:${dead}; server 127.0.0.1:${target.port}; }
        server { listen 127.0.0.1:${port}; proxy_pass group; }`,
      probe: async () => [await ask(port), await ask(port), await ask(port)],
      expect: ['b:hello', 'b:hello', 'b:hello'],
    };
  });
  same('with proxy_next_upstream off the connection ends with the first', async world => {
    const [port, dead, target] = [await freePort(), await freePort(), await world.serve(backend(echo('b')))];
    return {
      stream: `
        upstream group { server 127.0.0.1:${dead} max_fails=0; server 127.0.0.1:${target.port}; }
        server { listen 127.0.0.1:${port}; proxy_pass group; proxy_next_upstream off; }`,
      probe: async () => [await ask(port), await ask(port)].sort(),
      expect: ['b:hello', 'closed'],
    };
  });
  same('a backup serves only while every other is down', async world => {
    const [port, dead, spare] = [await freePort(), await freePort(), await world.serve(backend(echo('spare')))];
    const main = await world.serve(backend(echo('main')));
    const second = await freePort();
    return {
      stream: `
        upstream broken { server 127.0.0.1:${dead}; server 127.0.0.1:${spare.port} backup; }
        upstream sound { server 127.0.0.1:${main.port}; server 127.0.0.1:${spare.port} backup; }
        server { listen 127.0.0.1:${port}; proxy_pass broken; }
        server { listen 127.0.0.1:${second}; proxy_pass sound; }`,
      probe: async () => [await ask(port), await ask(second), await ask(second)],
      expect: ['spare:hello', 'main:hello', 'main:hello'],
    };
  });
  same('weights share out connections in the same order', async world => {
    const [port, a, b, c] = [
      await freePort(),
      ...(await Promise.all(['a', 'b', 'c'].map(name => world.serve(backend(echo(name)))))),
    ];
    return {
      stream: `
        upstream group { server 127.0.0.1:${a?.port} weight=5; server 127.0.0.1:${b?.port}; server 127.0.0.1:${c?.port} weight=2; }
        server { listen 127.0.0.1:${port}; proxy_pass group; }`,
      probe: async () => {
        const answers: string[] = [];
        for (let count = 0; count < 16; count++) answers.push((await ask(port)).slice(0, 1));
        return answers.join('');
      },
      expect: 'acaabacaacaabaca',
    };
  });
  same('a server marked down is left out, and least_conn avoids the busy one', async world => {
    const [port, a, b, c] = [
      await freePort(),
      ...(await Promise.all(['a', 'b', 'c'].map(name => world.serve(backend(echo(name)))))),
    ];
    return {
      stream: `
        upstream group { least_conn; server 127.0.0.1:${a?.port} down; server 127.0.0.1:${b?.port}; server 127.0.0.1:${c?.port}; }
        server { listen 127.0.0.1:${port}; proxy_pass group; }`,
      probe: async () => {
        const busy = open(port);
        busy.write('x');
        const first = (await firstAnswer(busy)).slice(0, 1);
        const others = [(await ask(port)).slice(0, 1)];
        busy.destroy();
        return [first, ...others];
      },
      expect: ['b', 'c'],
    };
  });
  same('max_conns sends the connection too many to the next target', async world => {
    const [port, a, b] = [
      await freePort(),
      ...(await Promise.all(['a', 'b'].map(name => world.serve(backend(echo(name)))))),
    ];
    return {
      stream: `
        upstream group { server 127.0.0.1:${a?.port} weight=100 max_conns=1; server 127.0.0.1:${b?.port}; }
        server { listen 127.0.0.1:${port}; proxy_pass group; }`,
      probe: async () => {
        const busy = open(port);
        busy.write('x');
        const answers = [await firstAnswer(busy), await ask(port, 'x'), await ask(port, 'x')];
        busy.destroy();
        return answers;
      },
      expect: ['a:x', 'b:x', 'b:x'],
    };
  });
  same('proxy_next_upstream_tries bounds how many are tried', async world => {
    const [port, one, two] = [await freePort(), await freePort(), await freePort()];
    const target = await world.serve(backend(echo('c')));
    return {
      stream: `
        upstream group { server 127.0.0.1:${one}; server 127.0.0.1:${two}; server 127.0.0.1:${target.port}; }
        server { listen 127.0.0.1:${port}; proxy_pass group; proxy_next_upstream_tries 2; }`,
      probe: async () => [await ask(port), await ask(port), await ask(port)],
      expect: ['closed', 'c:hello', 'c:hello'],
    };
  });
  same('proxy_bind says from which address targets are dialled', async world => {
    const target = await world.serve(
      backend((socket, seen) => {
        seen.push(socket.remoteAddress);
        socket.end('ok');
      }),
    );
    const port = await freePort();
    return {
      stream: `server { listen 127.0.0.1:${port}; proxy_pass 127.0.0.1:${target.port}; proxy_bind 127.0.0.9; }`,
      probe: async () => [await ask(port), target.seen.at(-1)],
      expect: ['ok', '127.0.0.9'],
    };
  });
  same('a client stays with its target by hash', async world => {
    const [port, a, b] = [
      await freePort(),
      ...(await Promise.all(['a', 'b'].map(name => world.serve(backend(echo(name)))))),
    ];
    return {
      stream: `
        upstream group { hash $remote_addr consistent; server 127.0.0.1:${a?.port}; server 127.0.0.1:${b?.port}; }
        server { listen 127.0.0.1:${port}; proxy_pass group; }`,
      probe: async () => {
        const answers = new Set<string>();
        for (let count = 0; count < 6; count++) answers.add(await ask(port));
        return answers.size;
      },
      expect: 1,
    };
  });
});

suite('PROXY protocol', () => {
  same('the header that the target gets is the same, but for the ports of the client', async world => {
    const [port, target] = [await freePort(), await world.serve(backend(record))];
    return {
      stream: `server { listen 127.0.0.1:${port}; proxy_pass 127.0.0.1:${target.port}; proxy_protocol on; }`,
      probe: async () => {
        await ask(port, 'hello');
        return String(target.seen.at(-1))
          .replace(/ \d+ (\d+)\r\n/, ' PORT $1\r\n')
          .split('hello')[0];
      },
    };
  });
  same('the announced address is the one that rules look at', async world => {
    const [port, target] = [await freePort(), await world.serve(backend(echo('a')))];
    const announce = (from: string): string => `PROXY TCP4 ${from} 192.0.2.1 1000 2000\r\nhello`;
    return {
      stream: `
        server { listen 127.0.0.1:${port} proxy_protocol; set_real_ip_from 127.0.0.0/8; allow 203.0.113.0/24; deny all;
          proxy_pass 127.0.0.1:${target.port}; }`,
      probe: async () => [
        await ask(port, announce('203.0.113.9')),
        await ask(port, announce('198.51.100.9')),
        await ask(port, 'no header at all, and long enough'),
      ],
      expect: ['a:hello', 'closed', 'closed'],
    };
  });
  same('the header comes before TLS, in and out', async world => {
    const [inner, outer] = [await freePort(), await freePort()];
    const [target, raw] = [await world.serve(backend(echo('a'))), await world.serve(backend(record))];
    return {
      stream: `
        server { listen 127.0.0.1:${inner} ssl proxy_protocol; set_real_ip_from 127.0.0.1; ${pair(rsa)} ${strict} proxy_pass 127.0.0.1:${target.port}; }
        server { listen 127.0.0.1:${outer}; proxy_pass 127.0.0.1:${raw.port}; proxy_protocol on; proxy_ssl on; }`,
      probe: async () => {
        await ask(outer);
        return [
          await handshakeAfter(inner, 'PROXY TCP4 203.0.113.9 192.0.2.1 1000 2000\r\n'),
          await handshake(inner),
          String(raw.seen.at(-1)).slice(0, 25),
        ];
      },
      expect: ['a:hello', 'closed', 'PROXY TCP4 127.0.0.1 127.'],
    };
  });
  same('the header goes through two proxies with the client in it', async world => {
    const [port, inner, target] = [await freePort(), await freePort(), await world.serve(backend(record))];
    return {
      stream: `
        server { listen 127.0.0.1:${port}; proxy_pass 127.0.0.1:${inner}; proxy_protocol on; }
        server { listen 127.0.0.1:${inner} proxy_protocol; set_real_ip_from 127.0.0.1; proxy_pass 127.0.0.1:${target.port}; proxy_protocol on; }`,
      probe: async () => {
        await ask({ port, host: '127.0.0.1', localAddress: '127.0.0.7' }, 'hello');
        return String(target.seen.at(-1)).split(' ')[2];
      },
      expect: '127.0.0.7',
    };
  });
});

suite('TLS in front', () => {
  same('version, cipher and certificate are negotiated alike', async world => {
    const [port, target] = [await freePort(), await world.serve(backend(echo('a')))];
    const ciphers = 'ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA';
    return {
      stream: `server { listen 127.0.0.1:${port} ssl; ${pair(rsa)} ${strict} ssl_ciphers ${ciphers}; ssl_prefer_server_ciphers on; proxy_pass 127.0.0.1:${target.port}; }`,
      probe: async () => [
        await handshake(port),
        await handshake(port, { maxVersion: 'TLSv1.2' }),
        await handshake(port, {
          maxVersion: 'TLSv1.2',
          ciphers: 'ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384',
        }),
        await handshake(port, { maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA' }),
        await handshake(port, { maxVersion: 'TLSv1.2', ciphers: 'AES256-SHA' }),
        await handshake(port, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }),
        await ask(port, 'this is not TLS, and it is longer than a record header'),
      ],
    };
  });
  same("the client's order of ciphers counts unless the server's is preferred", async world => {
    const [port, target] = [await freePort(), await world.serve(backend(echo('a')))];
    return {
      stream: `server { listen 127.0.0.1:${port} ssl; ${pair(rsa)} ssl_protocols TLSv1.2; ssl_ciphers AES256-SHA:AES128-SHA; proxy_pass 127.0.0.1:${target.port}; }`,
      probe: () => handshake(port, { maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA:AES256-SHA' }),
    };
  });
  same('RSA and ECDSA stand side by side', async world => {
    const [port, target] = [await freePort(), await world.serve(backend(echo('a')))];
    return {
      stream: `server { listen 127.0.0.1:${port} ssl; ${pair(rsa)} ${pair(ecdsa)} ${strict} proxy_pass 127.0.0.1:${target.port}; }`,
      probe: async () => [
        await handshake(port, { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-RSA-AES128-GCM-SHA256' }),
        await handshake(port, { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' }),
      ],
    };
  });
  same('an encrypted key opens with one of several passphrases', async world => {
    const [port, target] = [await freePort(), await world.serve(backend(echo('a')))];
    const locked = ca.issue({ cn: 'locked.example', san: ['localhost'], passphrase: 'correct horse' });
    writeFileSync(join(world.folder, 'pass.txt'), 'wrong one\ncorrect horse\n');
    return {
      stream: `server { listen 127.0.0.1:${port} ssl; ${pair(locked)} ssl_password_file pass.txt; ${strict} proxy_pass 127.0.0.1:${target.port}; }`,
      probe: () => handshake(port),
    };
  });
  same('ALPN is strict: an offer without overlap is refused', async world => {
    const [port, target] = [await freePort(), await world.serve(backend(echo('a')))];
    return {
      stream: `server { listen 127.0.0.1:${port} ssl; ${pair(rsa)} ${strict} ssl_alpn h2 http/1.1; proxy_pass 127.0.0.1:${target.port}; }`,
      probe: async () => [
        await handshake(port, { ALPNProtocols: ['http/1.1', 'h2'] }),
        await handshake(port, { ALPNProtocols: ['mqtt'] }),
        await handshake(port),
      ],
    };
  });
  for (const mode of ['on', 'optional']) {
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      same(`client certificates, ssl_verify_client ${mode}, ${version}: good, none, revoked, foreign`, async world => {
        const [port, target] = [await freePort(), await world.serve(backend(echo('a')))];
        const show = ({ cert, key }: Issued) =>
          handshake(port, { cert, key, maxVersion: version, minVersion: version });
        return {
          stream: `server { listen 127.0.0.1:${port} ssl; ${pair(rsa)} ${strict} ssl_verify_client ${mode}; ssl_client_certificate ${ca.certFile};
            ssl_crl ${crl}; proxy_pass 127.0.0.1:${target.port}; }`,
          probe: async () => {
            const outcomes = [
              await show(client),
              await handshake(port, { maxVersion: version, minVersion: version }),
              await show(revoked),
              await show(stranger),
            ];
            return outcomes.map(outcome => (outcome === 'closed' ? 'closed' : 'let in'));
          },
          expect: ['let in', mode === 'on' ? 'closed' : 'let in', 'closed', 'closed'],
        };
      });
    }
  }
  same('ssl_verify_depth counts the CAs between', async world => {
    const target = await world.serve(backend(echo('a')));
    const near = ca.intermediate('near');
    const far = near.intermediate('far');
    const [one, two] = [near.issue({ cn: 'one', client: true }), far.issue({ cn: 'two', client: true })];
    const ports = [await freePort(), await freePort(), await freePort()];
    const depths = ['', 'ssl_verify_depth 2;', 'ssl_verify_depth 0;'];
    return {
      stream: depths
        .map(
          (depth, index) => `server { listen 127.0.0.1:${ports[index]} ssl; ${pair(rsa)} ${strict} ssl_verify_client on;
            ssl_client_certificate ${ca.certFile}; ${depth} proxy_pass 127.0.0.1:${target.port}; }`,
        )
        .join('\n'),
      probe: async () => {
        const found: string[] = [];
        for (const port of ports) {
          for (const { fullchain, key } of [client, one, two]) {
            found.push((await handshake(port, { cert: fullchain, key })) === 'closed' ? 'closed' : 'let in');
          }
        }
        return found;
      },
      expect: ['let in', 'let in', 'closed', 'let in', 'let in', 'let in', 'let in', 'closed', 'closed'],
    };
  });
  same('a revocation list is wanted of every CA in the chain', async world => {
    const [port, target] = [await freePort(), await world.serve(backend(echo('a')))];
    const { fullchain, key } = ca.intermediate('unlisted').issue({ cn: 'unlisted client', client: true });
    return {
      stream: `server { listen 127.0.0.1:${port} ssl; ${pair(rsa)} ${strict} ssl_verify_client on; ssl_verify_depth 3;
        ssl_client_certificate ${ca.certFile}; ssl_crl ${crl}; proxy_pass 127.0.0.1:${target.port}; }`,
      probe: async () => ((await handshake(port, { cert: fullchain, key })) === 'closed' ? 'closed' : 'let in'),
      expect: 'closed',
    };
  });
  const both = ['TLSv1.2', 'TLSv1.3'] as const;
  const resumption = async (port: number): Promise<boolean[]> => {
    const found: boolean[] = [];
    for (const version of both) found.push(await resumes(port, { minVersion: version, maxVersion: version }));
    return found;
  };
  same('sessions are resumed by ticket, or not at all', async world => {
    const target = await world.serve(backend(echo('a')));
    const [tickets, none] = [await freePort(), await freePort()];
    return {
      stream: `
        server { listen 127.0.0.1:${tickets} ssl; ${pair(rsa)} ${strict} proxy_pass 127.0.0.1:${target.port}; }
        server { listen 127.0.0.1:${none} ssl; ${pair(rsa)} ${strict} ssl_session_tickets off; proxy_pass 127.0.0.1:${target.port}; }`,
      probe: async () => [await resumption(tickets), await resumption(none)],
      expect: [
        [true, true],
        [false, false],
      ],
    };
  });
  differs('without tickets nginx resumes TLS 1.3 too from its shared cache, Sekisho only TLS 1.2', async world => {
    const [port, target] = [await freePort(), await world.serve(backend(echo('a')))];
    return {
      stream: `server { listen 127.0.0.1:${port} ssl; ${pair(rsa)} ${strict} ssl_session_tickets off; ssl_session_cache shared:x:1m; proxy_pass 127.0.0.1:${target.port}; }`,
      probe: () => resumption(port),
      nginx: [true, true],
      sekisho: [true, false],
    };
  });
  same('TLS is ended on a unix socket', async world => {
    const [front, target] = [world.socket('tls.sock'), await world.serve(backend(echo('a')))];
    return {
      stream: `server { listen unix:${front} ssl; ${pair(rsa)} ${strict} proxy_pass 127.0.0.1:${target.port}; }`,
      probe: () => handshake(front),
    };
  });
  same('rules are asked before the handshake', async world => {
    const [port, target] = [await freePort(), await world.serve(backend(echo('a')))];
    return {
      stream: `server { listen 127.0.0.1:${port} ssl; ${pair(rsa)} ${strict} deny 127.0.0.1; proxy_pass 127.0.0.1:${target.port}; }`,
      probe: () => handshake(port),
      expect: 'closed',
    };
  });
});

suite('TLS towards the target', () => {
  same('proxy_ssl on: any certificate, no server name', async world => {
    const impostor = makeCa('impostor');
    const { cert, key } = impostor.issue({ cn: 'nobody', san: ['nobody'] });
    const target = await world.serve(tlsBackend({ cert, key, maxVersion: 'TLSv1.2' }));
    const port = await freePort();
    return {
      stream: `upstream backend { server 127.0.0.1:${target.port}; } server { listen 127.0.0.1:${port}; proxy_pass backend; proxy_ssl on; }`,
      probe: async () => [await ask(port), (target.seen.at(-1) as { sni?: string }).sni],
      expect: ['tls:hello', undefined],
    };
  });
  same('an old peer that knows only AES128-SHA is still reached', async world => {
    const target = await world.serve(
      tlsBackend({ cert: rsa.fullchain, key: rsa.key, maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA' }),
    );
    const port = await freePort();
    return {
      stream: `server { listen 127.0.0.1:${port}; proxy_pass 127.0.0.1:${target.port}; proxy_ssl on; }`,
      probe: async () => [await ask(port), target.seen.at(-1)],
    };
  });
  same('proxy_ssl_verify checks chain and name, and sends the name', async world => {
    const good = await world.serve(tlsBackend({ cert: rsa.fullchain, key: rsa.key }));
    const impostor = foreign.issue({ cn: 'rsa.example', san: ['rsa.example'] });
    const bad = await world.serve(tlsBackend({ cert: impostor.fullchain, key: impostor.key }));
    const [right, wrongName, wrongCa] = [await freePort(), await freePort(), await freePort()];
    const verify = `proxy_ssl on; proxy_ssl_verify on; proxy_ssl_trusted_certificate ${ca.certFile}; proxy_ssl_server_name on; proxy_ssl_protocols ${'TLSv1.2 TLSv1.3'};`;
    return {
      stream: `
        server { listen 127.0.0.1:${right}; proxy_pass 127.0.0.1:${good.port}; ${verify} proxy_ssl_name rsa.example; }
        server { listen 127.0.0.1:${wrongName}; proxy_pass 127.0.0.1:${good.port}; ${verify} proxy_ssl_name other.example; }
        server { listen 127.0.0.1:${wrongCa}; proxy_pass 127.0.0.1:${bad.port}; ${verify} proxy_ssl_name rsa.example; }`,
      probe: async () => [
        await ask(right),
        (good.seen.at(-1) as { sni?: string }).sni,
        await ask(wrongName),
        await ask(wrongCa),
      ],
      expect: ['tls:hello', 'rsa.example', 'closed', 'closed'],
    };
  });
  same("without proxy_ssl_name the group's own name is verified", async world => {
    const target = await world.serve(tlsBackend({ cert: rsa.fullchain, key: rsa.key }));
    const [named, trapped] = [await freePort(), await freePort()];
    const verify = `proxy_ssl on; proxy_ssl_verify on; proxy_ssl_trusted_certificate ${ca.certFile};`;
    return {
      stream: `
        upstream rsa.example { server 127.0.0.1:${target.port}; }
        upstream backend { server 127.0.0.1:${target.port}; }
        server { listen 127.0.0.1:${named}; proxy_pass rsa.example; ${verify} }
        server { listen 127.0.0.1:${trapped}; proxy_pass backend; ${verify} }`,
      probe: async () => [await ask(named), await ask(trapped)],
      expect: ['tls:hello', 'closed'],
    };
  });
  same('a client certificate is shown to the target', async world => {
    const target = await world.serve(
      tlsBackend({ cert: rsa.fullchain, key: rsa.key, requestCert: true, ca: [ca.cert] }),
    );
    const port = await freePort();
    return {
      stream: `server { listen 127.0.0.1:${port}; proxy_pass 127.0.0.1:${target.port}; proxy_ssl on;
        proxy_ssl_certificate ${client.certFile}; proxy_ssl_certificate_key ${client.keyFile}; }`,
      probe: async () => [await ask(port), (target.seen.at(-1) as { client?: string }).client],
      expect: ['tls:hello', 'client'],
    };
  });
  same('TLS is ended and begun anew', async world => {
    const target = await world.serve(tlsBackend({ cert: ecdsa.fullchain, key: ecdsa.key }));
    const port = await freePort();
    return {
      stream: `server { listen 127.0.0.1:${port} ssl; ${pair(rsa)} ${strict} proxy_pass 127.0.0.1:${target.port}; proxy_ssl on; proxy_ssl_protocols ${'TLSv1.2 TLSv1.3'}; }`,
      probe: async () => [await handshake(port), target.seen.at(-1)],
    };
  });
});

suite('passing TLS through by name', () => {
  const targets = async (world: World): Promise<{ a: Backend; b: Backend; other: Backend }> => {
    const named = (cn: string): Promise<Backend> => {
      const { fullchain, key } = ca.issue({ cn, san: [cn] });
      return world.serve(tlsBackend({ cert: fullchain, key, ALPNProtocols: ['h2', 'acme-tls/1', 'http/1.1'] }));
    };
    return { a: await named('a.example'), b: await named('b.example'), other: await named('other.example') };
  };
  const certificateOf = async (port: number, options: object): Promise<unknown> => {
    const outcome = (await handshake(port, options)) as { certificate?: string } | string;
    return typeof outcome === 'string' ? outcome : outcome.certificate;
  };

  same('exact names, wildcards and the default', async world => {
    const [port, { a, b, other }] = [await freePort(), await targets(world)];
    return {
      stream: `
        upstream a { server 127.0.0.1:${a.port}; } upstream b { server 127.0.0.1:${b.port}; } upstream other { server 127.0.0.1:${other.port}; }
        map $ssl_preread_server_name $target { hostnames; a.example a; *.b.example b; .c.example b; x.b.example a; default other; }
        server { listen 127.0.0.1:${port}; ssl_preread on; proxy_pass $target; }`,
      probe: async () => {
        const found: unknown[] = [];
        for (const servername of [
          'a.example',
          'A.Example',
          'x.b.example',
          'y.b.example',
          'z.y.b.example',
          'b.example',
          'c.example',
          'd.c.example',
          'unknown.example',
          '',
        ]) {
          found.push(await certificateOf(port, { servername }));
        }
        return found;
      },
      expect: [
        'a.example',
        'a.example',
        'a.example',
        'b.example',
        'b.example',
        'other.example',
        'b.example',
        'b.example',
        'other.example',
        'other.example',
      ],
    };
  });
  same('without a default an unknown name is closed, and a name that leads nowhere too', async world => {
    const [port, second, { a, other }] = [await freePort(), await freePort(), await targets(world)];
    return {
      stream: `
        map $ssl_preread_server_name $known { a.example 127.0.0.1:${a.port}; }
        map $ssl_preread_server_name $barred { a.example ""; default 127.0.0.1:${other.port}; }
        server { listen 127.0.0.1:${port}; ssl_preread on; proxy_pass $known; }
        server { listen 127.0.0.1:${second}; ssl_preread on; proxy_pass $barred; }`,
      probe: async () => [
        await certificateOf(port, { servername: 'a.example' }),
        await certificateOf(port, { servername: 'b.example' }),
        await certificateOf(second, { servername: 'a.example' }),
        await certificateOf(second, { servername: 'b.example' }),
      ],
      expect: ['a.example', 'closed', 'closed', 'other.example'],
    };
  });
  same('an ALPN that nginx asks for first goes before the name', async world => {
    const [port, { a, b, other }] = [await freePort(), await targets(world)];
    return {
      stream: `
        map $ssl_preread_server_name $by_name { a.example 127.0.0.1:${a.port}; default 127.0.0.1:${other.port}; }
        map $ssl_preread_alpn_protocols $target { ~\\bacme-tls/1\\b 127.0.0.1:${b.port}; default $by_name; }
        server { listen 127.0.0.1:${port}; ssl_preread on; proxy_pass $target; }`,
      probe: async () => [
        await certificateOf(port, { servername: 'a.example' }),
        await certificateOf(port, { servername: 'a.example', ALPNProtocols: ['acme-tls/1'] }),
        await certificateOf(port, { servername: 'x.example', ALPNProtocols: ['acme-tls/1'] }),
        await certificateOf(port, { servername: 'x.example', ALPNProtocols: ['h2'] }),
      ],
      expect: ['a.example', 'b.example', 'b.example', 'other.example'],
    };
  });
  same('what is not TLS goes to the default, or where a map over the protocol sends it', async world => {
    const [port, second, { a }] = [await freePort(), await freePort(), await targets(world)];
    const plain = await world.serve(backend(echo('plain')));
    return {
      stream: `
        map $ssl_preread_server_name $by_name { a.example 127.0.0.1:${a.port}; default 127.0.0.1:${plain.port}; }
        map $ssl_preread_protocol $by_protocol { "" 127.0.0.1:${plain.port}; default 127.0.0.1:${a.port}; }
        server { listen 127.0.0.1:${port}; ssl_preread on; proxy_pass $by_name; }
        server { listen 127.0.0.1:${second}; ssl_preread on; proxy_pass $by_protocol; }`,
      probe: async () => [
        await certificateOf(port, { servername: 'a.example' }),
        await ask(port, 'SSH-2.0-test\r\n'),
        await certificateOf(second, { servername: 'b.example' }),
        await ask(second, 'SSH-2.0-test\r\n'),
      ],
      expect: ['a.example', 'plain:SSH-2.0-test\r\n', 'a.example', 'plain:SSH-2.0-test\r\n'],
    };
  });
});

test("001's two files, as printed but for paths and ports, talk to each other through Sekisho and through nginx", async () => {
  await using world = new World();
  const fluentd = await world.serve(backend(echo('fluentd')));
  const [tlsPort, plainPort] = [await freePort(), await freePort()];
  const { certFile, keyFile } = ca.issue({ cn: 'fluentd', key: 'rsa', passphrase: 'secret' });
  writeFileSync(join(world.folder, 'pass.txt'), 'secret\n');
  const read = (name: string): string => readFileSync(join(import.meta.dirname, '../fixtures/nginx', name), 'utf8');
  const terminate = read('article-001-terminate.conf')
    .replace('server 127.0.0.1:24224', `server 127.0.0.1:${fluentd.port}`)
    .replace('listen 24284', `listen 127.0.0.1:${tlsPort}`)
    .replace('/path/to/cert.pem', certFile)
    .replace('/path/to/key.pem', keyFile)
    .replace('/path/to/pass.txt', join(world.folder, 'pass.txt'));
  const originate = read('article-001-originate.conf')
    .replace('server 127.0.0.1:24284', `server 127.0.0.1:${tlsPort}`)
    .replace('listen 24224', `listen 127.0.0.1:${plainPort}`);
  const forNginx = (text: string, name: string): Promise<AsyncDisposable> => {
    const folder = temporaryFolder(name);
    return startNginx(`${nginxPrologue(folder)}\n${text.replace(/^error_log .*$/m, '')}`, folder);
  };
  const ways = [
    [() => openImported(terminate, world.folder), () => openImported(originate, world.folder)],
    [() => openImported(terminate, world.folder), () => forNginx(originate, 'originate')],
    [() => forNginx(terminate, 'terminate'), () => openImported(originate, world.folder)],
  ] as const;
  for (const [front, back] of ways) {
    await using _terminating = await front();
    await using _originating = await back();
    assert.equal(await ask(plainPort, '["tag",[]]'), 'fluentd:["tag",[]]');
    const seen = (await handshake(tlsPort, { maxVersion: 'TLSv1.2' })) as { protocol: string; cipher: string };
    assert.equal(seen.protocol, 'TLSv1.2');
    assert.match(seen.cipher, /^TLS_RSA_WITH_AES_(128|256)_CBC_SHA$/);
  }
});

test("000's file, as printed but for the address, wraps a plain client for a server that wants TLS", async () => {
  await using world = new World();
  const napter = await world.serve(tlsBackend({ cert: rsa.fullchain, key: rsa.key }));
  const port = await freePort();
  const text = readFileSync(join(import.meta.dirname, '../fixtures/nginx/article-000.conf'), 'utf8')
    .replace('13-115-125-214.napter.soracom.io:45738', `localhost:${napter.port}`)
    .replace('listen 3000', `listen 127.0.0.1:${port}`);
  await using imported = await openImported(text, world.folder);
  assert.equal(imported.result.refused, 0);
  assert.equal(await ask(port, 'test from pc'), 'tls:test from pc');
  assert.equal((napter.seen[0] as { sni?: string }).sni, undefined);
});
