// What people read when something stands in their way, and the page that answers "is your proxy on?".
import { createHash } from 'node:crypto';

export interface Page {
  readonly status: number;
  readonly type: string;
  readonly text: string;
  readonly headers: Readonly<Record<string, string>>;
}

const style =
  'body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem;color:#1c2430;background:#fff}h1{font-size:1.5rem;line-height:1.25}dt{color:#5a6675;margin-top:.75rem}dd{margin:0}code{background:#eef1f5;padding:.1em .3em;border-radius:3px;overflow-wrap:anywhere}.ja{margin-top:2rem;border-top:1px solid #d5dbe3;padding-top:1rem}.ok{color:#0a6b3d}.no{color:#a3261b}ul{padding-left:1.2rem}small{color:#5a6675}@media(prefers-color-scheme:dark){body{color:#e4e8ee;background:#14181f}dt,small{color:#9aa6b5}code{background:#242b36}.ok{color:#5fd39a}.no{color:#ff8f84}.ja{border-color:#333c49}}';
const styleHash = createHash('sha256').update(style).digest('base64');

/** No script, nothing loaded, in no frame, kept by nobody: it stands on the address of somebody else's site. */
const pageHeaders: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'content-security-policy': `default-src 'none'; style-src 'sha256-${styleHash}'; frame-ancestors 'none'; base-uri 'none'`,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
};

export const html = (text: string): string => text.replace(/[&<>"']/g, character => `&#${character.charCodeAt(0)};`);

export function htmlPage(status: number, title: string, body: string): Page {
  const text = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${html(title)}</title><style>${style}</style></head>
<body>${body}</body></html>
`;
  return { status, type: 'text/html; charset=utf-8', text, headers: pageHeaders };
}

export const textPage = (status: number, text: string): Page => ({
  status,
  type: 'text/plain; charset=utf-8',
  text: `${text}\n`,
  headers: { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' },
});

export const jsonPage = (value: unknown): Page => ({
  status: 200,
  type: 'application/json; charset=utf-8',
  text: `${JSON.stringify(value, null, 2)}\n`,
  headers: { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' },
});

/** What came of the certificate that was shown, if one was. */
export type Shown =
  | { readonly state: 'none' }
  | { readonly state: 'good' }
  | { readonly state: 'refused'; readonly reason: string };

export interface RefusalFacts {
  readonly status: number;
  /** One sentence. */
  readonly what: string;
  readonly site: string;
  readonly request: string;
  /** Why there is nobody: no certificate, or one that does not count, with the reason. */
  readonly certificate: Shown;
  /** CN of the CAs whose certificates count. */
  readonly issuers: readonly string[];
  readonly help?: string;
  /** Where one signs in, if that is what is missing. */
  readonly signIn?: string;
  /** Whether the client asked for a page, or is a program. */
  readonly wantsHtml: boolean;
}

/** A refused or failed http:// request. */
export function refusalPage(facts: RefusalFacts): Page {
  const { status, what, site, request, certificate, issuers, help, signIn, wantsHtml } = facts;
  const next = signIn
    ? [`sign in at ${signIn}`]
    : certificate.state === 'good'
      ? []
      : enrolSteps(certificate, issuers, help);
  if (!wantsHtml) {
    return textPage(
      status,
      [`sekisho: ${site}: ${what}`, ...next, 'http://gate.check/ says how you arrived', `request ${request}`].join(
        '\n',
      ),
    );
  }
  const title =
    certificate.state === 'good'
      ? what
      : certificate.state === 'none'
        ? 'No client certificate'
        : 'This client certificate does not count';
  const japanese =
    certificate.state === 'good'
      ? status === 403
        ? 'このアドレスへのアクセスは許可されていません。'
        : '接続先に到達できませんでした。しばらくしてからもう一度お試しください。'
      : certificate.state === 'none'
        ? 'プロキシはオンですが、クライアント証明書が提示されていません。証明書をこの端末に入れて、ブラウザを再起動してください。'
        : 'クライアント証明書が無効です。新しい証明書を入れて、ブラウザを再起動してください。';
  const list = next.length === 0 ? '' : `<ul>${next.map(step => `<li>${html(step)}</li>`).join('')}</ul>`;
  return htmlPage(
    status,
    title,
    `<h1>${html(title)}</h1><p>${html(`${site}: ${what}`)}</p>${signIn ? `<p><a href="${html(signIn)}">${html(signIn)}</a> · サインインしてください。</p>` : list}<p class="ja" lang="ja">${html(japanese)}</p><p><a href="http://gate.check/">http://gate.check/</a></p><small>Sekisho · <code>${html(request)}</code></small>`,
  );
}

export function enrolSteps(
  certificate: RefusalFacts['certificate'],
  issuers: readonly string[],
  help: string | undefined,
): string[] {
  const from = issuers.length === 0 ? '' : ` It must be issued by ${issuers.map(name => `"${name}"`).join(' or ')}.`;
  const first =
    certificate.state === 'refused'
      ? `The certificate that your browser showed was refused: ${certificate.reason}.`
      : `Your connection reached the gate, but no client certificate was shown.${from}`;
  const then =
    help ??
    'Ask whoever runs this gate for a certificate (they make one with: sekisho cert issue NAME), install it on this device, and start the browser anew so that it asks again.';
  return [first, then];
}
