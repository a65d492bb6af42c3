// Every word of the enrolment page, in English and Japanese. A missing one does not compile.
import { currentLanguage } from '../text.ts';

const english = {
  title: 'Your certificate',
  language: '日本語',
  loading: 'One moment …',
  noCode: 'Open this page by the link that your administrator sent you; it works once.',
  wrongLink: 'This link is wrong, was used already, or is past its end. Ask your administrator for a new one.',
  for: 'For',
  gate: 'Gate',
  until: 'Link works until',
  explain:
    'This page makes a key in your browser, has it certified by the gate, and puts both into a file that your system can import. Choose a password for that file; you are asked for it when you import it. The link is used up when you press the button.',
  password: 'Password for the file (8 characters or more)',
  again: 'Password again',
  mismatch: 'The two passwords differ.',
  legacy: 'Old program (before about 2020)',
  legacyText:
    'A weaker file (3DES, SHA-1), and the gate makes the key. Only when your system refuses the ordinary one; delete the file afterwards.',
  make: 'Make my certificate',
  ready: 'Your certificate is ready. Save the file now: the key is in this page and nowhere else.',
  root: "SHA-256 of the gate's root certificate (compare it with what your administrator tells you)",
  system: 'Your system',
  untried: 'These steps were written down without having been tried on this system.',
} as const;
type Words = { readonly [K in keyof typeof english]: string };

const japanese: Words = {
  title: 'あなたの証明書',
  language: 'English',
  loading: 'お待ちください…',
  noCode: '管理者から届いたリンクを開いてください。リンクは一度だけ使えます。',
  wrongLink: 'リンクが正しくないか、使用済みか、期限切れです。管理者に新しいリンクを依頼してください。',
  for: '発行先',
  gate: 'ゲート',
  until: 'リンクの期限',
  explain:
    'このブラウザーの中で鍵を作り、ゲートに証明してもらい、システムにインポートできる1つのファイルにまとめます。ファイルのパスワードを決めてください。インポートのときに尋ねられます。ボタンを押すとリンクは使用済みになります。',
  password: 'ファイルのパスワード（8文字以上）',
  again: 'パスワード（確認）',
  mismatch: 'パスワードが一致しません。',
  legacy: '古いプログラム用（おおむね2020年以前）',
  legacyText:
    '弱い形式（3DES、SHA-1）のファイルで、鍵はゲートが作ります。通常のファイルを読み込めないときだけ選び、インポート後はファイルを削除してください。',
  make: '証明書を作る',
  ready: '証明書ができました。鍵はこのページの中にしかありません。今すぐファイルを保存してください。',
  root: 'ゲートのルート証明書のSHA-256（管理者から伝えられた値と照合してください）',
  system: 'お使いの環境',
  untried: 'この環境での手順は未検証です。',
};

export const say = (word: keyof Words): string => (currentLanguage() === 'ja' ? japanese : english)[word];
