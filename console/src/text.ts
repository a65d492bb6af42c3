// Every word that the console says, in English and Japanese. A missing one does not compile.
const english = {
  status: 'Status',
  proxy: 'Proxy',
  approval: 'Approvals',
  cert: 'Certificates',
  user: 'Users',
  audit: 'Audit',
  skip: 'Skip to content',
  live: 'live',
  offline: 'not live',
  signOut: 'Sign out',
  signIn: 'Sign in',
  wrong: 'The user or the password is wrong.',
  language: '日本語',
  userName: 'User',
  password: 'Password',
  passwordAgain: 'Password again',
  current: 'Current password',
  signInWith: 'Sign in to',
  byLink: 'Signing in with your one-time link …',
  role: 'Role',
  roles: 'Roles',
  groups: 'Groups',
  openNow: 'Open right now',
  nothingOpen: 'Nobody is passing at the moment.',
  who: 'Who',
  what: 'What',
  from: 'From',
  since: 'Since',
  until: 'Until',
  why: 'Why',
  bytes: 'Up / down',
  cut: 'Cut',
  sureCut: 'End this session now?',
  listens: 'Listens on',
  routes: 'Routes',
  target: 'Target',
  state: 'State',
  connections: 'Connections',
  name: 'Name',
  version: 'Version',
  health: 'Health',
  warnings: 'What is weak or unwell',
  noWarnings: 'Nothing to complain about.',
  waiting: 'wait for a yes',
  sessions: 'live sessions',
  throughput: 'Bytes per second',
  noRoutes: 'No proxy routes in the configuration.',
  approve: 'Approve',
  refuse: 'Refuse',
  reason: 'Reason',
  noApprovals: 'Nothing waits for an approval.',
  votes: 'Votes',
  asks: 'Asks for',
  issue: 'Issue',
  issueTitle: 'Issue a client certificate',
  revoke: 'Revoke',
  sureRevoke: 'Revoke this certificate? Its live sessions end at once.',
  serial: 'Serial',
  kind: 'Kind',
  notAfter: 'Valid until',
  ca: 'CA certificate',
  download: 'Download',
  filePassword: 'Password of the file (PKCS#12)',
  unit: 'Organisational unit (OU)',
  noCerts: 'No certificates yet.',
  issuedText: 'The file holds the key; the gate keeps no copy.',
  addUser: 'Add a user',
  remove: 'Remove',
  sureRemove: 'Remove this user? Credentials stop working and live sessions end.',
  link: 'Sign-in link',
  linkText: 'Valid once, for 15 minutes. Whoever opens it is this user.',
  copy: 'Copy',
  copied: 'Copied',
  noUsers: 'No users yet.',
  change: 'Change',
  setPassword: 'Set your password',
  passwordText: 'Your one-time link is spent. Choose a password, so that you can come back.',
  mismatch: 'The two are not the same.',
  done: 'Done',
  close: 'Close',
  cancel: 'Cancel',
  save: 'Save',
  search: 'Search',
  event: 'Event',
  outcome: 'Outcome',
  resource: 'Resource',
  time: 'Time',
  older: 'Older',
  verify: 'Verify the chain',
  chainOk: 'The chain holds',
  chainBad: 'The chain does not hold',
  noRows: 'No rows match.',
  denied: 'Your roles do not allow this page.',
  loading: 'Loading …',
  filter: 'Filter',
  rule: 'Rule',
  never: 'no end',
  left: 'left',
  added: 'added',
  none: 'none',
  me: 'you',
  account: 'Your account',
  details: 'Details',
} as const;
type Words = { readonly [K in keyof typeof english]: string };

const japanese: Words = {
  status: '状態',
  proxy: 'プロキシ',
  approval: '承認',
  cert: '証明書',
  user: 'ユーザー',
  audit: '監査',
  skip: '本文へ',
  live: '接続中',
  offline: '切断',
  signOut: 'サインアウト',
  signIn: 'サインイン',
  wrong: 'ユーザー名かパスワードが違います。',
  language: 'English',
  userName: 'ユーザー名',
  password: 'パスワード',
  passwordAgain: 'パスワード（確認）',
  current: '現在のパスワード',
  signInWith: 'サインイン先：',
  byLink: 'ワンタイムリンクでサインインしています…',
  role: '役割',
  roles: '役割',
  groups: 'グループ',
  openNow: 'いま開いているもの',
  nothingOpen: 'いま通行中の接続はありません。',
  who: '誰が',
  what: '何を',
  from: 'どこから',
  since: '開始',
  until: '期限',
  why: '許可した規則',
  bytes: '上り / 下り',
  cut: '切断',
  sureCut: 'このセッションをいま切断しますか？',
  listens: '待ち受け',
  routes: 'ルート',
  target: '接続先',
  state: '状態',
  connections: '接続数',
  name: '名前',
  version: 'バージョン',
  health: '健全性',
  warnings: '弱い設定と不調',
  noWarnings: '問題はありません。',
  waiting: '件が承認待ち',
  sessions: '通行中のセッション',
  throughput: '毎秒バイト数',
  noRoutes: '設定にプロキシのルートがありません。',
  approve: '承認',
  refuse: '却下',
  reason: '理由',
  noApprovals: '承認待ちはありません。',
  votes: '投票',
  asks: '要求',
  issue: '発行',
  issueTitle: 'クライアント証明書を発行',
  revoke: '失効',
  sureRevoke: 'この証明書を失効させますか？ 通行中のセッションは直ちに終わります。',
  serial: 'シリアル番号',
  kind: '種類',
  notAfter: '有効期限',
  ca: 'CA証明書',
  download: 'ダウンロード',
  filePassword: 'ファイルのパスワード（PKCS#12）',
  unit: '部署（OU）',
  noCerts: '証明書はまだありません。',
  issuedText: '鍵はこのファイルの中だけにあり、ゲートには残りません。',
  addUser: 'ユーザーを追加',
  remove: '削除',
  sureRemove: 'このユーザーを削除しますか？ 資格情報は無効になり、セッションは終わります。',
  link: 'サインイン用リンク',
  linkText: '一度だけ、15分間有効です。開いた人がこのユーザーになります。',
  copy: 'コピー',
  copied: 'コピーしました',
  noUsers: 'ユーザーはまだいません。',
  change: '変更',
  setPassword: 'パスワードを決める',
  passwordText: 'ワンタイムリンクは使用済みです。次に入るためのパスワードを決めてください。',
  mismatch: '二つが一致しません。',
  done: '完了',
  close: '閉じる',
  cancel: 'やめる',
  save: '保存',
  search: '検索',
  event: '出来事',
  outcome: '結果',
  resource: '対象',
  time: '時刻',
  older: '前へ',
  verify: '連鎖を検証',
  chainOk: '連鎖は正しい',
  chainBad: '連鎖が壊れています',
  noRows: '該当する記録はありません。',
  denied: 'あなたの役割ではこのページを見られません。',
  loading: '読み込み中…',
  filter: '絞り込み',
  rule: '規則',
  never: '無期限',
  left: '残り',
  added: '追加しました',
  none: 'なし',
  me: 'あなた',
  account: 'あなたのアカウント',
  details: '詳細',
};

export type Language = 'en' | 'ja';
const remembered = (): Language => {
  try {
    const kept = localStorage.getItem('language');
    if (kept === 'en' || kept === 'ja') return kept;
  } catch {
    // storage may be switched off
  }
  return navigator.language.startsWith('ja') ? 'ja' : 'en';
};
let language: Language = remembered();

export const currentLanguage = (): Language => language;
export function setLanguage(next: Language): void {
  language = next;
  document.documentElement.lang = next;
  try {
    localStorage.setItem('language', next);
  } catch {
    // then it is asked again next time
  }
}
export const t = (word: keyof Words): string => (language === 'ja' ? japanese : english)[word];

export const when = (time: string): string =>
  new Intl.DateTimeFormat(language, { dateStyle: 'short', timeStyle: 'medium' }).format(new Date(time));
export const day = (time: string): string =>
  new Intl.DateTimeFormat(language, { dateStyle: 'medium' }).format(new Date(time));

const units = ['B', 'kB', 'MB', 'GB', 'TB'];
export function bytes(count: number): string {
  const step = count < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(count) / 3));
  const value = count / 1000 ** step;
  return `${value >= 100 || step === 0 ? Math.round(value) : value.toFixed(1)} ${units[step]}`;
}

/** `1:04:09` until then; under a minute the seconds are what counts. */
export function countdown(until: string, now: number): string {
  const seconds = Math.max(0, Math.round((Date.parse(until) - now) / 1000));
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const two = (n: number): string => String(n).padStart(2, '0');
  return hours >= 48
    ? `${Math.floor(hours / 24)} d`
    : hours > 0
      ? `${hours}:${two(minutes)}:${two(rest)}`
      : `${minutes}:${two(rest)}`;
}
