// The agent, composed: options → a device that is linked. What it imports is bundled into one file and runs on Node 18,
// so nothing of the gate may come in here (test/architecture.test.ts has its row).
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import {
  enrol,
  openAgentFolder,
  openServices,
  parseGate,
  parseServiceOption,
  runLinks,
  type Way,
} from '../features/device/agent/index.ts';
import { parseProxy, proxyOf } from '../net/http-proxy.ts';
import { followMqtt, joinOne, readFile, readToken, type TunnelPlace } from './agent-tunnel.ts';

export interface AgentOptions {
  /** `https://gate.example.com`; needed only the first time. */
  readonly gate?: string;
  /** What the gate's certificate says, where it is reached by another name. */
  readonly name?: string;
  /** A one-time code. */
  readonly enroll?: string;
  /** Where key, certificate and list of services are. */
  readonly dir?: string;
  /** `ssh=127.0.0.1:22`: with a code, instead of what the gate proposes. */
  readonly service?: readonly string[];
  readonly proxy?: string;
  /** A file with `user:password` of the proxy. */
  readonly proxyCredentials?: string;
  readonly trustGateTime?: boolean;
  /** `mqtts://host:port`: besides the link, wait for notices of tunnels. */
  readonly mqtt?: string;
  /** With `mqtt` and without a gate (AWS IoT): the thing's name and its files. */
  readonly thing?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly ca?: string;
  /** Join one tunnel as its destination, and nothing else. */
  readonly tokenFile?: string;
  readonly region?: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly linked?: (device: string) => void;
}

/** `--dir`, else SEKISHO_AGENT_DIR, else what systemd gave, else a folder in the home directory. */
export const agentFolder = ({ dir, env }: Pick<AgentOptions, 'dir' | 'env'>): string =>
  dir ?? env['SEKISHO_AGENT_DIR'] ?? env['STATE_DIRECTORY'] ?? join(homedir(), '.sekisho-agent');

/** Enrols where there is a code, then stays linked until the signal. @throws Fault saying what to do */
export async function runAgent(options: AgentOptions): Promise<void> {
  const { enroll: code, log, signal, version, trustGateTime = false } = options;
  const folder = openAgentFolder(agentFolder(options));
  const services = Object.fromEntries((options.service ?? []).map(parseServiceOption));
  if (options.tokenFile !== undefined || (options.mqtt !== undefined && options.thing !== undefined)) {
    return withoutLink(options, folder, services);
  }
  if (code !== undefined) {
    const url = options.gate;
    if (url === undefined)
      throw new Fault('invalid', '--enroll needs the gate’s address: --gate https://gate.example.com');
    const name = options.name === undefined ? {} : { name: options.name };
    await enrol({ ...{ way: wayTo(url, options), url, code, folder, services, trustGateTime, log, signal }, ...name });
  } else if (Object.keys(services).length > 0) {
    throw new Fault('invalid', `--service goes with --enroll; later, ${folder.services} is the list`);
  }
  const home = folder.home();
  if (!home) {
    throw new Fault(
      'invalid',
      `this device is not enrolled (${folder.path} is empty); on the gate: sekisho device enroll NAME, and run here the line that it prints`,
    );
  }
  const { name = options.name } = home;
  const way = wayTo(options.gate ?? home.url, { ...options, ...(name === undefined ? {} : { name }) });
  const place: TunnelPlace = {
    ...{ gate: options.gate ?? home.url, roots: folder.roots, env: options.env, log, signal },
    services: openServices(folder.services, text => log.error({}, text)).all,
  };
  const { mqtt } = options;
  const notices =
    mqtt === undefined ? [] : [followMqtt({ ...place, mqtt, thing: home.device, identity: folder.identity })];
  await Promise.all([
    ...notices,
    runLinks({
      ...{ way, folder, version, trustGateTime, log, signal },
      ...(options.linked ? { linked: options.linked } : {}),
    }),
  ]);
}

/** A device that AWS, or a gate by its tokens, knows: there is no link, only tunnels. */
async function withoutLink(
  options: AgentOptions,
  folder: ReturnType<typeof openAgentFolder>,
  services: Readonly<Record<string, string>>,
): Promise<void> {
  const { gate, region, mqtt, thing, cert, key, env, log, signal } = options;
  const listed = openServices(folder.services, text => log.error({}, text));
  const known = (): readonly string[] => (folder.home() ? folder.roots() : []);
  const own = options.ca === undefined ? [] : [readFile(options.ca, '--ca')];
  const place: TunnelPlace = {
    ...{ env, log, signal },
    ...(gate === undefined ? {} : { gate }),
    ...(region === undefined ? {} : { region }),
    roots: () => [...own, ...known()],
    services: () => ({ ...listed.all(), ...services }),
  };
  if (options.tokenFile !== undefined) return joinOne(place, readToken(options.tokenFile, env));
  if (mqtt === undefined || thing === undefined || cert === undefined || key === undefined)
    throw new Fault('invalid', '--mqtt without a gate needs --thing, --cert and --key');
  const identity = () => ({ cert: readFile(cert, '--cert'), key: readFile(key, '--key') });
  await followMqtt({ ...place, mqtt, thing, identity });
}

function wayTo(
  url: string,
  { name, proxy, proxyCredentials, env }: Pick<AgentOptions, 'name' | 'proxy' | 'proxyCredentials' | 'env'>,
): Way {
  const gate = parseGate(url, name);
  const through = proxy === undefined ? proxyOf(env, gate) : proxy === 'off' ? undefined : parseProxy(proxy);
  if (!through) return { gate, proxy: undefined };
  const credentials =
    proxyCredentials === undefined ? env['SEKISHO_PROXY_CREDENTIALS'] : readCredentials(proxyCredentials);
  return { gate, proxy: { url: through, ...(credentials ? { credentials } : {}) } };
}

function readCredentials(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (cause) {
    throw new Fault('invalid', `--proxy-credentials ${path} cannot be read`, { cause });
  }
}

/** The systemd unit for where this file lies; `--install` prints it. */
export const systemdUnit = (node: string, file: string): string => `# /etc/systemd/system/sekisho-agent.service
[Unit]
Description=Sekisho agent
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=${node} ${file}
Restart=always
RestartSec=5
DynamicUser=yes
StateDirectory=sekisho-agent
StateDirectoryMode=0700
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK

[Install]
WantedBy=multi-user.target
`;
