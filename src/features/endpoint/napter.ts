// The shapes of Napter's API (soracom-cli's soracom-api.en.yaml): port mappings and the eight kinds of its audit log.
import { Fault, type FaultCode, faults } from '../../core/fault.ts';
import type { OpenRequest } from './deps.ts';
import type { Endpoint, NapterFacts } from './endpoint.ts';
import type { DeviceFacts } from './target.ts';

export interface PortMapping {
  readonly ipAddress: string;
  readonly port: number;
  readonly hostname: string;
  readonly endpoint: string;
  /** Milliseconds since 1970. */
  readonly createdTime: number;
  readonly expiredTime: number;
  readonly expired: boolean;
  /** Seconds. */
  readonly duration: number;
  readonly imsi?: string;
  readonly simId?: string;
  readonly operatorId: string;
  readonly placement: 'default';
  readonly source: { readonly ipRanges: readonly string[] };
  readonly tlsRequired: boolean;
  readonly destination: {
    readonly port: number;
    readonly imsi?: string;
    readonly simId?: string;
    readonly destinationChoosingStrategy: NapterFacts['strategy'];
  };
}

export type NapterEvent = 'ACCESS' | 'DENIED' | 'CONNECTED' | 'CLOSED' | 'REFUSED' | 'CREATED' | 'DELETED' | 'EXPIRED';

export interface NapterLogEntry {
  readonly connectionId: string;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly direction: {
    readonly destinationIPAddress?: string;
    readonly destinationPort?: number;
    readonly sourceIPAddress?: string;
    readonly sourcePort?: number;
  };
  readonly imsi: string;
  readonly operatorId: string;
  readonly tls: boolean;
  readonly type: NapterEvent;
}

export interface Place {
  readonly address: string;
  readonly host: string;
  readonly operatorId: string;
}

// --- Requests -------------------------------------------------------------------------------------------------------

/** What a body asks for. `simId` of the path, where it has one, stands for the body's. @throws Fault `invalid` */
export function readMapping(body: unknown, simIdOfPath?: string): OpenRequest & { readonly napter: NapterFacts } {
  const { destination, source, duration, tlsRequired } = recordOf(body, 'the body');
  const to = recordOf(destination, 'destination');
  const port = to['port'];
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new Fault('invalid', 'destination.port: the port on the device, 1 to 65535');
  }
  const simId = simIdOfPath ?? textOr(to['simId'], 'destination.simId');
  const imsi = simId === undefined ? textOr(to['imsi'], 'destination.imsi') : undefined; // with both, imsi is ignored
  const device = simId ?? imsi;
  if (device === undefined) throw new Fault('invalid', 'destination: give imsi or simId');
  if (duration !== undefined && (typeof duration !== 'number' || !(duration > 0))) {
    throw new Fault('invalid', 'duration: seconds, more than 0');
  }
  if (tlsRequired !== undefined && typeof tlsRequired !== 'boolean') {
    throw new Fault('invalid', 'tlsRequired: true or false');
  }
  const from = source === undefined || source === null ? undefined : rangesOf(recordOf(source, 'source')['ipRanges']);
  const strategy = strategyOf(simId !== undefined, to['service']);
  return {
    target: `device://${encodeURIComponent(device)}/${port}`,
    ...(duration === undefined ? {} : { for: Math.round(duration * 1000) }),
    ...(from === undefined ? {} : { from }),
    tls: tlsRequired ? 'end' : 'none',
    name: false,
    napter: { ...(simId === undefined ? {} : { simId }), ...(imsi === undefined ? {} : { imsi }), port, strategy },
  };
}

function recordOf(value: unknown, what: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new Fault('invalid', `${what}: an object is needed here`);
}

function textOr(value: unknown, what: string): string | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value === 'string' && value.length <= 128) return value;
  throw new Fault('invalid', `${what}: a short text`);
}

function rangesOf(value: unknown): readonly string[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value) || value.some(one => typeof one !== 'string')) {
    throw new Fault('invalid', 'source.ipRanges: a list of networks like 203.0.113.7/32');
  }
  return value.length === 0 ? undefined : (value as string[]);
}

function strategyOf(bySim: boolean, service: unknown): NapterFacts['strategy'] {
  if (!bySim) return 'IMSI_PRIORITIZED';
  if (service === 'air') return 'AIR_PRIORITIZED';
  if (service === 'arc') return 'ARC_PRIORITIZED';
  if (service === undefined || service === null) return 'DYNAMIC';
  throw new Fault('invalid', 'destination.service: air or arc; here it changes nothing');
}

// --- Answers --------------------------------------------------------------------------------------------------------

/** Undefined for what Napter has no words for: no port, or a target that is no device. */
export function toMapping(
  endpoint: Endpoint,
  device: DeviceFacts | undefined,
  now: number,
  { address, host, operatorId }: Place,
): PortMapping | undefined {
  const named = deviceOf(endpoint);
  if (typeof endpoint.port !== 'number' || named === undefined || endpoint.opened === undefined) return undefined;
  const facts = endpoint.napter ?? {
    simId: device?.simId ?? named.device,
    port: portOf(device?.addressOf(named.service)) ?? 0,
    strategy: 'DYNAMIC' as const,
  };
  const { imsi, simId, port, strategy } = facts;
  const who = { ...(imsi === undefined ? {} : { imsi }), ...(simId === undefined ? {} : { simId }) };
  return {
    ipAddress: address,
    port: endpoint.port,
    hostname: host,
    endpoint: `${address.includes(':') ? `[${address}]` : address}:${endpoint.port}`,
    createdTime: endpoint.opened,
    expiredTime: endpoint.until,
    expired: endpoint.state === 'closed' || endpoint.until <= now,
    duration: Math.round((endpoint.until - endpoint.opened) / 1000),
    ...who,
    operatorId,
    placement: 'default',
    source: { ipRanges: endpoint.limits.sources },
    tlsRequired: endpoint.tls === 'end',
    destination: { ...who, port, destinationChoosingStrategy: strategy },
  };
}

/** `device://pump-7/ssh` → pump-7 and ssh. */
export function deviceOf({ target }: Pick<Endpoint, 'target'>): { device: string; service: string } | undefined {
  const parts = /^device:\/\/([^/]+)\/(.+)$/.exec(target);
  return parts ? { device: decodeURIComponent(parts[1] ?? ''), service: parts[2] ?? '' } : undefined;
}

const portOf = (address: string | undefined): number | undefined => {
  const port = Number(/:(\d+)$/.exec(address ?? '')?.[1]);
  return port > 0 ? port : undefined;
};

// --- The log --------------------------------------------------------------------------------------------------------

/** A row of our audit, as far as it matters here. */
export interface LogRow {
  readonly seq: number;
  readonly at: string;
  readonly event: string;
  readonly session: string | null;
  readonly from: string | null;
  readonly resource: string;
  readonly facts: Readonly<Record<string, unknown>>;
}

/** Which of Napter's eight an event of ours is. */
const types: Readonly<Record<string, NapterEvent>> = {
  'endpoint.opened': 'CREATED',
  'endpoint.closed': 'DELETED',
  'endpoint.ended': 'DELETED',
  'endpoint.expired': 'EXPIRED',
  'endpoint.connected': 'ACCESS',
  'endpoint.denied': 'DENIED',
  'endpoint.reached': 'CONNECTED',
  'endpoint.unreached': 'REFUSED',
  'endpoint.disconnected': 'CLOSED',
};

/** The kind of a row and the endpoint it is about; undefined for rows that Napter does not have. */
export function typeOf({ event, resource, facts }: LogRow): { type: NapterEvent; endpoint: string } | undefined {
  const type = Object.hasOwn(types, event) ? types[event] : undefined;
  const about = /^endpoint\/(.+)$/.exec(resource)?.[1] ?? facts['endpoint'];
  if (type === undefined || typeof about !== 'string' || about === '*' || 'fault' in facts) return undefined;
  // A conn that never reached the device was refused, and that has a row of its own.
  if (type === 'CLOSED' && isFaultCode(facts['cause'])) return undefined;
  if (type === 'DENIED' && facts['action'] !== 'endpoint.connect') return undefined;
  return { type, endpoint: about };
}

const isFaultCode = (cause: unknown): cause is FaultCode => typeof cause === 'string' && Object.hasOwn(faults, cause);

export function toLogEntry(
  row: LogRow,
  type: NapterEvent,
  endpoint: Endpoint,
  device: DeviceFacts | undefined,
  operatorId: string,
): NapterLogEntry {
  const named = deviceOf(endpoint);
  const reached = named && device?.addressOf(named.service);
  const destination = addressOf(reached) ?? { host: undefined, port: endpoint.napter?.port };
  const source = addressOf(row.from ?? undefined);
  return {
    connectionId: row.session ?? endpoint.id,
    createdAt: Date.parse(row.at),
    direction: {
      ...(destination.host === undefined ? {} : { destinationIPAddress: destination.host }),
      ...(destination.port === undefined ? {} : { destinationPort: destination.port }),
      ...(source ? { sourceIPAddress: source.host, sourcePort: source.port } : {}),
    },
    imsi: endpoint.napter?.imsi ?? device?.imsi ?? named?.device ?? '',
    operatorId,
    tls: endpoint.tls === 'end',
    type,
  };
}

function addressOf(text: string | undefined): { host: string; port: number } | undefined {
  const parts = /^(?:\w+:\/\/)?(?:\[([^\]]+)\]|([^:/]+)):(\d+)$/.exec(text ?? '');
  const host = parts?.[1] ?? parts?.[2];
  return host === undefined ? undefined : { host, port: Number(parts?.[3]) };
}
