/**
 * @file What experiments share: rows that are the same for every run, and jobs whose results are kept. In: a folder of results. Out: results.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { openModel } from "softprompt";

/** At most so many rows, evenly spaced. */
export function evenly(rows, most) {
  const n = Math.min(most, rows.length);
  return Array.from({ length: n }, (_, i) => rows[Math.floor((i * rows.length) / n)]);
}

/** A dataset with at most so many rows of each split. */
export const evenRows = (data, { trainingRows, validationRows }) => ({
  ...data,
  train: evenly(data.train, trainingRows),
  validation: evenly(data.validation, validationRows),
});

/** The rate whose trial ends with the least loss. @param lossOf runs a trial */
export async function bestRate(rates, lossOf) {
  let best = null;
  for (const learningRate of rates) {
    const loss = await lossOf(learningRate);
    if (best === null || loss < best.loss) best = { learningRate, loss };
  }
  return best.learningRate;
}

/** A dataset with a fifth of its training rows as validation rows. */
export const heldOut = (data) => ({
  ...data,
  train: data.train.filter((_, i) => i % 5 !== 0),
  validation: data.train.filter((_, i) => i % 5 === 0),
});

/** A model as results name it: by its folder's own name, wherever that lies. */
export const openNamed = (folder, options) => openModel(folder, { ...options, label: basename(folder) });

/** The files of a dataset as results name them: from the folder that holds all tasks. */
export const namedFiles = ({ files }, datasets) =>
  files.map(({ path, ...more }) => ({ path: relative(datasets, path), ...more }));

/** sha256 of the weights in a model's folder. */
function weightsOf(folder) {
  const files = readdirSync(folder).filter((name) => name.endsWith(".safetensors"));
  const hash = createHash("sha256");
  for (const name of files.sort()) hash.update(readFileSync(join(folder, name)));
  return hash.digest("hex");
}

/** Every row file below a folder with its size in bytes. */
function rowFiles(folder) {
  const names = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".jsonl"));
  return Object.fromEntries(names.sort().map((name) => [name, statSync(join(folder, name)).size]));
}

/**
 * What the results of a folder were made from, kept there as made-from.json. @throws where the folder holds results of something else: a
 * table must not mix them
 */
function checkMadeFrom(out, { settings, models, datasets }) {
  const file = join(out, "made-from.json");
  const folders = Object.fromEntries(models.map((folder) => [basename(folder), weightsOf(folder)]));
  const now = JSON.parse(JSON.stringify({ settings, models: folders, rows: rowFiles(datasets) }));
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

/**
 * Results of jobs in a folder; a finished job is not done again.
 * @param from the settings, the models' folders and the folder of the rows, which are the same for all results of one folder
 */
export function openJobs(out, from) {
  const { models, rows } = checkMadeFrom(out, from);
  const began = performance.now();
  const say = (text) => console.log(`${((performance.now() - began) / 60000).toFixed(1)} min  ${text}`);
  const fileOf = (name) => join(out, `${name}.json`);
  const found = (name) => (existsSync(fileOf(name)) ? JSON.parse(readFileSync(fileOf(name), "utf8")) : null);
  /**
   * @param open a model of the job's own
   * @param summary what is told of a result
   */
  async function job(name, { open, work, summary }) {
    const known = found(name);
    if (known !== null) return known;
    say(name);
    const model = await open();
    try {
      const result = await work(model);
      writeFileSync(fileOf(name), `${JSON.stringify(result)}\n`);
      say(`${name}: ${JSON.stringify(summary(result))}`);
      return result;
    } finally {
      await model.dispose();
    }
  }
  return { found, job, madeFrom: { models, rows } };
}
