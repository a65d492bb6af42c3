// What a caller may do through the API: one of their roles grants it, and their token's scope does not leave it out.
import { roleFor } from '../access/index.ts';
import type { Rights } from '../api/index.ts';
import type { Action, Principal } from '../core/parts.ts';
import type { Role } from '../trust/index.ts';

/** trust carries roles as groups of this form, which nobody can join. */
const roleGroup = 'role:';

export function rightsOf(who: Principal): Rights {
  const groups = who.groups.filter(group => group.startsWith(roleGroup));
  const scope = scopeOf(who);
  return {
    roles: groups.map(group => group.slice(roleGroup.length) as Role),
    ...(scope ? { scope } : {}),
    grants(action: Action) {
      const rule = roleFor(groups, action);
      if (rule === undefined) return undefined;
      return !scope || scope.some(pattern => fits(pattern, action)) ? rule : undefined;
    },
  };
}

/** `*` alone is everything its user may; the same as no scope. */
function scopeOf(who: Principal): readonly string[] | undefined {
  const scope = who.attributes.get('scope');
  return scope === undefined || scope.includes('*') ? undefined : scope;
}

/** `cert.issue`, `cert.*`. */
const fits = (pattern: string, action: string): boolean =>
  pattern === action || (pattern.endsWith('.*') && action.startsWith(pattern.slice(0, -1)));
