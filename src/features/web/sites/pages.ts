// What people read on a renamed site when something stands in their way.
import { enrolSteps, html, htmlPage, type Page, type Shown, textPage } from '../pages.ts';

export interface SiteRefusal {
  readonly status: number;
  /** One sentence. */
  readonly what: string;
  /** The public name. */
  readonly site: string;
  readonly request: string;
  readonly certificate: Shown;
  readonly issuers: readonly string[];
  readonly help?: string | undefined;
  /** Where somebody sees how they arrived. */
  readonly check: string;
  readonly wantsHtml: boolean;
}

const japanese = (status: number, certificate: Shown): string => {
  if (certificate.state === 'none')
    return 'このサイトにはクライアント証明書が必要です。証明書をこの端末に入れて、ブラウザを再起動してください。';
  if (certificate.state === 'refused')
    return 'クライアント証明書が無効です。新しい証明書を入れて、ブラウザを再起動してください。';
  if (status === 403) return 'このサイトへのアクセスは許可されていません。';
  return 'サイトに到達できませんでした。しばらくしてからもう一度お試しください。';
};

export function siteRefusalPage(facts: SiteRefusal): Page {
  const { status, what, site, request, certificate, issuers, help, check, wantsHtml } = facts;
  const next = certificate.state === 'good' ? [] : enrolSteps(certificate, issuers, help);
  if (!wantsHtml) {
    return textPage(
      status,
      [`sekisho: ${site}: ${what}`, ...next, `${check} says how you arrived`, `request ${request}`].join('\n'),
    );
  }
  const title =
    certificate.state === 'good'
      ? what
      : certificate.state === 'none'
        ? 'No client certificate'
        : 'This client certificate does not count';
  const list = next.length === 0 ? '' : `<ul>${next.map(step => `<li>${html(step)}</li>`).join('')}</ul>`;
  return htmlPage(
    status,
    title,
    `<h1>${html(title)}</h1><p>${html(`${site}: ${what}`)}</p>${list}<p class="ja" lang="ja">${html(japanese(status, certificate))}</p><p><a href="${html(check)}">${html(check)}</a></p><small>Sekisho · <code>${html(request)}</code></small>`,
  );
}
