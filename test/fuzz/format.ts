/**
 * @file What a format is to the fuzzer: sound files of it, how they are changed, and who reads them.
 */
import type { Random } from "../../src/base/random.js";
import { chance, type Mutator, pick } from "./mutate.js";

/** A file's bytes; or a link, a folder, a file of so many zeros that takes no room. */
export type Content = Uint8Array | { readonly link: string } | { readonly folder: true } | { readonly sparse: number };
/** One input: path within its folder → content. */
export type Files = Readonly<Record<string, Content>>;

export interface Format {
  /** Sound inputs; the reader must take every one of them. Made once. */
  readonly specimens: () => readonly Files[] | Promise<readonly Files[]>;
  readonly mutate: (sound: Files, draw: Random, all: readonly Files[]) => Files;
  /** Returns for a file that can be used, throws SoftpromptError for one that cannot; anything else is a finding. */
  readonly read: (files: Files, folder: string) => unknown;
  /** The product's own way where `read` is a faster one without its limits: asked about inputs at which `read` hangs or dies. */
  readonly careful?: (files: Files) => unknown;
  /** The reader wants a folder; files are written there before. */
  readonly onDisk: boolean;
}

/** Bytes of an input that is kept in memory. */
export const bytes = (files: Files, name: string): Uint8Array => files[name] as Uint8Array;

/** A format of one file that is read from memory. */
export function inMemory(
  name: string,
  specimens: () => readonly Uint8Array[],
  mutator: Mutator,
  read: (bytes: Uint8Array) => unknown,
): Format {
  return {
    specimens: () => specimens().map((content) => ({ [name]: content })),
    mutate: (sound, draw, all) => ({
      [name]: mutator(
        bytes(sound, name),
        draw,
        all.map((files) => bytes(files, name)),
      ),
    }),
    read: (files) => read(bytes(files, name)),
    onDisk: false,
  };
}

/** A format of a folder: one of its files is changed, now and then two; or the file is gone, a link, a folder, a giant. */
export function inFolder(
  specimens: Format["specimens"],
  mutators: readonly (readonly [name: RegExp, Mutator])[],
  read: (folder: string, files: Files) => unknown,
): Format {
  return {
    specimens,
    mutate: (sound, draw, all) => {
      const files: Record<string, Content> = { ...sound };
      const names = Object.keys(sound).filter((name) => mutators.some(([pattern]) => pattern.test(name)));
      for (let n = chance(draw, 0.15) ? 2 : 1; n > 0; n--) {
        const name = pick(draw, names);
        const content = sound[name]!;
        if (files[name.split("/")[0]!] !== undefined && files[name] === undefined) continue; // its folder is a link by now
        if (!(content instanceof Uint8Array) || chance(draw, 0.06)) {
          replaced(files, name, draw);
          continue;
        }
        const [, mutator] = mutators.find(([pattern]) => pattern.test(name))!;
        const others = all.flatMap((other) => (other[name] instanceof Uint8Array ? [other[name]] : []));
        files[name] = mutator(content, draw, others);
      }
      return files;
    },
    read: (files, folder) => read(folder, files),
    onDisk: true,
  };
}

/** `bait` lies beside the scratch folder (see worker.ts): a file, a folder, and a pipe that nobody writes into. */
function replaced(files: Record<string, Content>, name: string, draw: Random): void {
  const up = "../".repeat(name.split("/").length);
  const how = draw.integer(9);
  if (how === 0) delete files[name];
  else if (how === 1) files[name] = { folder: true };
  else if (how === 2) files[name] = { sparse: pick(draw, [2 ** 29 + 1, 3 * 2 ** 30, 2 ** 40]) };
  else
    files[name] = {
      link: pick(draw, [
        `${up}bait/file`,
        `${up}bait`,
        `${up}bait/pipe`,
        "/dev/zero",
        "/etc/passwd",
        name.split("/").at(-1)!,
        "nothing",
      ]),
    };
  // a whole subfolder that leads elsewhere
  const [folder] = name.split("/");
  if (how > 6 && folder !== name) {
    for (const other of Object.keys(files)) if (other.startsWith(`${folder}/`)) delete files[other];
    files[folder!] = { link: "../bait" };
  }
}
