// The front door of tunnel: a drop-in for AWS IoT Secure Tunneling. (What runs beside the application: local.ts.)
export type { Devices } from './broker.ts';
export { longestLifetime, type MqttPlan, planMqtt, type TunnelConfig } from './config.ts';
export type { NewTunnel, Notifier, OpenedTunnel, RotatedTokens, TunnelDeps, TunnelService } from './deps.ts';
export type { Door } from './door.ts';
export { joinStreams } from './join-streams.ts';
export { type MqttBroker, openMqttBroker } from './mqtt-broker.ts';
export { createPublisher } from './mqtt-publisher.ts';
export { idOfArn, type Tag, type TunnelView } from './record.ts';
export { openTunnels } from './service.ts';
export type { SideName } from './token.ts';
