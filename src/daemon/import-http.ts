// What can be said about an http {} block before it is converted: client certificates that are judged wrongly.
import type { ImportFinding } from '../wire/import-report.ts';
import type { Directive } from '../wire/nginx-conf.ts';

/** Every finding of one block, and of all below it. */
export function findInHttp(directive: Directive): ImportFinding[] {
  const own = checks.flatMap(check => check(directive) ?? []).map(finding => ({ ...finding, at: directive.at }));
  return [...own, ...(directive.block ?? []).flatMap(findInHttp)];
}

type Check = (directive: Directive) => Omit<ImportFinding, 'at'> | undefined;

const subject = /\$\{?ssl_client_[si]_dn(_legacy)?\b/;

const checks: readonly Check[] = [
  // Measured: OU=Staff unanchored is passed by CN="x OU=Staff"; a Japanese OU is printed as \E5\96\B6… and never matches.
  ({ name, args, block }) => {
    const text = args.join(' ');
    const tests = name === 'if' && subject.test(text) && /!?~/.test(text);
    const maps = name === 'map' && subject.test(args[0] ?? '') && (block ?? []).some(one => one.name.startsWith('~'));
    if (!tests && !maps) return undefined;
    return {
      severity: 'high',
      code: 'forgeable-subject',
      text:
        'a regular expression over $ssl_client_s_dn can be passed by a certificate that carries the wanted text in ' +
        'another attribute (CN="x OU=Staff"), and never matches names outside ASCII, which nginx prints escaped',
      todo: 'match parsed attributes: access: [{ allow: web.request, who: { ou: … } }]',
    };
  },
  ({ name, args }) => {
    if (name !== 'ssl_verify_client' || !args[0]?.startsWith('optional')) return undefined;
    const unchecked = args[0] === 'optional_no_ca';
    return {
      severity: 'high',
      code: unchecked ? 'client-certificate-unchecked' : 'client-certificate-optional',
      text: unchecked
        ? 'ssl_verify_client optional_no_ca lets everybody in, with any certificate or none, unless $ssl_client_verify is tested everywhere'
        : 'ssl_verify_client optional lets in whoever shows no certificate, unless $ssl_client_verify is tested everywhere',
      todo: 'require a certificate of a named CA',
    };
  },
  ({ name, args }) => {
    const weak = name === 'ssl_protocols' ? args.filter(word => /^(SSLv[23]|TLSv1(\.1)?)$/i.test(word)) : [];
    if (weak.length === 0) return undefined;
    return {
      severity: 'medium',
      code: 'weak-protocol',
      text: `ssl_protocols asks for ${weak.join(', ')}, which protect nothing today (RFC 8996)`,
      todo: 'leave TLSv1.2 and TLSv1.3',
    };
  },
];
