/**
 * @file What must not happen beside a refusal: a write outside the scratch folder, a changed prototype.
 *
 * In: the folders (real paths) that may be written into. Out: a function that names what happened since it was last called, or null.
 * Imported and called before the readers are loaded: node:fs is watched by replacing its writing functions for this process.
 */
import * as fs from "node:fs";
import { createRequire, syncBuiltinESMExports } from "node:module";
import { basename, dirname, join, resolve, sep } from "node:path";

/** Functions of node:fs that change something, with the places of the paths they change. */
const writers = {
  ...{
    writeFileSync: [0],
    appendFileSync: [0],
    mkdirSync: [0],
    rmSync: [0],
    rmdirSync: [0],
    unlinkSync: [0],
    truncateSync: [0],
  },
  ...{ renameSync: [0, 1], copyFileSync: [1], cpSync: [1], symlinkSync: [1], linkSync: [1], mkdtempSync: [0] },
  ...{ chmodSync: [0], chownSync: [0], utimesSync: [0], createWriteStream: [0] },
  ...{ writeFile: [0], appendFile: [0], mkdir: [0], rm: [0], rmdir: [0], unlink: [0], truncate: [0], rename: [0, 1] },
  ...{ copyFile: [1], cp: [1], symlink: [1], link: [1], mkdtemp: [0], chmod: [0], chown: [0], utimes: [0] },
} as const satisfies Record<string, readonly number[]>;

/** Opening a file writes where the flags say so. */
const openers = ["openSync", "open"];
const writes = (flags: unknown) =>
  typeof flags === "number"
    ? (flags & (fs.constants.O_WRONLY | fs.constants.O_RDWR | fs.constants.O_CREAT)) !== 0
    : typeof flags === "string" && /[wa+]/.test(flags);

export function guard(folders: readonly string[]): () => string | null {
  const inside = (path: string) => folders.some((folder) => path === folder || path.startsWith(folder + sep));
  const outside: string[] = [];
  const real = fs.realpathSync.bind(fs);
  const check = (name: string, path: unknown) => {
    const written = `${name} ${String(path)}`;
    try {
      const at = resolve(String(path));
      // where the last name is a link, what it leads to is written for a write, and itself for a removal; both must be inside
      const own = join(real(dirname(at)), basename(at));
      if (!inside(own)) outside.push(written);
      else if (/^(write|append|truncate|open|create)/.test(name) && fs.existsSync(own) && !inside(real(own)))
        outside.push(`${written} through a link`);
    } catch {
      if (!inside(resolve(String(path)))) outside.push(written);
    }
  };
  const watch = (module: Record<string, unknown>) => {
    for (const [name, places] of Object.entries(writers)) {
      const original = module[name] as ((...given: unknown[]) => unknown) | undefined;
      if (typeof original !== "function") continue;
      module[name] = (...given: unknown[]) => {
        for (const place of places) check(name, given[place]);
        return original.apply(module, given);
      };
    }
    for (const name of openers) {
      const original = module[name] as ((...given: unknown[]) => unknown) | undefined;
      if (typeof original !== "function") continue;
      module[name] = (...given: unknown[]) => {
        if (writes(given[1])) check(name, given[0]);
        return original.apply(module, given);
      };
    }
  };
  const require = createRequire(import.meta.url);
  watch(require("node:fs"));
  watch(require("node:fs/promises"));
  syncBuiltinESMExports();

  const prototypes = [Object, Array, Function, String, Number, Boolean, Map, Set, Uint8Array, Error, Promise].map(
    ({ prototype }) => ({
      prototype,
      before: Object.getOwnPropertyDescriptors(prototype) as Record<PropertyKey, PropertyDescriptor>,
      keys: Reflect.ownKeys(prototype),
    }),
  );
  return () => {
    for (const { prototype, before, keys } of prototypes) {
      const now = Reflect.ownKeys(prototype);
      const changed =
        now.length !== keys.length
          ? now.find((key) => !keys.includes(key))
          : prototype === Object.prototype
            ? keys.find((key) => Object.getOwnPropertyDescriptor(prototype, key)?.value !== before[key]?.value)
            : undefined;
      if (changed !== undefined || now.length !== keys.length) {
        if (changed !== undefined) Reflect.deleteProperty(prototype, changed);
        return `a prototype was changed: ${String(changed)} of ${prototype.constructor.name}`;
      }
    }
    return outside.length > 0 ? `a write outside the scratch folder: ${outside.splice(0)[0]}` : null;
  };
}
