/**
 * @file Does a training in 8 bits end as well as one in float32? The same rows, rate, start and order of rows in both.
 *
 *   node experiments/precision/run.mjs MODEL DATASETS OUT [--tasks sst2,cb] [--seeds 0,1,2,3,4] [--settings FILE] [--collect FOLDER]
 *
 * In:  MODEL, a model's folder; DATASETS holds the tasks as their owners publish them; settings.yaml beside this file has every setting.
 * Out: OUT/NAME.json of every finished job, which is not done again; --collect alone runs nothing and writes FOLDER/MODEL.json and
 *      MODEL.md of what is finished. Needs `npm run build`.
 *
 * Each prompt is scored after its last step, in the precision that it was trained in. No validation row chooses anything.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { loadData, tune } from "softprompt";
import { parse } from "yaml";
import { bestRate, evenRows, heldOut, openJobs, openNamed } from "../jobs.mjs";
import { deviation, mean, tested } from "../statistics.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tasks: { type: "string" },
    seeds: { type: "string", default: "0,1,2,3,4" },
    settings: { type: "string", default: join(import.meta.dirname, "settings.yaml") },
    collect: { type: "string" },
  },
});
const [folder, datasets, out] = positionals;
if (out === undefined) {
  console.error("node experiments/precision/run.mjs MODEL DATASETS OUT [--tasks …] [--seeds …] [--collect FOLDER]");
  process.exit(2);
}
const own = parse(readFileSync(values.settings, "utf8"));
const seeds = values.seeds.split(",").map(Number);
const tasks = Object.keys(own.tasks).filter((task) => values.tasks?.split(",").includes(task) ?? true);
mkdirSync(out, { recursive: true });

async function dataOf(task) {
  const { folder: name, ...more } = own.tasks[task];
  const data = await loadData({ task, data: join(datasets, name), dataSeed: 0, ...more });
  return evenRows(data, own);
}

const jobs = openJobs(out, { settings: own, models: [folder], datasets });
const { found } = jobs;
const job = (name, precision, work) =>
  jobs.job(name, { open: () => openNamed(folder, { threads: 1, precision }), work, summary: (result) => result });

async function scoreOf(model, data, options) {
  const found = [];
  const onEvent = (event) => {
    if (event.kind === "eval" && event.step > 0)
      found.push({ step: event.step, score: event.scores.accuracy, loss: event.loss });
  };
  const how = { ...own.settings, ...options, evalEvery: options.steps, maxEvalRows: 0, onEvent };
  await tune(model, data, how);
  return found.at(-1);
}

const rateOf = (task) =>
  bestRate(own.rates, async (learningRate) => {
    const work = async (model) =>
      scoreOf(model, heldOut(await dataOf(task)), { learningRate, steps: own.rateSteps, seed: 0 });
    return (await job(`${task}-rate-${learningRate}`, "float32", work)).loss;
  });

if (values.collect === undefined)
  for (const seed of seeds)
    for (const task of tasks) {
      const learningRate = await rateOf(task);
      for (const precision of own.precisions)
        await job(`${task}-${precision}-${seed}`, precision, async (model) => ({
          learningRate,
          ...(await scoreOf(model, await dataOf(task), { learningRate, steps: own.steps, seed })),
        }));
    }
else collect(values.collect);

/** Every finished job, and the table of what there is. */
function collect(to) {
  const results = {};
  const differences = [];
  const percent = (x) => (100 * x).toFixed(1);
  const over = (all) => `${percent(mean(all))}${all.length > 1 ? ` ± ${percent(deviation(all))}` : ""}`;
  const [first, second] = own.precisions;
  const compared = (all) => {
    const { mean: difference, error, pairs, signs, p } = tested(all.map((x) => 100 * x));
    return [difference.toFixed(2), error === null ? "–" : error.toFixed(2), pairs, signs, p.toFixed(3)];
  };
  const lines = [];
  for (const task of tasks) {
    const whole = seeds.filter((seed) => own.precisions.every((one) => found(`${task}-${one}-${seed}`) !== null));
    if (whole.length === 0) continue;
    const scores = own.precisions.map((one) =>
      whole.map((seed) => {
        const result = found(`${task}-${one}-${seed}`);
        results[`${task}-${one}-${seed}`] = result;
        return result.score;
      }),
    );
    const between = scores[1].map((score, n) => score - scores[0][n]);
    differences.push(...between);
    const { learningRate } = results[`${task}-${first}-${whole[0]}`];
    lines.push([task, learningRate, ...scores.map(over), ...compared(between)]);
  }
  if (differences.length > 0) lines.push(["all", "", "", "", ...compared(differences)]);
  const head = ["task", "rate", ...own.precisions];
  const more = [`${second} − ${first}`, "standard error", "pairs", "above / equal / below", "sign test"];
  const text = [
    `# Trainings in 8 bits and in float32: ${basename(folder)}`,
    "",
    `Accuracy in percent of the last of ${own.steps} steps, mean ± deviation over seeds; no validation row chose anything. ${own.settings.virtualTokens} virtual tokens, batch ${own.settings.batchSize}, Adafactor; a pair has the same rows, rate, start and order of rows. Each prompt is scored in the precision that it was trained in.`,
    "",
    `| ${[...head, ...more].join(" | ")} |`,
    `| ${[...head, ...more].map((_, n) => (n === 0 ? "---" : "--:")).join(" | ")} |`,
    ...lines.map((cells) => `| ${cells.join(" | ")} |`),
    "",
    "Made by `node experiments/precision/run.mjs MODEL DATASETS OUT --collect FOLDER`.",
    "",
  ].join("\n");
  const file = join(to, basename(folder));
  writeFileSync(
    `${file}.json`,
    `${JSON.stringify({ ...own, model: basename(folder), seeds, ...jobs.madeFrom, results }, null, 1)}\n`,
  );
  writeFileSync(`${file}.md`, text);
  console.log(text);
}
