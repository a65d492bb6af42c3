// What Windows' dialog has room for, read as a hub and a member: HUB\user, user@HUB, or the user alone.

export interface NamedMember {
  readonly hub: string;
  readonly user: string;
}

/** `hubs` are those that speak SSTP. A name alone means the only one of them; undefined = it cannot be said which. */
export function memberOf(name: string, hubs: readonly string[]): NamedMember | undefined {
  const slash = name.indexOf('\\');
  if (slash > 0) return { hub: name.slice(0, slash), user: name.slice(slash + 1) };
  const at = name.lastIndexOf('@');
  const behind = name.slice(at + 1).toLowerCase();
  const hub = at > 0 ? hubs.find(one => one.toLowerCase() === behind) : undefined;
  if (hub !== undefined) return { hub, user: name.slice(0, at) };
  const [only, ...others] = hubs;
  return only === undefined || others.length > 0 ? undefined : { hub: only, user: name.replace(/^\\/, '') };
}

/** MS-CHAPv2 hashes the name without the domain before it (RFC 2759 §4). */
export const hashedName = (name: Buffer): Buffer => name.subarray(name.lastIndexOf(0x5c) + 1);
