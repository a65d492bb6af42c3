// Tells a URL of ours what happens: signed, retried with backoff, never in anybody's way.
import { createHmac } from 'node:crypto';
import { request as plainRequest } from 'node:http';
import { type RequestOptions, request } from 'node:https';
import type { Clock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Log, Metrics } from '../core/parts.ts';
import type { Secret } from '../core/secret.ts';
import { createDeliveries, type Deliveries, type Delivery } from './deliveries.ts';

export interface WebhookOptions {
  readonly url: string;
  readonly secret: Secret;
  /** PEM; default: the system's CAs. */
  readonly ca?: string | undefined;
  /** Default: `endpoint_webhooks_total`. */
  readonly counter?: string;
  readonly onLost?: (cause: string) => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

type Body = Readonly<Record<string, unknown>>;
export type Webhook = Deliveries<Body>;

const patience = 10_000;

export function createWebhook(options: WebhookOptions): Webhook {
  const { clock, log, metrics, counter = 'endpoint_webhooks_total', onLost } = options;
  return createDeliveries<Body>({
    ...{ what: 'webhook', counter, clock, log, metrics },
    deliver: (delivery, signal) => post(options, delivery, signal),
    onLost: (_, cause) => onLost?.(cause),
  });
}

/**
 * `Sekisho-Signature: t=<seconds>,v1=<hex>`: HMAC-SHA256 with the secret over `<seconds>.<body>`, so that an old delivery
 * cannot be sent again as a new one.
 */
export const signatureOf = (secret: string, seconds: number, body: string): string =>
  `t=${seconds},v1=${createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex')}`;

function post(
  { url, secret, ca, clock }: WebhookOptions,
  { id, message }: Delivery<Body>,
  life: AbortSignal,
): Promise<void> {
  const seconds = Math.floor(clock.now().getTime() / 1000);
  const body = JSON.stringify({ id, ...message });
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
