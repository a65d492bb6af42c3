// The front door of devices: the registry, the link, and the Dialer for device:// targets.
export { type DeviceConfig, deviceConfig } from './config.ts';
export { enrolAlpn, enrolPurpose, linkAlpn, servicePattern } from './protocol.ts';
export { type Alias, type Device, type DeviceChange, type DeviceRegistry, openDeviceRegistry } from './registry.ts';
export { type DeviceDeps, type DeviceService, type DeviceView, openDevices } from './service.ts';
export { type HostKeys, openHostKeys, type PinnedKey } from './terminal/host-keys.ts';

export { openRecordings, type Recordings, type RecordingView } from './terminal/recording.ts';
export { serveTerminal, type TerminalDeps } from './terminal/terminal.ts';
