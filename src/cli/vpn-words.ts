// How members, groups and policies are written on the command line.
import { Fault } from '../core/fault.ts';

/** For commander: one `item=value` after the other. @throws Fault `invalid` */
export function parsePolicy(
  item: string,
  before: Record<string, boolean | number> = {},
): Record<string, boolean | number> {
  if (item === 'none') return {};
  const [, key, value] = /^([A-Za-z0-9]+)=(true|false|\d+)$/.exec(item) ?? [];
  if (!key || value === undefined)
    throw new Fault('invalid', `--policy: write item=true, item=false or item=number, not "${item}"`);
  return { ...before, [key]: value === 'true' ? true : value === 'false' ? false : Number(value) };
}

/** `mikalab/staff01`. @throws Fault `invalid` */
export function pathOf(text: string, what = 'NAME'): readonly [hub: string, name: string] {
  const [, hub, name] = /^([^/]+)\/([^/]+)$/.exec(text) ?? [];
  if (!hub || !name) throw new Fault('invalid', `write HUB/${what}, like mikalab/staff01, not "${text}"`);
  return [hub, name];
}
