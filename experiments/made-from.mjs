/**
 * @file What the results of a folder were made from: settings, weights, row files. In: a folder of results. Out: made-from.json in it.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { isDeepStrictEqual } from "node:util";

/** sha256 of the weights in a model's folder. @throws where it has none */
function weightsOf(folder) {
  const files = readdirSync(folder).filter((name) => name.endsWith(".safetensors"));
  if (files.length === 0) throw new Error(`${folder} has no weights: expected files *.safetensors`);
  const hash = createHash("sha256");
  for (const name of files.sort()) hash.update(readFileSync(join(folder, name)));
  return hash.digest("hex");
}

/** Every row file below a folder with its size in bytes. */
function rowFiles(folder) {
  const names = readdirSync(folder, { recursive: true }).filter((name) => /\.(jsonl|json|tsv|csv|parquet)$/.test(name));
  return Object.fromEntries(names.sort().map((name) => [name, statSync(join(folder, name)).size]));
}

/**
 * The weights of these models by sha256, and the row files below a folder by their size in bytes.
 * @throws where two models' folders have one name: results know a model by it
 */
export function madeFromOf({ models, datasets }) {
  const names = models.map((folder) => basename(folder));
  const repeated = models.find((_, n) => names.indexOf(names[n]) !== n);
  if (repeated !== undefined)
    throw new Error(`two models are named ${basename(repeated)}: rename the folder ${repeated}`);
  return {
    models: Object.fromEntries(models.map((folder) => [basename(folder), weightsOf(folder)])),
    rows: rowFiles(datasets),
  };
}

/**
 * What the results of a folder were made from, kept there as made-from.json. @throws where the folder holds results of something else: a
 * table must not mix them
 */
export function checkMadeFrom(out, { settings, models, datasets }) {
  const file = join(out, "made-from.json");
  const now = JSON.parse(JSON.stringify({ settings, ...madeFromOf({ models, datasets }) }));
  if (!existsSync(file)) {
    if (readdirSync(out).some((name) => name.endsWith(".json")))
      throw new Error(`${out} holds results that do not say what they were made from: take another folder`);
    writeFileSync(file, `${JSON.stringify(now)}\n`);
    return now;
  }
  const before = JSON.parse(readFileSync(file, "utf8"));
  const other = Object.keys(now).filter((part) => !isDeepStrictEqual(now[part], before[part]));
  if (other.length > 0) throw new Error(`${out} holds results of other ${other.join(", ")}: take another folder`);
  return now;
}
