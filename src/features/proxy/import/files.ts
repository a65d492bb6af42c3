// Files that nginx's directives name.

/** How a path of nginx's is written: `file:` and absolute. */
export type FilePath = (path: string) => string;

/** Not a variable, an engine's or a store's key, or a key written out in place. */
export const isFile = (path: string | undefined): boolean =>
  path !== undefined && path !== '' && !/\$|^(data|engine|store):/.test(path);
