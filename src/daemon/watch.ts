// Files that are watched for being saved, by whatever way an editor or a certificate tool saves.
import { type FSWatcher, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Log } from '../core/parts.ts';

/** A save is several events, and a certificate comes with its key. */
const settle = 200;

/**
 * Calls back after one of the files was saved. Folders are watched, not files: who saves by renaming leaves a watched
 * file silent. Files that join `paths` after a call are watched as well.
 */
export function watchFiles(paths: ReadonlySet<string>, log: Log, changed: () => void): Disposable {
  const watchers = new Map<string, FSWatcher>();
  let soon: NodeJS.Timeout | undefined;
  const look = (): void => {
    for (const folder of new Set([...paths].map(dirname))) if (!watchers.has(folder)) open(folder);
  };
  const open = (folder: string): void => {
    try {
      const watcher = watch(folder, { persistent: false }, (_, name) => {
        const isOurs = name === null || [...paths].some(path => dirname(path) === folder && basename(path) === name);
        if (!isOurs) return;
        clearTimeout(soon);
        soon = setTimeout(() => {
          changed();
          soon = setTimeout(look, settle);
        }, settle);
      });
      watcher.on('error', error =>
        log.warn({ folder, error }, 'this folder is no longer watched; sekisho reload still works'),
      );
      watchers.set(folder, watcher);
    } catch (error) {
      log.warn({ folder, error }, 'this folder cannot be watched; sekisho reload still works');
    }
  };
  look();
  return {
    [Symbol.dispose]() {
      clearTimeout(soon);
      for (const watcher of watchers.values()) watcher.close();
    },
  };
}
