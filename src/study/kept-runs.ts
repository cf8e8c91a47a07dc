/**
 * @file Cache of finished runs: one JSON file per finished run, named by its inputs.
 *
 * In: a folder, a name, the inputs that determine the result. Out: the result, computed or read back.
 * So an interrupted study goes on where it stopped. A changed input gives another file; a damaged file is computed again.
 */
import { join } from "node:path";
import { sha256 } from "../base/files.js";
import { fromText, type KeptForm, kept, toText } from "../base/kept.js";

/** Where a study keeps its finished runs; null keeps nothing. */
export type KeptFolder = string | null;

/**
 * Returns the result kept for (name, inputs), or computes and keeps it.
 * @param inputs plain data; everything that can change the result (settings, sha256 of model and data, seed).
 * @param isComplete false keeps a partial result (an interrupted run) out of the folder.
 * @param stem what its file's name begins with. Default its name; a stem of several names finds what another of them has kept
 */
export async function keptRun<R>(
  folder: KeptFolder,
  name: string,
  inputs: unknown,
  compute: () => Promise<R>,
  isComplete: (result: R) => boolean = () => true,
  stem = name,
): Promise<R> {
  if (folder === null) return compute();
  const key = sha256(toText(inputs));
  const path = join(folder, `${fileName(stem)}-${key.slice(0, 12)}.json`);
  const form: KeptForm<R> = {
    // name and inputs are only for people who read the file
    write: (result) => ({ name, inputs, result }),
    read: (body) => (body as { readonly result: R }).result,
    readEarlier: (text) => earlier(text, key) as R | null,
  };
  return (await kept(path, key, form, compute, isComplete)).value;
}

/** File systems take 255 bytes; something may be put behind it. */
const longest = 150;

/** A run's name in a form for file and folder names. One that loses letters by it, or is too long, has a part of its sha256 at its end. */
export function fileName(name: string): string {
  const safe = name.replace(/[^A-Za-z0-9._-]+/g, "_");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII
  if (safe.length <= longest && /^[\x00-\x7f]*$/.test(name)) return safe;
  return `${safe.slice(0, longest - 9)}-${sha256(name).slice(0, 8)}`;
}

/** The result in a file of version 0.1, or null: a run takes minutes to hours, so these are not done again. */
function earlier(text: string, key: string): unknown {
  const found = fromText(text) as { key?: unknown; check?: unknown; result?: unknown } | null;
  if (found?.key !== key || found.result === undefined) return null;
  return found.check === sha256(toText(found.result)) ? found.result : null;
}
