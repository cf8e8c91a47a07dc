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
 */
export async function keptRun<R>(
  folder: KeptFolder,
  name: string,
  inputs: unknown,
  compute: () => Promise<R>,
  isComplete: (result: R) => boolean = () => true,
): Promise<R> {
  if (folder === null) return compute();
  const key = sha256(toText(inputs));
  const path = join(folder, `${fileName(name)}-${key.slice(0, 12)}.json`);
  const form: KeptForm<R> = {
    // name and inputs are only for people who read the file
    write: (result) => ({ name, inputs, result }),
    read: (body) => (body as { readonly result: R }).result,
    readEarlier: (text) => earlier(text, key) as R | null,
  };
  return (await kept(path, key, form, compute, isComplete)).value;
}

/** A run's name in a form for file and folder names. */
export const fileName = (name: string): string => name.replace(/[^A-Za-z0-9._-]+/g, "_");

/** The result in a file of version 0.1, or null: a run takes minutes to hours, so these are not done again. */
function earlier(text: string, key: string): unknown {
  const found = fromText(text) as { key?: unknown; check?: unknown; result?: unknown } | null;
  if (found?.key !== key || found.result === undefined) return null;
  return found.check === sha256(toText(found.result)) ? found.result : null;
}
