// SoftEther's PACK: a bag of named lists of values, big-endian, with no length that is believed before its bytes are there.
//
//   pack      count u32 | element …
//   element   name length + 1 u32 | name (1–63 bytes, ASCII, case does not matter) | type u32 | values u32 | value …
//   value     0 int u32 · 1 data <4> · 2 str <4> · 3 unistr <4>, UTF-8 with a NUL at its end · 4 int64 u64      <4> = u32 length, bytes
import { Fault } from '../core/fault.ts';
import { formatIp, ipBytes, parseIp } from './ip.ts';

const types = ['int', 'data', 'str', 'unistr', 'int64'] as const;
export type PackType = (typeof types)[number];

export interface PackElement {
  /** As it was written. */
  readonly name: string;
  readonly type: PackType;
  /** At least one: numbers for int, bigints for int64, Buffers for data, text for the others. */
  readonly values: readonly (number | bigint | Buffer | string)[];
}
/** By name in lower case. */
export type Pack = ReadonlyMap<string, PackElement>;

/** The least bytes that a value of each type takes. */
const least: Readonly<Record<PackType, number>> = { int: 4, data: 4, str: 4, unistr: 4, int64: 8 };
const longestName = 63;

/**
 * Everything that a PACK says; bytes after its last element are left alone, as SoftEther does. `data` values are views.
 * @throws Fault `protocol`
 */
export function decodePack(bytes: Uint8Array): Pack {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const pack = new Map<string, PackElement>();
  let at = 0;
  const take = (count: number): number => {
    if (count > buffer.length - at) throw wrong('ends too early');
    at += count;
    return at - count;
  };
  const u32 = (): number => buffer.readUInt32BE(take(4));
  const block = (): Buffer => {
    const length = u32();
    const from = take(length);
    return buffer.subarray(from, at);
  };
  const read: Record<PackType, () => number | bigint | Buffer | string> = {
    int: u32,
    data: block,
    str: () => untilNul(block().toString('utf8')),
    unistr: () => untilNul(block().toString('utf8')),
    int64: () => buffer.readBigUInt64BE(take(8)),
  };
  const count = u32();
  if (count > (buffer.length - at) / 17) throw wrong('announces more elements than it has bytes for');
  for (let index = 0; index < count; index++) {
    const length = u32() - 1;
    if (length < 1 || length > longestName) throw wrong('has an element without a proper name');
    const from = take(length);
    const name = buffer.toString('latin1', from, at);
    if (!/^[\x20-\x7e]+$/.test(name)) throw wrong('has an element whose name is not ASCII');
    const type = types[u32()];
    if (!type) throw wrong('has a value of an unknown type');
    const amount = u32();
    if (amount === 0) throw wrong('has an element without values');
    if (amount > (buffer.length - at) / least[type]) throw wrong('announces more values than it has bytes for');
    const key = name.toLowerCase();
    if (pack.has(key)) throw wrong('names an element twice');
    const values: (number | bigint | Buffer | string)[] = [];
    for (let each = 0; each < amount; each++) values.push(read[type]());
    pack.set(key, { name, type, values });
  }
  return pack;
}

const untilNul = (text: string): string => {
  const end = text.indexOf('\0');
  return end < 0 ? text : text.slice(0, end);
};

// --- Reading --------------------------------------------------------------------------------------------------------
// What is missing, or of another type, reads as 0, empty or absent.

const findValue = (pack: Pack, name: string, type: PackType, index: number): unknown => {
  const element = pack.get(name.toLowerCase());
  return element?.type === type ? element.values[index] : undefined;
};
export const packInt = (pack: Pack, name: string, index = 0): number =>
  (findValue(pack, name, 'int', index) as number | undefined) ?? 0;
export const packBool = (pack: Pack, name: string, index = 0): boolean => packInt(pack, name, index) !== 0;
export const packBig = (pack: Pack, name: string, index = 0): bigint =>
  (findValue(pack, name, 'int64', index) as bigint | undefined) ?? 0n;
export const packData = (pack: Pack, name: string, index = 0): Buffer | undefined =>
  findValue(pack, name, 'data', index) as Buffer | undefined;
/** Of either kind of text, trimmed. */
export const packText = (pack: Pack, name: string, index = 0): string =>
  String(findValue(pack, name, 'str', index) ?? findValue(pack, name, 'unistr', index) ?? '').trim();
export const packLength = (pack: Pack, name: string): number => pack.get(name.toLowerCase())?.values.length ?? 0;
/** Undefined for a time that is 0 = never. */
export const packTime = (pack: Pack, name: string, index = 0): Date | undefined => {
  const value = packBig(pack, name, index);
  const date = new Date(Number(value) + nineHours);
  return value === 0n || Number.isNaN(date.getTime()) ? undefined : date;
};
/** An address, `''` for 0.0.0.0. IPv6 where its companion says so. */
export function packIp(pack: Pack, name: string, index = 0): string {
  const wide = packData(pack, `${name}@ipv6_array`, index);
  if (packBool(pack, `${name}@ipv6_bool`, index) && wide?.length === 16) return formatIp(wide);
  const value = packInt(pack, name, index);
  return value === 0 ? '' : [0, 8, 16, 24].map(shift => (value >>> shift) & 255).join('.');
}

// --- Writing --------------------------------------------------------------------------------------------------------

/** Text as `unistr`. */
export interface Unistr {
  readonly unistr: string;
}
export type PackScalar = number | boolean | bigint | string | Uint8Array | Unistr | Date;
/** What is undefined and what is an empty list is left out: SoftEther refuses an element without values. */
export type PackFields = Readonly<Record<string, PackScalar | readonly PackScalar[] | undefined>>;

export const unistr = (text: string): Unistr => ({ unistr: text });

/** @throws Fault `bug` for a name or a mixture that no PACK can hold */
export function encodePack(fields: PackFields): Buffer {
  const parts: Buffer[] = [];
  let count = 0;
  for (const [name, field] of Object.entries(fields)) {
    const values = field === undefined ? [] : Array.isArray(field) ? field : [field as PackScalar];
    if (values.length === 0) continue;
    if (!/^[\x20-\x7e]{1,63}$/.test(name)) throw new Fault('bug', `"${name}" cannot name an element of a PACK`);
    const type = typeOf(values[0] as PackScalar);
    if (values.some(value => typeOf(value as PackScalar) !== type)) throw new Fault('bug', `${name} mixes types`);
    count++;
    parts.push(u32(name.length + 1), Buffer.from(name, 'latin1'), u32(types.indexOf(type)), u32(values.length));
    for (const value of values as readonly PackScalar[]) parts.push(...encodeValue(value));
  }
  return Buffer.concat([u32(count), ...parts]);
}

const u32 = (value: number): Buffer => {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
};

function typeOf(value: PackScalar): PackType {
  if (typeof value === 'number' || typeof value === 'boolean') return 'int';
  if (typeof value === 'bigint' || value instanceof Date) return 'int64';
  if (typeof value === 'string') return 'str';
  return value instanceof Uint8Array ? 'data' : 'unistr';
}

function encodeValue(value: PackScalar): Buffer[] {
  if (typeof value === 'number' || typeof value === 'boolean') return [u32(Number(value))];
  if (typeof value === 'bigint') return [u64(value)];
  if (value instanceof Date) return [u64(encodeTime(value))];
  if (typeof value === 'string') return prefixed(Buffer.from(value.replaceAll('\0', ''), 'utf8'));
  if (value instanceof Uint8Array) return prefixed(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
  return prefixed(Buffer.from(`${value.unistr.replaceAll('\0', '')}\0`, 'utf8'));
}
const prefixed = (bytes: Buffer): Buffer[] => [u32(bytes.length), bytes];
const u64 = (value: bigint): Buffer => {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeBigUInt64BE(BigInt.asUintN(64, value));
  return bytes;
};

/** SoftEther's clock: milliseconds since 1970 less nine hours (its authors' zone). 0 = never. */
const nineHours = 32_400_000;
const encodeTime = (date: Date): bigint =>
  date.getTime() <= nineHours ? 0n : BigInt(Math.floor(date.getTime()) - nineHours);
/** A time that may be missing. */
export const timeOrNever = (date: Date | undefined): Date => date ?? new Date(0);

/**
 * An address as SoftEther writes it: an int whose lowest byte is the first octet, and three companions for IPv6.
 * `''` and what is no address is 0.0.0.0.
 */
export function ipFields(name: string, address: string | readonly string[]): PackFields {
  const list = typeof address === 'string' ? [address] : address;
  const parsed = list.map(text => parseIp(text));
  const fields: Record<string, readonly PackScalar[]> = {
    [name]: parsed.map(ip => (ip?.family === 4 ? ipBytes(ip, 4).readUInt32LE() : 0)),
    [`${name}@ipv6_bool`]: parsed.map(ip => ip?.family === 6),
    [`${name}@ipv6_array`]: parsed.map(ip => (ip?.family === 6 ? ipBytes(ip, 16) : Buffer.alloc(16))),
    [`${name}@ipv6_scope_id`]: parsed.map(() => 0),
  };
  return fields;
}

const wrong = (what: string): Fault => new Fault('protocol', `the PACK ${what}`);
