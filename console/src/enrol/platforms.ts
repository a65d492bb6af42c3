// What to do with the file, system by system. `isTried` says which of these was walked through with the real programs.
import { currentLanguage } from '../text.ts';

export const platforms = ['windows', 'macos', 'ios', 'android', 'linux', 'firefox'] as const;
export type Platform = (typeof platforms)[number];
interface Steps {
  readonly title: string;
  readonly isTried: boolean;
  readonly lines: readonly string[];
}

const english: Readonly<Record<Platform, Steps>> = {
  windows: {
    title: 'Windows (Edge, Chrome)',
    isTried: false,
    lines: [
      'Save the .p12 file and open it: the certificate import wizard starts. Choose “Current User”.',
      'Enter the password of the file. Leave “Mark this key as exportable” off.',
      'Let Windows choose the store, and confirm the root certificate when it asks; compare its fingerprint with the one above.',
      'Close every window of the browser, open it again and go to the address that you were given.',
      'Delete the .p12 file.',
    ],
  },
  macos: {
    title: 'macOS (Safari, Chrome)',
    isTried: false,
    lines: [
      'Save the .p12 file and open it: Keychain Access asks for the password. Choose the “login” keychain.',
      'Find the root certificate there, compare its fingerprint with the one above, open it and set “Trust” to “Always Trust” for SSL.',
      'Or install the .mobileconfig file instead: System Settings, “Profiles”.',
      'Open the browser again and choose the certificate when it asks.',
      'Delete the file.',
    ],
  },
  ios: {
    title: 'iPhone, iPad',
    isTried: false,
    lines: [
      'Open this link in Safari, and save the .mobileconfig file. “Profile downloaded” appears.',
      'Settings, “Profile downloaded”, “Install”. Enter the passcode, then the password of the file.',
      'Settings, “General”, “About”, “Certificate Trust Settings”: switch the gate’s root on.',
      'If the password is refused although it is right, ask for a new link and choose the form for old programs.',
    ],
  },
  android: {
    title: 'Android (Chrome)',
    isTried: false,
    lines: [
      'Save the .p12 file, and ca.crt where the gate’s root is not known yet.',
      'Settings, “Security”, “Encryption & credentials”, “Install a certificate”: ca.crt as “CA certificate”, the .p12 file as “VPN & app user certificate”.',
      'Enter the password of the file, and choose the certificate when Chrome asks.',
      'Delete both files.',
    ],
  },
  linux: {
    title: 'Linux (Chromium, Chrome)',
    isTried: true,
    lines: [
      'Install the NSS tools: sudo apt install libnss3-tools',
      'The first time only: mkdir -p ~/.pki/nssdb && certutil -d sql:$HOME/.pki/nssdb -N --empty-password',
      'pk12util -d sql:$HOME/.pki/nssdb -i NAME.p12   (asks for the password)',
      'certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n gate-root -i ca.crt',
      'Start the browser anew, choose the certificate when it asks, and delete the .p12 file.',
    ],
  },
  firefox: {
    title: 'Firefox (every system)',
    isTried: false,
    lines: [
      'Settings, “Privacy & Security”, “View Certificates”, “Your Certificates”, “Import”: the .p12 file, and its password.',
      '“Authorities”, “Import”: ca.crt, trusted to identify websites, where the gate’s root is not known yet.',
      'Choose the certificate when Firefox asks, and delete the .p12 file.',
    ],
  },
};

const japanese: Readonly<Record<Platform, Steps>> = {
  windows: {
    title: 'Windows（Edge、Chrome）',
    isTried: false,
    lines: [
      '.p12ファイルを保存して開くと、証明書のインポートウィザードが始まります。「現在のユーザー」を選びます。',
      'ファイルのパスワードを入力します。「このキーをエクスポート可能にする」はオフのままにします。',
      '証明書ストアは自動選択に任せます。ルート証明書の確認が出たら、上のフィンガープリントと照合してから承認します。',
      'ブラウザーのウィンドウをすべて閉じ、開き直して、案内されたアドレスを開きます。',
      '.p12ファイルを削除します。',
    ],
  },
  macos: {
    title: 'macOS（Safari、Chrome）',
    isTried: false,
    lines: [
      '.p12ファイルを保存して開くと、キーチェーンアクセスがパスワードを尋ねます。「ログイン」キーチェーンを選びます。',
      'ルート証明書を探してフィンガープリントを照合し、開いて「信頼」のSSLを「常に信頼」にします。',
      '代わりに.mobileconfigファイルをインストールすることもできます（システム設定の「プロファイル」）。',
      'ブラウザーを開き直し、尋ねられたら証明書を選びます。',
      'ファイルを削除します。',
    ],
  },
  ios: {
    title: 'iPhone、iPad',
    isTried: false,
    lines: [
      'このリンクをSafariで開き、.mobileconfigファイルを保存します。「プロファイルがダウンロードされました」と表示されます。',
      '「設定」の「ダウンロード済みのプロファイル」から「インストール」に進み、パスコード、続いてファイルのパスワードを入力します。',
      '「設定」→「一般」→「情報」→「証明書信頼設定」で、ゲートのルート証明書をオンにします。',
      '正しいパスワードが受け付けられないときは、新しいリンクを依頼し、古いプログラム用の形式を選びます。',
    ],
  },
  android: {
    title: 'Android（Chrome）',
    isTried: false,
    lines: [
      '.p12ファイルを保存します。ゲートのルート証明書がまだ入っていなければca.crtも保存します。',
      '「設定」→「セキュリティ」→「暗号化と認証情報」→「証明書のインストール」で、ca.crtは「CA証明書」、.p12ファイルは「VPNとアプリユーザー証明書」として入れます。',
      'ファイルのパスワードを入力し、Chromeに尋ねられたら証明書を選びます。',
      '両方のファイルを削除します。',
    ],
  },
  linux: {
    title: 'Linux（Chromium、Chrome）',
    isTried: true,
    lines: [
      'NSSのツールを入れます: sudo apt install libnss3-tools',
      '初回のみ: mkdir -p ~/.pki/nssdb && certutil -d sql:$HOME/.pki/nssdb -N --empty-password',
      'pk12util -d sql:$HOME/.pki/nssdb -i NAME.p12 （パスワードを尋ねられます）',
      'certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n gate-root -i ca.crt',
      'ブラウザーを起動し直し、尋ねられたら証明書を選び、.p12ファイルを削除します。',
    ],
  },
  firefox: {
    title: 'Firefox（全システム）',
    isTried: false,
    lines: [
      '「設定」→「プライバシーとセキュリティ」→「証明書を表示」→「あなたの証明書」→「インポート」で、.p12ファイルとパスワードを指定します。',
      'ゲートのルート証明書がまだ入っていなければ、「認証局証明書」→「インポート」でca.crtを選び、ウェブサイトの識別を信頼します。',
      'Firefoxに尋ねられたら証明書を選び、.p12ファイルを削除します。',
    ],
  },
};

export const steps = (platform: Platform): Steps => (currentLanguage() === 'ja' ? japanese : english)[platform];

/** The likeliest one; people choose another where it is wrong. iPadOS calls itself a Mac. */
export function platformHere(userAgent: string): Platform {
  const signs: readonly (readonly [RegExp, Platform])[] = [
    [/iPhone|iPad/, 'ios'],
    [/Android/, 'android'],
    [/Firefox/, 'firefox'],
    [/Windows/, 'windows'],
    [/Macintosh/, 'macos'],
  ];
  return signs.find(([sign]) => sign.test(userAgent))?.[1] ?? 'linux';
}
