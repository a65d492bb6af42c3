// Mail over verified TLS (RFC 5321, 3207, 8314), by nodemailer, loaded when the first one is sent.
import type { Transporter } from 'nodemailer';
import { Fault } from '../../core/fault.ts';
import type { Secret } from '../../core/secret.ts';
import type { MailConfig } from './config.ts';

export interface MailerOptions {
  readonly config: MailConfig;
  readonly password?: Secret | undefined;
  /** PEM; default: the system's CAs. */
  readonly ca?: string | undefined;
}

export interface Mail {
  readonly id: string;
  readonly subject: string;
  readonly text: string;
}

const patience = 15_000;

export function createMailer({ config, password, ca }: MailerOptions): (mail: Mail) => Promise<void> {
  const { protocol, hostname, port } = new URL(config.server);
  const isTlsAtOnce = protocol === 'smtps:';
  let transport: Promise<Transporter> | undefined;
  const connect = async (): Promise<Transporter> => {
    const { createTransport } = await import('nodemailer');
    return createTransport({
      ...{ host: hostname, port: Number(port) || (isTlsAtOnce ? 465 : 587), secure: isTlsAtOnce },
      // A server that offers no STARTTLS, or somebody on the way who takes the offer out, gets nothing.
      requireTLS: !isTlsAtOnce,
      // The name of the certificate is the host's, of itself.
      tls: { minVersion: 'TLSv1.2', rejectUnauthorized: true, ...(ca ? { ca } : {}) },
      ...(config.auth && password ? { auth: { user: config.auth.user, pass: password.reveal() } } : {}),
      ...{ connectionTimeout: patience, greetingTimeout: patience, socketTimeout: patience },
      ...{ disableFileAccess: true, disableUrlAccess: true },
    });
  };
  return async ({ id, subject, text }) => {
    transport ??= connect();
    const [, domain = 'localhost'] = config.from.split('@');
    const { rejected = [] } = await (await transport).sendMail({
      ...{ from: config.from, to: [...config.to], subject, text },
      // The same however often it is tried, so that a mail that came twice is seen to be one (RFC 5322 §3.6.4).
      messageId: `<${id}@${domain}>`,
      headers: { 'auto-submitted': 'auto-generated' },
    });
    if (rejected.length > 0)
      throw new Fault('unreachable', `the mail server refuses ${rejected.length} of ${config.to.length} recipients`);
  };
}
