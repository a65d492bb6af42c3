// sekisho cert: certificates of the gate's own CA.
import type { Command } from 'commander';
import { type CertificateAnswer, revocationReason } from '../api/contract/cert.ts';
import { defineEnroll } from './cert-enroll.ts';
import { defineFetch } from './cert-fetch.ts';
import { defineIssue } from './cert-issue.ts';
import { defineRotate } from './cert-rotate.ts';
import { type Context, examples } from './command.ts';
import { day, formatSpan } from './format.ts';
import type { Cell } from './screen.ts';

export function define(command: Command, context: Context): void {
  command
    .command('ca')
    .summary("the gate's CA certificate, PEM; during a rotation both roots")
    .option('--fingerprint', 'its SHA-256 instead')
    .action(async ({ fingerprint }) => {
      const ca = await (await context.client()).call('cert.ca');
      if (context.json) return context.screen.json(ca);
      await context.screen.write(fingerprint ? `${ca.fingerprint}\n` : ca.roots.join(''));
    });
  defineIssue(command.command('issue <name>'), context);
  defineEnroll(command, context);
  defineFetch(command.command('fetch <link>'), context);
  defineRotate(command, context);
  defineReads(command, context);
  command
    .command('revoke <serial>')
    .summary('revoke a certificate; its live sessions end')
    .option('--reason <reason>', `one of: ${revocationReason.options.join(', ')}`, 'unspecified')
    .action(async (serial, { reason }) => {
      const answer = await (await context.client()).call('cert.revoke', { params: { serial }, body: { reason } });
      context.json ? context.screen.json(answer) : context.screen.line(`certificate ${answer.serial} is revoked`);
    });
  command
    .command('crl')
    .summary('the list of revoked certificates, PEM')
    .action(async () => {
      const answer = await (await context.client()).call('cert.crl');
      context.json ? context.screen.json(answer) : await context.screen.write(answer.crl);
    });
  examples(
    command,
    ['sekisho cert ca > ca.pem'],
    ['sekisho cert issue staff01 --ou 医療事業部 --out staff01.p12', 'asks for the password of the file'],
    ['sekisho cert issue pump-7 --pem ./pump-7', 'pump-7.crt, pump-7.key, ca.crt'],
    ['sekisho cert issue db.internal --server --name 10.0.0.5 --pem ./db'],
    ['sekisho cert enroll staff01 --ou 医療事業部 --for 1d', 'a link to send; its bearer makes the key'],
    ['sekisho cert fetch https://gate.example.com/enrol#code=… --pem ./staff01', 'what the link’s page does'],
    ['sekisho cert list --expiring 30d'],
    ['sekisho cert renew 3f0c… --for 1d', 'a link to send; the same subject, a new key'],
    ['sekisho cert rotate', 'where the CA stands, and what the next step would do'],
    ['sekisho cert revoke 3f0c… --reason keyCompromise'],
  );
}

function defineReads(command: Command, context: Context): void {
  command
    .command('list')
    .summary('certificates that this gate issued, newest first')
    .option('--state <state>', 'valid, expired or revoked')
    .option('--user <name>', 'only of this user')
    .option(
      '--expiring [duration]',
      'those that end within this time (default 30d) and were not renewed, soonest first',
    )
    .option('--search <text>', 'part of a name, a subject, a host name or a serial')
    .option('--limit <count>', 'how many at most', '100')
    .option('--offset <count>', 'how many to leave out first', '0')
    .action(async ({ expiring, ...rest }) => {
      const options = {
        ...rest,
        ...(expiring === undefined ? {} : { expiring: expiring === true ? '30d' : expiring }),
      };
      const { certs, total } = await (await context.client()).call('cert.list', { query: options });
      if (context.json) return context.screen.json({ certs, total });
      context.screen.table(
        [{ title: 'serial', shrinks: true }, 'kind', 'name', { title: 'subject', shrinks: true }, 'until', 'state'],
        certs.map(cert => [cert.serial, cert.kind, cert.name, cert.subject, day(cert.notAfter), stateCell(cert)]),
        expiring === undefined
          ? 'no certificates yet; try: sekisho cert issue NAME --out NAME.p12'
          : 'no certificate ends that soon without a successor',
      );
      if (total > certs.length) context.screen.note(`… of ${total}; see --limit and --offset`);
    });
  command
    .command('show <serial>')
    .summary('one certificate')
    .option('--pem', 'the certificate itself')
    .action(async (serial, { pem }) => {
      const cert = await (await context.client()).call('cert.show', { params: { serial } });
      if (context.json) return context.screen.json(cert);
      if (pem) return context.screen.write(cert.cert);
      context.screen.facts([
        ['serial', cert.serial],
        ['kind', cert.kind],
        ['name', cert.name],
        ['subject', cert.subject],
        ['from', cert.notBefore],
        ['until', cert.notAfter],
        ['state', stateCell(cert)],
        ['revoked', cert.revoked && `${cert.revoked.at} (${cert.revoked.reason})`],
        ['renews', cert.replaces],
        ['sha-256', cert.fingerprint],
      ]);
    });
}

/** The state, and how long a valid one has when that is soon. */
function stateCell(cert: CertificateAnswer): Cell {
  if (cert.state === 'revoked') return { text: 'revoked', tone: 'red' };
  if (cert.state === 'expired') return { text: 'expired', tone: 'dim' };
  const remaining = Date.parse(cert.notAfter) - Date.now();
  if (remaining < 14 * 86_400_000) return { text: `valid, ${formatSpan(remaining)} left`, tone: 'yellow' };
  return { text: 'valid', tone: 'green' };
}
