// Tells a URL of ours what happens to endpoints: signed, retried with backoff, never in anybody's way.
import { createHmac, randomUUID } from 'node:crypto';
import { request as plainRequest } from 'node:http';
import { type RequestOptions, request } from 'node:https';
import type { Clock } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import type { Log, Metrics } from '../../core/parts.ts';
import type { Secret } from '../../core/secret.ts';

export interface WebhookOptions {
  readonly url: string;
  readonly secret: Secret;
  /** PEM; default: the system's CAs. */
  readonly ca?: string | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface Webhook extends AsyncDisposable {
  /** Never waits, never throws. */
  send(body: Readonly<Record<string, unknown>>): void;
}

/** Deliveries that may wait; the oldest beyond go, and the log says so. */
const mostWaiting = 1000;
const mostTries = 6;
const firstPause = 1000;
const patience = 10_000;

interface Delivery {
  readonly id: string;
  readonly body: string;
  tries: number;
}

export function createWebhook(options: WebhookOptions): Webhook {
  const { url, clock, log, metrics } = options;
  const waiting: Delivery[] = [];
  const life = new AbortController();
  let busy = false;

  /** One at a time, in order: a receiver sees `requested` before `opened`. */
  const run = async (): Promise<void> => {
    if (busy) return;
    busy = true;
    for (let next = waiting.shift(); next && !life.signal.aborted; next = waiting.shift()) await deliver(next);
    busy = false;
  };
  const deliver = async (delivery: Delivery): Promise<void> => {
    for (; delivery.tries < mostTries && !life.signal.aborted; delivery.tries++) {
      try {
        await post(options, delivery, life.signal);
        metrics.count('endpoint_webhooks_total', { result: 'sent' });
        return;
      } catch (error) {
        log.warn({ delivery: delivery.id, tries: delivery.tries + 1, error }, 'a webhook could not be delivered');
        await pause(firstPause * 2 ** delivery.tries * (0.75 + Math.random() / 2));
      }
    }
    metrics.count('endpoint_webhooks_total', { result: 'lost' });
    log.error({ delivery: delivery.id, url }, 'a webhook was given up');
  };
  const pause = (ms: number): Promise<void> =>
    new Promise(resolve => {
      const cancel = clock.after(ms, resolve);
      const stop = (): void => {
        cancel();
        resolve();
      };
      life.signal.addEventListener('abort', stop, { once: true });
    });

  return {
    send(body) {
      const id = randomUUID();
      if (waiting.length >= mostWaiting) {
        log.error({ delivery: waiting.shift()?.id }, 'too many webhooks wait; the oldest is not sent');
        metrics.count('endpoint_webhooks_total', { result: 'lost' });
      }
      waiting.push({ id, body: JSON.stringify({ id, ...body }), tries: 0 });
      void run();
    },
    async [Symbol.asyncDispose]() {
      life.abort();
    },
  };
}

/**
 * `Sekisho-Signature: t=<seconds>,v1=<hex>`: HMAC-SHA256 with the secret over `<seconds>.<body>`, so that an old delivery
 * cannot be sent again as a new one.
 */
export const signatureOf = (secret: string, seconds: number, body: string): string =>
  `t=${seconds},v1=${createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex')}`;

function post({ url, secret, ca, clock }: WebhookOptions, { id, body }: Delivery, life: AbortSignal): Promise<void> {
  const seconds = Math.floor(clock.now().getTime() / 1000);
  const options: RequestOptions = {
    method: 'POST',
    agent: false,
    ...(ca === undefined ? {} : { ca }),
    signal: AbortSignal.any([life, AbortSignal.timeout(patience)]),
    headers: {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      'user-agent': 'sekisho',
      'sekisho-delivery': id,
      'sekisho-signature': signatureOf(secret.reveal(), seconds, body),
    },
  };
  return new Promise((resolve, reject) => {
    const sending = (url.startsWith('https:') ? request : plainRequest)(url, options, answer => {
      const { statusCode = 0 } = answer;
      answer.resume(); // what it says is not ours to read
      answer.once('close', () => {
        if (statusCode >= 200 && statusCode < 300) resolve();
        else reject(new Fault('unreachable', `the webhook's receiver answered ${statusCode}`));
      });
    });
    sending.once('error', reject);
    sending.end(body);
  });
}
