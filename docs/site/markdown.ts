// Markdown of the project → HTML of the site: headings can be linked to, links between documents lead to pages.
import { Marked, type Tokens } from 'marked';

/** As GitHub names headings, so that links written for there hold here too. */
const anchorOf = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replace(/\s/g, '-');

export const escapeHtml = (text: string): string =>
  text.replace(/[&<>"]/g, one => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[one] ?? one);

export interface Heading {
  readonly depth: number;
  readonly text: string;
  readonly anchor: string;
}

/** `link` says where a relative link of the document leads; undefined = to no page, so that its words stay alone. */
export function toHtml(
  markdown: string,
  link: (target: string) => string | undefined,
): { html: string; headings: Heading[] } {
  const headings: Heading[] = [];
  const seen = new Map<string, number>();
  const marked = new Marked({
    renderer: {
      heading({ tokens, depth }: Tokens.Heading) {
        const inner = this.parser.parseInline(tokens);
        const text = inner.replace(/<[^>]+>/g, '');
        const plain = anchorOf(text.replace(/&[a-z]+;/g, ''));
        const times = seen.get(plain) ?? 0;
        seen.set(plain, times + 1);
        const anchor = times === 0 ? plain : `${plain}-${times}`;
        headings.push({ depth, text, anchor });
        return `<h${depth} id="${anchor}">${inner} <a class="anchor" href="#${anchor}" aria-label="#">#</a></h${depth}>\n`;
      },
      link({ href, tokens }: Tokens.Link) {
        const inner = this.parser.parseInline(tokens);
        const target = /^(https?:|#)/.test(href) ? href : link(href);
        return target === undefined ? inner : `<a href="${escapeHtml(target)}">${inner}</a>`;
      },
      // Raw HTML in a document would be a mistake of ours: it is shown as it is written.
      html: ({ text }: Tokens.HTML | Tokens.Tag) => escapeHtml(text),
      table(token: Tokens.Table) {
        const row = (cells: readonly Tokens.TableCell[], tag: 'th' | 'td'): string =>
          `<tr>${cells.map(cell => `<${tag}>${this.parser.parseInline(cell.tokens)}</${tag}>`).join('')}</tr>`;
        const body = token.rows.map(cells => row(cells, 'td')).join('\n');
        return `<div class="table"><table><thead>${row(token.header, 'th')}</thead><tbody>${body}</tbody></table></div>\n`;
      },
    },
  });
  return { html: marked.parse(markdown, { async: false }), headings };
}
