// Where link rewriting stands in the way of an answer's body: undoes its coding, rewrites, codes it again.
import { pipeline, Transform, type Writable } from 'node:stream';
import {
  constants,
  createBrotliCompress,
  createBrotliDecompress,
  createDeflate,
  createGzip,
  createUnzip,
} from 'node:zlib';
import { valuesOf } from '../headers.ts';
import type { Passed, Through } from '../relay.ts';
import { charsetFor, charsetWithin } from './links/charset.ts';
import { CssReader } from './links/css.ts';
import { HtmlReader } from './links/html.ts';
import type { Scanner } from './links/scanner.ts';
import { ScriptReader } from './links/script.ts';
import type { Naming } from './urls.ts';

/** Told by its type alone: never by what it looks like. */
const readers: readonly (readonly [type: RegExp, make: (naming: Naming) => Scanner])[] = [
  [/^text\/html$/, naming => new HtmlReader(naming, 'html')],
  [/^(application|text|image)\/(xml|[\w.+-]+\+xml)$/, naming => new HtmlReader(naming, 'xml')],
  [/^text\/css$/, naming => new CssReader(naming)],
  [
    /^(application|text)\/((x-)?(javascript|ecmascript|jscript)|json|[\w.-]+\+json|importmap)$/,
    naming => new ScriptReader(naming),
  ],
];

/** What each coding is undone and done again with. Every piece goes out as it comes: a stream stays one. */
const codings: Readonly<Record<string, () => readonly [Transform, Transform] | readonly []>> = {
  identity: () => [],
  gzip: () => [createUnzip(), createGzip({ flush: constants.Z_SYNC_FLUSH })],
  'x-gzip': () => [createUnzip(), createGzip({ flush: constants.Z_SYNC_FLUSH })],
  deflate: () => [createUnzip(), createDeflate({ flush: constants.Z_SYNC_FLUSH })],
  br: () => [
    createBrotliDecompress(),
    createBrotliCompress({
      flush: constants.BROTLI_OPERATION_FLUSH,
      params: { [constants.BROTLI_PARAM_QUALITY]: 4 },
    }),
  ],
};

/** True only of the bytes that the service sent. */
const ofBytes = new Set(['content-length', 'content-md5', 'digest', 'content-digest', 'repr-digest', 'accept-ranges']);

export function linksThrough(status: number, fields: string[], hasBody: boolean, naming: Naming): Passed {
  const [written = ''] = valuesOf(fields, 'content-type');
  const type = written.split(';')[0]?.trim().toLowerCase() ?? '';
  const make = readers.find(([pattern]) => pattern.test(type))?.[1];
  const coding = (valuesOf(fields, 'content-encoding')[0] ?? 'identity').trim().toLowerCase();
  // A cache finds what it keeps by the validator that it was given (RFC 9111 §4.3.4).
  if (status === 304) return { fields: weakened(fields) };
  // A part of a body cannot be read as a whole one, and what we cannot undo stays as it is.
  if (!make || status === 206 || !Object.hasOwn(codings, coding)) return { fields };
  const label = /;\s*charset\s*=\s*"?([^";\s]+)/i.exec(written)?.[1];
  const isJson = /json/.test(type);
  if (charsetFor(label) === undefined) return { fields };
  const kept = weakened(fields.filter((_, at) => !ofBytes.has(fields[at - (at % 2)]?.toLowerCase() ?? '')));
  if (!hasBody) return { fields: kept };
  const through: Through = (sink: Writable, failed: (error: Error) => void) => {
    const rewriting = rewriter(() => make(naming), isJson ? 'utf-8' : label);
    const [undo, again] = codings[coding]?.() ?? [];
    const stages = undo && again ? [undo, rewriting, again] : [rewriting];
    pipeline([...stages, sink] as never, (error: Error | null) => {
      if (error) failed(error);
    });
    return stages[0] as Writable;
  };
  return { fields: kept, through };
}

/**
 * A strong ETag is that of the service's bytes (RFC 9110 §8.8.1): a download that goes on with `If-Range` would join them
 * to ours.
 */
const weakened = (fields: readonly string[]): string[] =>
  fields.map((text, at) => (at % 2 === 1 && /^etag$/i.test(fields[at - 1] ?? '') ? text.replace(/^"/, 'W/"') : text));

function rewriter(make: () => Scanner, label: string | undefined): Transform {
  let charset: ReturnType<typeof charsetFor>;
  let scanner: Scanner | undefined;
  let isFirst = true;
  return new Transform({
    transform(chunk: Buffer, _, done) {
      if (isFirst) {
        isFirst = false;
        const within = charsetWithin(chunk);
        charset = charsetFor(/^utf-16/.test(within ?? '') ? within : (label ?? within));
        if (charset) scanner = make();
      }
      if (!charset || !scanner) return done(null, chunk);
      const { text, view } = charset.decode(chunk);
      const out = scanner.push(text, view);
      done(null, out === '' ? undefined : charset.encode(out));
    },
    flush(done) {
      const out = scanner?.end() ?? '';
      done(null, charset && out !== '' ? charset.encode(out) : undefined);
    },
  });
}
