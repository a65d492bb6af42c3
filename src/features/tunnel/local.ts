// The second front door of tunnel: what runs beside the application (`tunnel connect`, the agent), in a small closure.
// Imports here lead to node builtins, ws, core, wire and net/websocket.ts only: the agent is bundled from them.
export { type JoinedTunnel, type JoinOptions, joinTunnel, type LocalService, type TunnelEnd } from './join-tunnel.ts';
export { endpointOf } from './local-dial.ts';
export { type ProxyAddress, proxyFor } from './local-proxy.ts';
