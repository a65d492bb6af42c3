// Which pages the site has, in the order of its table of contents. What a guide says stands in docs/*.md.

export interface Page {
  /** Without extension; the Japanese page is `<name>.ja`. */
  readonly name: string;
  readonly title: { readonly en: string; readonly ja: string };
  /** Markdown, from the root of the project. */
  readonly source?: { readonly en: string; readonly ja?: string };
  /** Made from the schemas that the program itself stands on. */
  readonly made?: 'cli' | 'api' | 'schema';
}

export interface Chapter {
  readonly title: { readonly en: string; readonly ja: string };
  readonly pages: readonly Page[];
}

const guide = (name: string, en: string, ja: string): Page => ({
  name,
  title: { en, ja },
  source: { en: `docs/${name}.md`, ja: `docs/${name}.ja.md` },
});
const english = (name: string, source: string, en: string, ja: string): Page => ({
  name,
  title: { en, ja },
  source: { en: source },
});

export const chapters: readonly Chapter[] = [
  {
    title: { en: 'Begin', ja: 'はじめに' },
    pages: [
      { name: 'index', title: { en: 'Sekisho', ja: 'Sekisho 関所' }, source: { en: 'README.md', ja: 'README.ja.md' } },
      guide('compared', 'Compared with', '他の製品との比較'),
    ],
  },
  {
    title: { en: 'Guides', ja: 'ガイド' },
    pages: [
      guide('proxy', 'TLS for plain TCP programs', '平文 TCP プログラムを TLS で守る'),
      guide('endpoint', 'Timed endpoints', '時限エンドポイント'),
      guide('device', 'Devices', 'デバイス'),
      guide('tunnel', 'Tunnels', 'トンネル'),
      guide('vpn', 'Private networks', 'プライベートネットワーク'),
      guide('web', 'Internal web services', '社内 Web サービス'),
      guide('cert', 'Certificates', '証明書'),
      guide('sign-in', 'Signing in', 'サインイン'),
      guide('operations', 'Operations', '運用'),
    ],
  },
  {
    title: { en: 'Reference', ja: 'リファレンス' },
    pages: [
      english('configuration', 'docs/configuration.md', 'Configuration', '設定ファイル'),
      { name: 'cli', title: { en: 'Command line', ja: 'コマンドライン' }, made: 'cli' },
      { name: 'api', title: { en: 'HTTP API', ja: 'HTTP API' }, made: 'api' },
      { name: 'schema', title: { en: 'JSON Schema', ja: 'JSON Schema' }, made: 'schema' },
    ],
  },
  {
    title: { en: 'How it is made', ja: '設計' },
    pages: [
      english('security', 'SECURITY.md', 'Threat model', '脅威モデル'),
      english('architecture', 'ARCHITECTURE.md', 'Architecture', 'アーキテクチャ'),
      english('dependencies', 'docs/dependencies.md', 'Dependencies', '依存パッケージ'),
      english('out-of-scope', 'docs/out-of-scope.md', 'Out of scope', '対象外'),
      english('changelog', 'CHANGELOG.md', 'Changelog', '変更履歴'),
    ],
  },
];
