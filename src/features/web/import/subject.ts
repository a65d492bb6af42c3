// `if ($ssl_client_s_dn !~ "OU=Staff") { return 403; }` → who may come in, by attributes instead of a printed name.
import type { Directive } from '../../../wire/nginx-conf.ts';

/** Keys of `who` with their values. */
export type Who = Readonly<Record<string, string | readonly string[]>>;

const attributes: Readonly<Record<string, string>> = { CN: 'cn', OU: 'ou', O: 'o' };

/** What a condition lets in; a text says why that cannot be said. */
export function readCondition({
  args,
  block,
}: Directive): Who | { readonly why: string } | 'any certificate' | undefined {
  const text = args.join(' ').replace(/^\(\s*|\s*\)$/g, '');
  const [, variable, sign, quoted] =
    /^\$\{?(ssl_client_[a-z_]+)\}?\s*(!?~\*?|!?=)\s*("(?:[^"\\]|\\.)*"|'[^']*'|\S.*)$/s.exec(text) ?? [];
  if (variable === undefined || sign === undefined || quoted === undefined) return undefined;
  const refuses =
    (block ?? []).length === 1 && block?.[0]?.name === 'return' && /^(4\d\d)$/.test(block[0].args[0] ?? '');
  if (!refuses) return { why: 'only `return 403` can be said of a certificate' };
  const value = quoted.replace(/^(["'])([\s\S]*)\1$/, '$2');
  if (variable === 'ssl_client_verify') {
    return sign === '!=' && value === 'SUCCESS' ? 'any certificate' : { why: 'it does not ask for SUCCESS' };
  }
  if (!/^ssl_client_s_dn(_legacy)?$/.test(variable)) return { why: `$${variable} is not looked at` };
  if (sign === '~' || sign === '~*' || sign === '=') return { why: 'a rule says who may come, not who may not' };
  return readSubject(value, sign === '!=');
}

/** `OU=Staff`, `^CN=a,OU=b$`, `OU=(a|b)`, `/O=x/OU=y`: parts that are equal to something; `.*` within one is `*`. */
function readSubject(text: string, isWhole: boolean): Who | { readonly why: string } {
  const body = text.replace(/^\^/, '').replace(/\$$/, '');
  const parts = body.split(/(?:,\.\*|\.\*,|[,/]|\.\*(?=(?:CN|OU|O)=))/).filter(part => part !== '');
  const who: Record<string, string | readonly string[]> = {};
  for (const part of parts) {
    const [, name = '', value = ''] = /^\(?\^?\|?(?:\(\^\|,\))?([A-Za-z]+)=([\s\S]*)$/.exec(part) ?? [];
    const key = attributes[name];
    if (key === undefined) {
      if (isWhole || name !== '') return { why: `${name || part} is no attribute that rules know (cn, ou, o)` };
      return { why: `"${part}" names no attribute` };
    }
    const values = valuesOf(value);
    if (!values || who[key] !== undefined) return { why: `"${part}" is more than a comparison` };
    who[key] = values.length === 1 ? (values[0] ?? '') : values;
  }
  return parts.length === 0 ? { why: 'it compares with nothing' } : who;
}

/** Undefined for what is no list of plain texts. */
function valuesOf(text: string): string[] | undefined {
  const inner = /^\(([^()]*)\)$/.exec(text)?.[1];
  const values = (inner === undefined ? [text] : inner.split('|')).map(one =>
    one.replace(/\.\*/g, '*').replace(/\\([.()\-+ ])/g, '$1'),
  );
  return values.every(one => one !== '' && !/[\\[\](){}+?^$|]/.test(one)) ? values : undefined;
}
