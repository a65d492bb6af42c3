// The path of an endpoint (client → the endpoint's port → link → agent → service) beside ssh -R doing the same job, in turn.
import { beside, type Turns } from './beside.ts';
import { device, service, startLinkedGate, startService, startSsh } from './device-path.ts';
import { inScope } from './load.ts';

export const besideSsh = (turns: Turns): Promise<void> =>
  inScope(async scope => {
    const backend = await startService(scope);
    const limits = 'endpoint: { limits: { connections: 1000 } }';
    const { call, gatePid, agentPid } = await startLinkedGate(scope, backend, limits);
    const target = `device://${device}/${service}`;
    const { port } = await call<{ port: number }>('endpoint', 'open', target, '--for', '1h', '--from', '127.0.0.0/8');
    const ours = { name: 'Sekisho: endpoint, gate, agent', port, pids: [gatePid, agentPid] };
    await beside([await startSsh(scope, '-R', backend), ours], turns);
  });
