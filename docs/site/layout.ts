// One page of the site: contents on the left, the document, and what it has on the right. No script, nothing from elsewhere.
import { escapeHtml, type Heading } from './markdown.ts';
import { chapters, type Page } from './pages.ts';

export type Language = 'en' | 'ja';

/** A page without a Japanese text is linked to in English. */
export const fileOf = (page: Page, language: Language): string =>
  language === 'ja' && page.source?.ja ? `${page.name}.ja.html` : `${page.name}.html`;

export function layout(page: Page, language: Language, html: string, headings: readonly Heading[]): string {
  const contents = chapters
    .map(({ title, pages }) => {
      const links = pages.map(one => {
        const here = one.name === page.name ? ' aria-current="page"' : '';
        return `<li><a href="${fileOf(one, language)}"${here}>${escapeHtml(one.title[language])}</a></li>`;
      });
      return `<h2>${title[language]}</h2><ul>${links.join('')}</ul>`;
    })
    .join('');
  const parts = headings.filter(({ depth }) => depth === 2 || depth === 3);
  const other: Language = language === 'en' ? 'ja' : 'en';
  const words = { en: 'English', ja: '日本語' };
  const switchTo = page.source?.ja
    ? `<a class="language" lang="${other}" hreflang="${other}" href="${fileOf(page, other)}">${words[other]}</a>`
    : '';
  return `<!doctype html>
<html lang="${language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'self'; img-src 'self'">
<title>${escapeHtml(page.title[language])} — Sekisho</title>
<link rel="stylesheet" href="style.css">
</head>
<body>
<nav class="contents" aria-label="${language === 'ja' ? '目次' : 'Contents'}"><a class="mark" href="${fileOf({ ...page, name: 'index', source: { en: '', ja: '' } }, language)}">Sekisho <span lang="ja">関所</span></a>${switchTo}${contents}</nav>
<main>
${html}</main>
<nav class="parts" aria-label="${language === 'ja' ? 'このページ' : 'On this page'}"><ul>${parts
    .map(({ depth, text, anchor }) => `<li class="depth-${depth}"><a href="#${anchor}">${text}</a></li>`)
    .join('')}</ul></nav>
</body>
</html>
`;
}
