// What `tunnel connect` loads of the daemon: the local side of tunnels, and nothing else, so that ssh need not wait for it.
export {
  endpointOf,
  type JoinedTunnel,
  joinTunnel,
  type LocalService,
  proxyFor,
  type TunnelEnd,
} from '../features/tunnel/local.ts';
export { markAtOnce } from '../net/marking.ts';
