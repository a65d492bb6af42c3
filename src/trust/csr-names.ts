// Whether a signing request asks for the names of a certificate that is there already (RFC 7030 §4.2.2).
import { Fault } from '../core/fault.ts';
import { parseCertificate } from './certificate.ts';
import { children, contents, type Der, expectTag, oidOf, readDer, readWhole, tags } from './der.ts';
import { parseAlternativeNames, parseName } from './names.ts';

/**
 *     CertificationRequest ::= SEQUENCE { info, signatureAlgorithm, signature }
 *     info ::= SEQUENCE { version, subject Name, subjectPKInfo, attributes [0] SET OF SEQUENCE { type, SET OF ANY } }
 *
 * (RFC 2986 §4.) The subject must be the same. So must alternative names where the request has some: one that has none
 * gets those of the certificate, since what `openssl req -new` writes has none. Nobody changes names this way.
 * @throws Fault `invalid`, `protocol`
 */
export function checkSameNames(csr: Uint8Array, certificate: Uint8Array): void {
  const facts = parseCertificate(certificate);
  const [info] = children(readWhole(csr, tags.sequence), 3);
  const [, subject, , ...rest] = children(expectTag(info, tags.sequence), 4);
  if (!subject) throw new Fault('protocol', 'the signing request has no subject');
  if (parseName(subject).canonical !== facts.subject.canonical)
    throw new Fault('invalid', 'the subject of the request is not the subject of the certificate that is renewed');
  const attributes = attributesOf(rest.find(({ tag }) => tag === 0xa0));
  if (attributes.has(changeSubjectName)) throw new Fault('invalid', 'this gate changes no names when it renews');
  const asked = alternativeNamesOf(attributes.get(extensionRequest));
  if (asked !== undefined && String([...asked].sort()) !== String([...facts.alternativeNames].sort()))
    throw new Fault('invalid', 'the alternative names of the request are not those of the certificate that is renewed');
}

const extensionRequest = '1.2.840.113549.1.9.14'; // RFC 2985 §5.4.2
const changeSubjectName = '1.3.6.1.5.5.7.7.36'; // RFC 6402 §2.8
const subjectAltName = '2.5.29.17';

/** The first value of each. */
function attributesOf(list: Der | undefined): Map<string, Der> {
  const found = new Map<string, Der>();
  for (const attribute of list === undefined ? [] : children(list, 32)) {
    const [type, values] = children(expectTag(attribute, tags.sequence), 2);
    const [value] = children(expectTag(values, tags.set), 8);
    if (type && value) found.set(oidOf(type), value);
  }
  return found;
}

function alternativeNamesOf(extensions: Der | undefined): readonly string[] | undefined {
  for (const extension of extensions === undefined ? [] : children(expectTag(extensions, tags.sequence))) {
    const [type, ...rest] = children(expectTag(extension, tags.sequence), 3);
    if (type && oidOf(type) === subjectAltName)
      return parseAlternativeNames(readDer(contents(expectTag(rest.at(-1), tags.octetString))));
  }
  return undefined;
}
