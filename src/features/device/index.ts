// The front door of devices: the registry, the link, and the Dialer for device:// targets.
export { type DeviceConfig, deviceConfig } from './config.ts';
export { enrolAlpn, enrolPurpose, linkAlpn, servicePattern } from './protocol.ts';
export { type Alias, type Device, type DeviceChange, type DeviceRegistry, openDeviceRegistry } from './registry.ts';
export { type DeviceDeps, type DeviceService, type DeviceView, openDevices } from './service.ts';
