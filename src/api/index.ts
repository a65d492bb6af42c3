// The API's front door.
export { type BackupEntry, restoreBackup, sealBackup } from './backup.ts';
export type * from './deps.ts';
export type { DeviceHouse } from './device.ts';
export { cutWeak } from './factor.ts';
export type { HttpDoor, HttpLimits } from './http-server.ts';
export { type Api, createApi } from './server.ts';
