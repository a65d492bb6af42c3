// The local bridge as vpncmd makes it: a TAP device and nothing else, since a bridge to a network card needs raw sockets.
import { packBool, packText } from '../../../wire/softether-pack.ts';
import { bridgeDevice } from '../settings.ts';
import { Refusal } from '../softether/errors.ts';
import { type Ask, aboutHub, hubOf, type RpcTable } from './table.ts';

/** SoftEther writes `00` and makes `tap_00`. */
const tapName = (device: string): string => (device.startsWith('tap_') ? device : `tap_${device}`);
const shortName = (device: string): string => device.replace(/^tap_/, '');

/** Undefined for a hub without one. */
function bridges({ service }: Ask): readonly {
  readonly hub: string;
  readonly device: string;
  readonly active: boolean;
  readonly online: boolean;
}[] {
  return service.hubs.list().flatMap(({ name, settings, hub }) => {
    if (settings.bridge === undefined) return [];
    const port = hub?.ownPorts().find(({ kind }) => kind === 'bridge');
    return [{ hub: name, device: settings.bridge, active: port?.active ?? false, online: hub !== undefined }];
  });
}

export const bridgeFunctions: RpcTable = {
  GetBridgeSupport: {
    run: () => ({ IsBridgeSupportedOs: process.platform === 'linux', IsWinPcapNeeded: 0 }),
  },
  // Network cards cannot be bridged: use a TAP and the kernel's own bridge.
  EnumEthernet: { run: () => ({ NumItem: 0 }) },
  AddLocalBridge: {
    action: 'vpn.bridge-create',
    about: aboutHub('HubNameLB'),
    run: async ask => {
      const { name, settings } = hubOf(ask, 'HubNameLB');
      if (!packBool(ask.pack, 'TapMode'))
        throw new Refusal('no-bridge-here', 'only TAP devices are bridged (/TAP:yes); the kernel bridges the rest');
      if (settings.bridge !== undefined) throw new Refusal('object-exists', 'the hub has a bridge already');
      const device = tapName(packText(ask.pack, 'DeviceName'));
      if (!bridgeDevice.safeParse(device).success) throw new Refusal('invalid-parameter', 'this is no name of a TAP');
      if (bridges(ask).some(other => other.device === device))
        throw new Refusal('object-exists', 'another hub has this device');
      try {
        await ask.service.hubs.change(name, { bridge: device });
      } catch (error) {
        await ask.service.hubs.change(name, { bridge: '' }).catch(() => {});
        throw error;
      }
      return { DeviceName: shortName(device), HubNameLB: name, TapMode: 1 };
    },
  },
  DeleteLocalBridge: {
    action: 'vpn.bridge-delete',
    about: aboutHub('HubNameLB'),
    run: async ask => {
      const { name, settings } = hubOf(ask, 'HubNameLB');
      const device = tapName(packText(ask.pack, 'DeviceName'));
      if (settings.bridge !== device) throw new Refusal('no-such-object', 'the hub has no such bridge');
      await ask.service.hubs.change(name, { bridge: '' });
      return { DeviceName: shortName(device), HubNameLB: name, TapMode: 1 };
    },
  },
  EnumLocalBridge: {
    run: ask => {
      const list = bridges(ask);
      return {
        NumItem: list.length,
        DeviceName: list.map(({ device }) => shortName(device)),
        HubNameLB: list.map(({ hub }) => hub),
        Online: list.map(({ online }) => online),
        Active: list.map(({ active }) => active),
        TapMode: list.map(() => true),
      };
    },
  },
};
