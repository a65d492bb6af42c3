// The room's SQL: hubs made at run time, members, groups, the administrators' password; read once, then kept in memory.
import type { Store, VpnAdminTable, VpnGroupTable, VpnHubTable, VpnMemberTable } from '../../store/index.ts';

export type HubRow = Readonly<VpnHubTable>;
export type MemberRow = Readonly<VpnMemberTable>;
export type GroupRow = Readonly<VpnGroupTable>;
export type AdminRow = Readonly<VpnAdminTable>;

/** Each change is in the database before the memory says so. */
export interface VpnStore {
  hubs(): readonly HubRow[];
  saveHub(row: HubRow): Promise<void>;
  /** With its members and groups. */
  deleteHub(name: string): Promise<void>;
  members(hub: string): readonly MemberRow[];
  allMembers(): Iterable<MemberRow>;
  member(hub: string, user: string): MemberRow | undefined;
  saveMember(row: MemberRow): Promise<void>;
  deleteMember(hub: string, user: string): Promise<void>;
  /** The rows went with the user; memory follows. */
  forgetUser(user: string): void;
  groups(hub: string): readonly GroupRow[];
  saveGroup(row: GroupRow): Promise<void>;
  deleteGroup(hub: string, name: string): Promise<void>;
  admin(): AdminRow | undefined;
  saveAdmin(row: AdminRow | undefined): Promise<void>;
}

export async function openVpnStore({ db }: Pick<Store, 'db'>): Promise<VpnStore> {
  const hubs = new Map((await db.selectFrom('vpn_hub').selectAll().execute()).map(row => [row.name, row]));
  const members = new Map(
    (await db.selectFrom('vpn_member').selectAll().execute()).map(row => [keyOf(row.hub, row.user), row]),
  );
  const groups = new Map(
    (await db.selectFrom('vpn_group').selectAll().execute()).map(row => [keyOf(row.hub, row.name), row]),
  );
  let admin = await db.selectFrom('vpn_admin').selectAll().executeTakeFirst();
  return {
    hubs: () => [...hubs.values()],
    async saveHub(row) {
      await db
        .insertInto('vpn_hub')
        .values(row)
        .onConflict(conflict => conflict.column('name').doUpdateSet(row))
        .execute();
      hubs.set(row.name, row);
    },
    async deleteHub(name) {
      await db.transaction().execute(async transaction => {
        await transaction.deleteFrom('vpn_member').where('hub', '=', name).execute();
        await transaction.deleteFrom('vpn_group').where('hub', '=', name).execute();
        await transaction.deleteFrom('vpn_hub').where('name', '=', name).execute();
      });
      hubs.delete(name);
      for (const [key, row] of members) if (row.hub === name) members.delete(key);
      for (const [key, row] of groups) if (row.hub === name) groups.delete(key);
    },
    members: hub => [...members.values()].filter(row => row.hub === hub).sort((a, b) => (a.user < b.user ? -1 : 1)),
    allMembers: () => members.values(),
    member: (hub, user) => members.get(keyOf(hub, user)),
    async saveMember(row) {
      await db
        .insertInto('vpn_member')
        .values(row)
        .onConflict(conflict => conflict.columns(['hub', 'user']).doUpdateSet(row))
        .execute();
      members.set(keyOf(row.hub, row.user), row);
    },
    async deleteMember(hub, user) {
      await db.deleteFrom('vpn_member').where('hub', '=', hub).where('user', '=', user).execute();
      members.delete(keyOf(hub, user));
    },
    forgetUser(user) {
      for (const [key, row] of members) if (row.user === user) members.delete(key);
    },
    groups: hub => [...groups.values()].filter(row => row.hub === hub).sort((a, b) => (a.name < b.name ? -1 : 1)),
    async saveGroup(row) {
      await db
        .insertInto('vpn_group')
        .values(row)
        .onConflict(conflict => conflict.columns(['hub', 'name']).doUpdateSet(row))
        .execute();
      groups.set(keyOf(row.hub, row.name), row);
    },
    async deleteGroup(hub, name) {
      await db.deleteFrom('vpn_group').where('hub', '=', hub).where('name', '=', name).execute();
      groups.delete(keyOf(hub, name));
    },
    admin: () => admin,
    async saveAdmin(row) {
      await db.transaction().execute(async transaction => {
        await transaction.deleteFrom('vpn_admin').execute();
        if (row) await transaction.insertInto('vpn_admin').values(row).execute();
      });
      admin = row;
    },
  };
}

const keyOf = (hub: string, name: string): string => `${hub}/${name}`;
