// Objects without their undefined keys, as `exactOptionalPropertyTypes` and JSON want them.

type Optional<T> = { [K in keyof T]: undefined extends T[K] ? K : never }[keyof T];
export type Defined<T> = { [K in Exclude<keyof T, Optional<T>>]: T[K] } & {
  [K in Optional<T>]?: Exclude<T[K], undefined>;
};

/** Without the keys whose value is undefined. */
export function defined<T extends object>(value: T): Defined<T> {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as never;
}
