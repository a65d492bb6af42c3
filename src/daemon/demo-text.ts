// What the demonstration says, in English and in Japanese.

export interface DemoText {
  readonly article001: string;
  readonly clientToOut: string;
  readonly outToIn: string;
  readonly inToServer: string;
  readonly article000: string;
  readonly clientToWrap: string;
  readonly wrapToEndpoint: string;
  readonly endpointToAgent: string;
  readonly agentToDevice: string;
  readonly article002: string;
  readonly clientToSource: string;
  readonly sourceToGate: string;
  readonly deviceToGate: string;
  readonly deviceToService: string;
  readonly told: string;
  readonly closed: string;
  readonly article003: string;
  readonly browserToClient: string;
  readonly clientToHub: string;
  readonly hubToServer: string;
  readonly leased: string;
  readonly article004: string;
  readonly asTyped: string;
  readonly siteHears: string;
  readonly siteSends: string;
  readonly staffGets: string;
  readonly strangerGets: string;
  readonly plain: string;
  readonly encrypted: string;
  readonly answered: string;
  readonly end: string;
}

export const texts: Readonly<Record<'en' | 'ja', DemoText>> = {
  en: {
    article001: 'TLS in front of a plain server, and behind a plain client (article 001)',
    clientToOut: '  client ──▶ forward-out     ',
    outToIn: '  forward-out ──▶ forward-in ',
    inToServer: '  forward-in ──▶ server      ',
    article000: 'An old client reaches a device behind NAT by an endpoint that closes itself (article 000)',
    clientToWrap: '  client ──▶ wrap            ',
    wrapToEndpoint: '  wrap ──▶ endpoint          ',
    endpointToAgent: '  gate ◀── agent: the link   ',
    agentToDevice: '  agent ──▶ device           ',
    article002: 'A device behind a firewall: told over MQTT, both ends dial out, one-time tokens (article 002)',
    clientToSource: '  ssh ──▶ source side        ',
    sourceToGate: '  source side ──▶ gate       ',
    deviceToGate: '  device ──▶ gate            ',
    deviceToService: '  device ──▶ its sshd        ',
    told: '  the device was told over MQTT:',
    closed: '  and when it was closed both ends were told:',
    article003: 'A colleague joins a hub over 443 and opens a private web server, no root anywhere (article 003)',
    browserToClient: '  browser ──▶ vpn join       ',
    clientToHub: '  vpn join ──▶ hub mikalab   ',
    hubToServer: '  SecureNAT ──▶ web server   ',
    leased: '  the hub gave an address and routes, and no default gateway:',
    article004:
      'An internal site by its original address and under a new name, with a client certificate in front of it (article 004)',
    asTyped: '  http://server1:8081/ as typed, through the proxy over TLS:',
    siteHears: '  the site hears its old name,',
    siteSends: 'and redirects to',
    staffGets: '  staff with a certificate are sent to ',
    strangerGets: '  somebody without one is told what is missing:',
    plain: 'plain: everybody on this leg reads it',
    encrypted: 'encrypted, and the certificate was verified',
    answered: '  the answer came back through every leg:',
    end: 'That was all on 127.0.0.1, with real sockets. Next: npm start, or look into examples/.',
  },
  ja: {
    article001: '平文の TCP サーバの前と、平文の TCP クライアントの後ろに TLS を置く(記事 001)',
    clientToOut: '  client ──▶ forward-out     ',
    outToIn: '  forward-out ──▶ forward-in ',
    inToServer: '  forward-in ──▶ server      ',
    article000: 'TLS を話せないクライアントから、自動で閉じるエンドポイント経由で NAT の内側のデバイスへ(記事 000)',
    clientToWrap: '  client ──▶ wrap            ',
    wrapToEndpoint: '  wrap ──▶ エンドポイント    ',
    endpointToAgent: '  gate ◀── agent:リンク      ',
    agentToDevice: '  agent ──▶ デバイス         ',
    article002:
      'ファイアウォールの内側のデバイスへ。MQTT で知らせ、両端が外向きに接続し、トークンは 1 回限り(記事 002)',
    clientToSource: '  ssh ──▶ ソース側           ',
    sourceToGate: '  ソース側 ──▶ ゲート        ',
    deviceToGate: '  デバイス ──▶ ゲート        ',
    deviceToService: '  デバイス ──▶ その sshd     ',
    told: '  デバイスには MQTT でこう知らされました:',
    closed: '  閉じたとき、両端にはこう伝えられました:',
    article003: '443 だけでハブに参加し、プライベートな Web サーバを開く。どこにも root は不要(記事 003)',
    browserToClient: '  ブラウザ ──▶ vpn join      ',
    clientToHub: '  vpn join ──▶ ハブ mikalab  ',
    hubToServer: '  SecureNAT ──▶ Web サーバ   ',
    leased: '  ハブが配ったアドレスと経路(デフォルトゲートウェイなし):',
    article004: '社内サイトを元のアドレスのまま、また新しい名前で、クライアント証明書つきで公開する(記事 004)',
    asTyped: '  http://server1:8081/ をそのまま、TLS のプロキシ経由で:',
    siteHears: '  サイトに届く Host は元の名前',
    siteSends: 'のまま、リダイレクト先は',
    staffGets: '  証明書を持つ社員に届くリダイレクト先は ',
    strangerGets: '  証明書がない人には説明のページ:',
    plain: '平文:この区間では誰でも読めます',
    encrypted: '暗号化済み。証明書も検証されています',
    answered: '  応答はすべての区間を通って戻りました:',
    end: 'すべて 127.0.0.1 上の本物のソケットで動かしました。次は npm start、または examples/ をどうぞ。',
  },
};
