/**
 * @file What experiments share: rows that are the same for every run, and jobs whose results are kept. In: a folder of results. Out: results.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { basename, join, relative } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { openModel } from "softprompt";
import { checkMadeFrom } from "./made-from.mjs";

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

/** The rate whose trial ends with the least loss; one alone is not tried. @param lossOf runs a trial */
export async function bestRate(rates, lossOf) {
  if (rates.length === 1) return rates[0];
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

/**
 * Results of jobs in a folder; a finished job is not done again.
 * @param from the settings, the models' folders and the folder of the rows, which are the same for all results of one folder
 */
export function openJobs(out, from) {
  const processor = cpus()[0].model.trim();
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
      const result = { ...(await work(model)), processor };
      writeFileSync(fileOf(name), `${JSON.stringify(result)}\n`);
      say(`${name}: ${JSON.stringify(summary(result))}`);
      return result;
    } finally {
      await model.dispose();
    }
  }
  /**
   * Takes the results of a committed table into the folder: more seeds of a table can be run where the first were not.
   * @throws where it was made from other settings, weights or rows
   */
  function takeEarlier(file) {
    const { results, ...made } = JSON.parse(readFileSync(file, "utf8"));
    const now = JSON.parse(JSON.stringify({ ...from.settings, models, rows }));
    const other = Object.keys(now).filter((part) => !isDeepStrictEqual(now[part], made[part]));
    if (other.length > 0)
      throw new Error(`${file} is of other ${other.join(", ")}: its results cannot stand beside these`);
    for (const [name, result] of Object.entries(results))
      if (!existsSync(fileOf(name))) writeFileSync(fileOf(name), `${JSON.stringify(result)}\n`);
  }
  return { found, job, takeEarlier, madeFrom: { models, rows } };
}
