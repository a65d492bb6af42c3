// Front door of notifications: what is news, and how it is written.
export { type NotifyConfig, notifyConfig } from './config.ts';
export { createMailer, type Mail } from './mail.ts';
export type { Notice } from './notice.ts';
export { createNotifier } from './notifier.ts';
export { mailOf } from './words.ts';
