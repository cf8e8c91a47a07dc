/**
 * @file Finished work that is never done twice: one JSON file per finished run, named by what went into it.
 *
 * In: a folder, a name, the inputs that determine the result. Out: the result, computed or read back.
 * A study that was interrupted goes on where it stopped; a changed input is another file; a damaged file is computed again.
 */
import { join } from "node:path";
import { readWhole, sha256, writeFileAtomic } from "../base/files.js";

/** Where a study keeps its finished runs; null keeps nothing. */
export type CellFolder = string | null;

/**
 * Returns the result kept for (name, inputs), or computes and keeps it.
 * @param inputs plain data; everything that can change the result (settings, sha256 of model and data, seed).
 * @param isComplete false keeps a partial result (an interrupted run) out of the folder.
 */
export async function cell<R>(
  folder: CellFolder,
  name: string,
  inputs: unknown,
  compute: () => Promise<R>,
  isComplete: (result: R) => boolean = () => true,
): Promise<R> {
  if (folder === null) return compute();
  const key = sha256(toText(inputs));
  const path = join(folder, `${fileName(name)}-${key.slice(0, 12)}.json`);
  const kept = read(path, key);
  if (kept !== undefined) return kept as R;
  const result = await compute();
  if (isComplete(result)) {
    const body = toText(result);
    writeFileAtomic(path, toText({ name, key, check: sha256(body), inputs, result }));
  }
  return result;
}

/** A run's name as a file or folder is called. */
export const fileName = (name: string): string => name.replace(/[^A-Za-z0-9._-]+/g, "_");

/** The kept result, or undefined when there is none, it is damaged, or it belongs to other inputs. */
function read(path: string, key: string): unknown {
  try {
    const kept = fromText(readWhole(path, "run")!.toString("utf8")) as { key: string; check: string; result: unknown };
    return kept.key === key && kept.check === sha256(toText(kept.result)) ? kept.result : undefined;
  } catch {
    return undefined;
  }
}

/** JSON in which float32 arrays are exact: `{ "float32": base64 }`. Object keys keep their order. */
export function toText(value: unknown): string {
  return JSON.stringify(value, (_, v: unknown) =>
    v instanceof Float32Array ? { float32: Buffer.from(v.buffer, v.byteOffset, v.byteLength).toString("base64") } : v,
  );
}

/** The inverse of `toText`. */
export function fromText(text: string): unknown {
  return JSON.parse(text, (_, v: unknown) => {
    if (typeof v !== "object" || v === null || Array.isArray(v)) return v;
    const { float32 } = v as { float32?: unknown };
    if (typeof float32 !== "string" || Object.keys(v).length !== 1) return v;
    const bytes = Buffer.from(float32, "base64");
    return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  });
}
