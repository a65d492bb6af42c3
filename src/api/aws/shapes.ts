// The service model's types, checked: the command line of AWS checks hardly anything itself.
import type { Tag } from '../../features/tunnel/index.ts';
import { AwsError, invalidValue } from './error.ts';

export type Input = Readonly<Record<string, unknown>>;
/** Reads a member of a structure. @throws AwsError */
export type Shape<T> = (value: unknown, field: string) => T;

/** One JSON object; fields that no operation has are ignored, as AWS ignores them. */
export function optional<T>(input: Input, field: string, shape: Shape<T>): T | undefined {
  const value = input[field];
  // A null is as good as nothing: some serialisers write it.
  return value === undefined || value === null ? undefined : shape(value, field);
}
export function required<T>(input: Input, field: string, shape: Shape<T>): T {
  const value = optional(input, field, shape);
  if (value === undefined) throw invalidValue(field, 'Member must not be null');
  return value;
}

const text =
  (pattern: RegExp, longest: number, shortest = 1): Shape<string> =>
  (value, field) => {
    if (typeof value !== 'string') throw wrongType(field, 'a string');
    const { length } = [...value];
    if (length > longest) throw invalidValue(field, `Member must have length less than or equal to ${longest}`);
    if (length < shortest) throw invalidValue(field, `Member must have length greater than or equal to ${shortest}`);
    if (!pattern.test(value))
      throw invalidValue(field, `Member must satisfy regular expression pattern: ${pattern.source}`);
    return value;
  };
const whole =
  (least: number, most: number): Shape<number> =>
  (value, field) => {
    if (typeof value !== 'number' || !Number.isInteger(value)) throw wrongType(field, 'an integer');
    if (value < least) throw invalidValue(field, `Member must have value greater than or equal to ${least}`);
    if (value > most) throw invalidValue(field, `Member must have value less than or equal to ${most}`);
    return value;
  };
const list =
  <T>(member: Shape<T>, least: number, most: number): Shape<T[]> =>
  (value, field) => {
    if (!Array.isArray(value)) throw wrongType(field, 'a list');
    if (value.length < least) throw invalidValue(field, `Member must have length greater than or equal to ${least}`);
    if (value.length > most) throw invalidValue(field, `Member must have length less than or equal to ${most}`);
    return value.map((one, index) => member(one, `${field}.${index + 1}.member`));
  };
const structure =
  <T>(read: (input: Input, field: string) => T): Shape<T> =>
  (value, field) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrongType(field, 'a structure');
    return read(value as Input, field);
  };
const wrongType = (field: string, what: string): AwsError =>
  new AwsError('SerializationException', `'${field}' must be ${what}`);

/** A member with the name of its structure before it, as AWS names it. */
const inside =
  (field: string) =>
  <T>(shape: Shape<T>): Shape<T> =>
  (value, name) =>
    shape(value, `${field}.${name}`);

export const tunnelId = text(/^[a-zA-Z0-9_\-+=:]{1,128}$/, 128);
export const resourceArn = text(/^[\s\S]*$/, 1011);
export const description = text(/^[^\p{C}]{1,2048}$/u, 2048);
export const thing = text(/^[a-zA-Z0-9:_-]+$/, 128);
export const service = text(/^[a-zA-Z0-9:_-]+$/, 128);
export const nextToken = text(/^[a-zA-Z0-9_=-]{1,4096}$/, 4096);
export const maxResults = whole(1, 100);
export const boolean: Shape<boolean> = (value, field) => {
  if (typeof value !== 'boolean') throw wrongType(field, 'true or false');
  return value;
};
export const clientMode: Shape<'SOURCE' | 'DESTINATION' | 'ALL'> = (value, field) => {
  if (value === 'SOURCE' || value === 'DESTINATION' || value === 'ALL') return value;
  if (typeof value !== 'string') throw wrongType(field, 'a string');
  throw invalidValue(field, 'Member must satisfy enum value set: [SOURCE, DESTINATION, ALL]');
};

const tagText = /^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$/u;
const tagKey = text(tagText, 128);
const tag: Shape<Tag> = structure((input, field) => {
  const at = inside(field);
  return { key: required(input, 'key', at(tagKey)), value: required(input, 'value', at(text(tagText, 256, 0))) };
});
export const tags: Shape<Tag[]> = (value, field) => {
  const found = list(tag, 1, 200)(value, field);
  if (new Set(found.map(({ key }) => key)).size < found.length) throw invalidValue(field, 'Keys must be unique');
  return found;
};
export const tagKeys = list(tagKey, 0, 200);

export interface DestinationConfig {
  readonly thingName: string | undefined;
  readonly services: string[];
}
export const destinationConfig: Shape<DestinationConfig> = structure((input, field) => {
  const at = inside(field);
  const services = required(input, 'services', at(list(service, 1, 1000)));
  if (new Set(services).size < services.length) throw invalidValue(`${field}.services`, 'Members must be unique');
  return { thingName: optional(input, 'thingName', at(thing)), services };
});
/** Minutes. */
export const timeoutConfig: Shape<number | undefined> = structure((input, field) =>
  optional(input, 'maxLifetimeTimeoutMinutes', inside(field)(whole(1, 720))),
);
