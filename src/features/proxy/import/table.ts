// Directives of stream{} that need no code: what is safely ignored, and what is refused, each with its reason.

/** It changes nothing that a client or a target could notice. */
export const ignored: Readonly<Record<string, string>> = {
  variables_hash_max_size: 'nginx sizes its own tables by it',
  variables_hash_bucket_size: 'nginx sizes its own tables by it',
  server_names_hash_max_size: 'nginx sizes its own tables by it',
  server_names_hash_bucket_size: 'nginx sizes its own tables by it',
  map_hash_max_size: 'nginx sizes its own tables by it',
  map_hash_bucket_size: 'nginx sizes its own tables by it',
  proxy_buffer_size: 'buffers follow the speed of the slower side',
  proxy_downstream_buffer: 'buffers follow the speed of the slower side',
  proxy_upstream_buffer: 'buffers follow the speed of the slower side',
  proxy_socket_rcvbuf: "the system's socket buffers stand",
  proxy_socket_sndbuf: "the system's socket buffers stand",
  preread_buffer_size: 'a ClientHello is read up to 16 KiB',
  proxy_protocol_timeout: 'the handshake timeout bounds the PROXY header too',
  tcp_nodelay: 'small writes are always sent at once',
  resolver_timeout: 'resolving is bounded by the connect timeout',
  open_log_file_cache: 'log files stay open, and are reopened on SIGUSR1',
  limit_conn_log_level: 'every refusal stands in the audit',
  log_format: 'the access log has a format of its own; `log: { access: { file: … } }` turns it on',
  access_log: 'every connection stands in the audit; `log: { access: { file: … } }` writes nginx-like lines besides',
  error_log: 'the log goes to stderr; `log: { file: …, level: … }` changes that',
  ssl_certificate_cache: 'certificates are kept in memory and read anew when they change',
  proxy_ssl_certificate_cache: 'certificates are kept in memory and read anew when they change',
  ssl_certificate_compression: 'it saves some bytes of the handshake',
  ssl_stapling: 'clients that want an OCSP answer ask the CA themselves',
  ssl_stapling_file: 'clients that want an OCSP answer ask the CA themselves',
  ssl_stapling_responder: 'clients that want an OCSP answer ask the CA themselves',
  ssl_stapling_verify: 'clients that want an OCSP answer ask the CA themselves',
  ssl_ocsp_responder: 'it goes with ssl_ocsp',
  ssl_ocsp_cache: 'it goes with ssl_ocsp',
  status_zone: 'metrics are counted for every route',
};

export interface RefusedRow {
  readonly reason: string;
  readonly todo: string;
  /** It may have kept somebody out: the route is written closed. */
  readonly closes?: true;
}

const script = {
  reason: 'scripts are not run',
  todo: 'find out what the script decides, and write it as rules or routes',
  closes: true,
} as const;
const plus = (todo: string): RefusedRow => ({ reason: 'it belongs to the commercial nginx', todo });

/** It changes something that cannot be said here. */
export const refused: Readonly<Record<string, RefusedRow>> = {
  pass: { reason: 'a connection cannot be handed on to another listener inside', todo: 'point `to:` at that listener' },
  return: {
    reason: 'a route leads to a target; it does not answer by itself',
    todo: 'keep it in nginx, or put a small server behind the route',
  },
  js_access: script,
  js_preread: script,
  js_filter: script,
  js_set: script,
  js_import: script,
  js_include: script,
  js_path: script,
  js_var: script,
  js_periodic: script,
  js_shared_dict_zone: script,
  js_preload_object: script,
  js_fetch_trusted_certificate: script,
  perl_set: script,
  preread_by_lua_file: script,
  content_by_lua_file: script,
  geoip_country: { reason: 'countries are not looked up', todo: 'write the networks in `rules:`', closes: true },
  geoip_city: { reason: 'countries are not looked up', todo: 'write the networks in `rules:`', closes: true },
  geoip_org: { reason: 'countries are not looked up', todo: 'write the networks in `rules:`', closes: true },
  ssl_ech_file: {
    reason: 'Encrypted Client Hello is not spoken',
    todo: 'remove the key from the DNS record before moving',
  },
  ssl_engine: { reason: 'keys in hardware are out of scope', todo: 'give the key as a file' },
  ssl_key_log: { reason: 'session secrets are never written', todo: 'remove it' },
  proxy_ssl_key_log: { reason: 'session secrets are never written', todo: 'remove it' },
  health_check: plus('write health: { interval: …, fails: …, passes: … }'),
  health_check_timeout: plus('write health: { timeout: … }'),
  match: plus('write health: { send: …, expect: … }'),
  zone_sync: plus('several gates share a PostgreSQL store'),
  zone_sync_server: plus('several gates share a PostgreSQL store'),
  keyval: plus('write the routes by hand'),
  keyval_zone: plus('write the routes by hand'),
  proxy_session_drop: plus('`sekisho session cut` ends sessions'),
  mqtt: plus('it is not looked into MQTT'),
  mqtt_preread: plus('it is not looked into MQTT'),
  mqtt_set_connect: plus('it is not looked into MQTT'),
};

/** Families of names, where the exact one is not in the table. */
export const refusedFamilies: readonly (readonly [RegExp, RefusedRow])[] = [
  [/_by_lua(_block|_file)?$|^lua_|^js_|^perl/, script],
  [/^(zone_sync|mqtt|otel)_/, plus('write it by hand')],
];
