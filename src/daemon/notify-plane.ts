// Notifications of this gate: the audit is followed, and whoever the configuration names is told.
import type { Audit } from '../access/index.ts';
import type { Clock } from '../core/clock.ts';
import type { Log, Metrics } from '../core/parts.ts';
import { Secret } from '../core/secret.ts';
import { createMailer, createNotifier, type Mail, mailOf, type Notice } from '../features/notify/index.ts';
import { createDeliveries } from '../net/deliveries.ts';
import { createWebhook } from '../net/webhook.ts';
import type { ConfigFile } from './config-file.ts';
import { lifeEvent } from './gateway-parts.ts';
import { createRead } from './read.ts';

export interface NotifyPlaneOptions {
  readonly file: ConfigFile;
  readonly audit: Audit;
  readonly origin: () => string;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** @throws Fault `invalid` where a secret cannot be read */
export async function openNotifyPlane(options: NotifyPlaneOptions): Promise<AsyncDisposable> {
  const { file, audit, clock, log } = options;
  const config = file.config.notify;
  await using stack = new AsyncDisposableStack();
  if (config) {
    const ways = [await webhookWay(options, stack), await mailWay(options, stack)].filter(way => way !== undefined);
    const notify = createNotifier({ config, ways, clock });
    const life = new AbortController();
    const following = (async () => {
      for await (const row of audit.tail(audit.head().seq, life.signal)) notify({ ...row, from: row.from ?? null });
    })().catch(error => {
      if (!life.signal.aborted) log.error({ error }, 'the audit cannot be followed: nobody is notified any more');
    });
    stack.defer(async () => {
      life.abort();
      await following;
    });
  }
  return stack.move();
}

/** What could not be told stands in the record; it is no news itself. */
const lostBy =
  ({ audit, log }: NotifyPlaneOptions, way: string) =>
  (cause: string): void => {
    const failed = { ...lifeEvent('notify.failed', { way, cause: cause.slice(0, 300) }), outcome: 'failed' } as const;
    audit.append(failed).catch(error => log.error({ error }, 'a lost notification could not be written down'));
  };

type Way = ((notice: Notice) => void) | undefined;

async function webhookWay(options: NotifyPlaneOptions, stack: AsyncDisposableStack): Promise<Way> {
  const { file, origin, clock, log, metrics } = options;
  const wanted = file.config.notify?.webhook;
  if (!wanted) return undefined;
  const read = createRead({ folder: file.folder });
  const secret = new Secret((await read(wanted.secret)).toString('utf8').trim());
  const ca = wanted.ca === undefined ? {} : { ca: (await read(wanted.ca)).toString('latin1') };
  const onLost = lostBy(options, 'webhook');
  const counter = 'notify_webhooks_total';
  const webhook = stack.use(createWebhook({ url: wanted.url, secret, ...ca, counter, onLost, clock, log, metrics }));
  return ({ event, at, resource, facts }) => webhook.send({ event, at, gate: origin(), resource, facts });
}

async function mailWay(options: NotifyPlaneOptions, stack: AsyncDisposableStack): Promise<Way> {
  const { file, origin, clock, log, metrics } = options;
  const wanted = file.config.notify?.mail;
  if (!wanted) return undefined;
  const read = createRead({ folder: file.folder });
  const text = async (reference: string | undefined): Promise<string | undefined> =>
    reference === undefined ? undefined : (await read(reference)).toString('utf8').trim();
  const password = await text(wanted.auth?.password);
  const secret = password === undefined ? undefined : new Secret(password);
  const mail = createMailer({ config: wanted, password: secret, ca: await text(wanted.ca) });
  const onLost = lostBy(options, 'mail');
  const line = stack.use(
    createDeliveries<Omit<Mail, 'id'>>({
      ...{ what: 'mail', counter: 'notify_mails_total', clock, log, metrics },
      deliver: ({ id, message }) => mail({ id, ...message }),
      onLost: (_, cause) => onLost(cause),
    }),
  );
  return notice => line.send(mailOf(notice, wanted.language, origin()));
}
