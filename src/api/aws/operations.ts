// The eight operations of AWS IoT Secure Tunneling (API 2018-10-05): one row each, with what it asks of the caller.
import type { AccessRequest, Action } from '../../core/parts.ts';
import { idOfArn, type TunnelService, type TunnelView } from '../../features/tunnel/index.ts';
import type { Caller } from '../caller.ts';
import type { VerbName } from '../contract/routes.ts';
import type { Call } from '../verbs.ts';
import { AwsError, invalidValue } from './error.ts';
import {
  boolean,
  clientMode,
  description,
  destinationConfig,
  type Input,
  maxResults,
  nextToken,
  optional,
  required,
  resourceArn,
  tagKeys,
  tags,
  thing,
  timeoutConfig,
  tunnelId,
} from './shapes.ts';

export interface Request {
  readonly input: Input;
  readonly caller: Caller;
  readonly tunnels: TunnelService;
  readonly note: Call<VerbName>['note'];
}

export interface Operation {
  readonly action: Action;
  /** Reads are decided without an audit row each; what changes something is written down. */
  readonly changes: boolean;
  /** Checks the input, and says what it is about. @throws AwsError */
  readonly resource: (input: Input) => AccessRequest['resource'];
  readonly run: (request: Request) => Promise<object>;
}

const ofTunnel = (input: Input): string => `tunnel/${required(input, 'tunnelId', tunnelId)}`;
const ofArn = (input: Input): string => {
  const arn = required(input, 'resourceArn', resourceArn);
  return `tunnel/${idOfArn(arn) ?? arn}`;
};

const operation = (row: Operation): Operation => row;

export const operations: Readonly<Record<string, Operation>> = {
  OpenTunnel: operation({
    action: 'tunnel.open',
    changes: true,
    resource: input => `device/${optional(input, 'destinationConfig', destinationConfig)?.thingName ?? '*'}`,
    async run({ input, caller, tunnels, note }) {
      const destination = optional(input, 'destinationConfig', destinationConfig);
      const minutes = optional(input, 'timeoutConfig', timeoutConfig);
      const opened = await tunnels.open(
        {
          ...{ thing: destination?.thingName, services: destination?.services ?? [] },
          ...{ description: optional(input, 'description', description), tags: optional(input, 'tags', tags) ?? [] },
          lifetime: minutes === undefined ? undefined : minutes * 60_000,
        },
        caller.who,
      );
      const { tunnel } = opened;
      note({ tunnel: tunnel.id, services: tunnel.services, until: tunnel.expires.toISOString() });
      return {
        ...{ tunnelId: tunnel.id, tunnelArn: tunnel.arn },
        ...{ sourceAccessToken: opened.sourceToken, destinationAccessToken: opened.destinationToken },
      };
    },
  }),
  CloseTunnel: operation({
    action: 'tunnel.close',
    changes: true,
    resource: ofTunnel,
    async run({ input, tunnels }) {
      const erase = optional(input, 'delete', boolean) ?? false;
      await tunnels.close(required(input, 'tunnelId', tunnelId), { erase });
      return {};
    },
  }),
  DescribeTunnel: operation({
    action: 'tunnel.list',
    changes: false,
    resource: ofTunnel,
    run: async ({ input, tunnels }) => ({ tunnel: describe(tunnels.get(required(input, 'tunnelId', tunnelId))) }),
  }),
  ListTunnels: operation({
    action: 'tunnel.list',
    changes: false,
    resource: () => 'tunnel/*',
    run: async ({ input, tunnels }) => page(input, tunnels),
  }),
  RotateTunnelAccessToken: operation({
    action: 'tunnel.rotate',
    changes: true,
    resource: ofTunnel,
    async run({ input, tunnels, note }) {
      const mode = required(input, 'clientMode', clientMode);
      const destination = optional(input, 'destinationConfig', destinationConfig);
      if (mode === 'SOURCE' && destination) {
        throw invalidValue('destinationConfig', 'Must not be present when clientMode is SOURCE');
      }
      note({ side: mode.toLowerCase() });
      const sides = mode === 'ALL' ? (['source', 'destination'] as const) : ([modes[mode]] as const);
      const rotated = await tunnels.rotate(
        required(input, 'tunnelId', tunnelId),
        sides,
        destination && { thing: destination.thingName, services: destination.services },
      );
      return {
        tunnelArn: rotated.tunnel.arn,
        ...(rotated.sourceToken === undefined ? {} : { sourceAccessToken: rotated.sourceToken }),
        ...(rotated.destinationToken === undefined ? {} : { destinationAccessToken: rotated.destinationToken }),
      };
    },
  }),
  TagResource: operation({
    action: 'tunnel.tag',
    changes: true,
    resource: ofArn,
    async run({ input, tunnels }) {
      const wanted = required(input, 'tags', tags);
      await tunnels.tag(tunnels.byArn(required(input, 'resourceArn', resourceArn)).id, wanted);
      return {};
    },
  }),
  UntagResource: operation({
    action: 'tunnel.untag',
    changes: true,
    resource: ofArn,
    async run({ input, tunnels }) {
      const keys = required(input, 'tagKeys', tagKeys);
      await tunnels.untag(tunnels.byArn(required(input, 'resourceArn', resourceArn)).id, keys);
      return {};
    },
  }),
  ListTagsForResource: operation({
    action: 'tunnel.list',
    changes: false,
    resource: ofArn,
    run: async ({ input, tunnels }) => ({
      tags: [...tunnels.byArn(required(input, 'resourceArn', resourceArn)).tags],
    }),
  }),
};

const modes = { SOURCE: 'source', DESTINATION: 'destination' } as const;

/** Epoch seconds with a fraction, as a number: a string makes the SDKs throw. */
const seconds = (date: Date): number => date.getTime() / 1000;

function describe(view: TunnelView): object {
  const { id, arn, description: text, services, thing: name, tags: all, lifetime } = view;
  const side = ({ state, changed }: TunnelView['source']): object => ({
    status: state.toUpperCase(),
    ...(changed === undefined ? {} : { lastUpdatedAt: seconds(changed) }),
  });
  return {
    ...{ tunnelId: id, tunnelArn: arn, status: view.state.toUpperCase() },
    ...{ sourceConnectionState: side(view.source), destinationConnectionState: side(view.destination) },
    ...(text === undefined ? {} : { description: text }),
    // A tunnel that was opened without has none: an empty list of services would not be valid.
    ...(services.length === 0
      ? {}
      : { destinationConfig: { ...(name === undefined ? {} : { thingName: name }), services } }),
    timeoutConfig: { maxLifetimeTimeoutMinutes: Math.max(1, Math.round(lifetime / 60_000)) },
    tags: [...all],
    ...{ createdAt: seconds(view.created), lastUpdatedAt: seconds(view.updated) },
  };
}

const summary = ({ id, arn, state, description: text, created, updated }: TunnelView): object => ({
  ...{ tunnelId: id, tunnelArn: arn, status: state.toUpperCase() },
  ...(text === undefined ? {} : { description: text }),
  ...{ createdAt: seconds(created), lastUpdatedAt: seconds(updated) },
});

/** The next page begins behind the last tunnel of this one, whatever was opened or closed meanwhile. */
function page(input: Input, tunnels: TunnelService): object {
  const most = optional(input, 'maxResults', maxResults) ?? 100;
  const token = optional(input, 'nextToken', nextToken);
  const all = tunnels.list({ thing: optional(input, 'thingName', thing) });
  const after = token === undefined ? undefined : readToken(token);
  const isBehind = ({ created, id }: TunnelView): boolean =>
    after === undefined || created.getTime() < after.created || (created.getTime() === after.created && id < after.id);
  const sorted = all.sort((a, b) => b.created.getTime() - a.created.getTime() || (a.id < b.id ? 1 : -1));
  const rest = sorted.filter(isBehind);
  const shown = rest.slice(0, most);
  const last = shown.at(-1);
  return {
    tunnelSummaries: shown.map(summary),
    ...(last && rest.length > shown.length ? { nextToken: tokenAfter(last) } : {}),
  };
}

const tokenAfter = ({ created, id }: TunnelView): string =>
  Buffer.from(JSON.stringify([created.getTime(), id])).toString('base64url');

function readToken(token: string): { created: number; id: string } {
  try {
    const [created, id] = JSON.parse(Buffer.from(token, 'base64url').toString()) as unknown[];
    if (typeof created === 'number' && typeof id === 'string') return { created, id };
  } catch {
    // falls through
  }
  throw new AwsError('ValidationException', 'The nextToken is none that this gate gave.');
}
