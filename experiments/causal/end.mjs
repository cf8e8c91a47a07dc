/**
 * @file Does it matter whether a decoder's label words are trained with an end token behind them (--train-end)? Pairs of trainings with the
 * same rows, rate, start and order of rows.
 *
 *   node experiments/causal/end.mjs MODEL DATASETS OUT [--tasks sst2,cb] [--seeds 0,1,2,3] [--collect FOLDER]
 *
 * In:  MODEL, a decoder-only folder; DATASETS holds the tasks as their owners publish them; tasks.yaml beside this file has every setting.
 * Out: OUT/NAME.json of every finished job, which is not done again; --collect alone runs nothing and writes FOLDER/end.json and end.md of
 *      what is finished. Needs `npm run build`. No validation row chooses anything.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { tune } from "softprompt";
import { parse } from "yaml";
import { openJobs, openNamed } from "../jobs.mjs";
import { causalData, templateOf } from "../rows.mjs";
import { deviation, mean, tested } from "../statistics.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tasks: { type: "string" },
    seeds: { type: "string", default: "0,1,2,3" },
    collect: { type: "string" },
  },
});
const [folder, datasets, out] = positionals;
if (out === undefined) {
  console.error("node experiments/causal/end.mjs MODEL DATASETS OUT [--tasks …] [--seeds …] [--collect FOLDER]");
  process.exit(2);
}
const own = parse(readFileSync(join(import.meta.dirname, "tasks.yaml"), "utf8"));
const { places, settings, validationRows } = own.end;
const seeds = values.seeds.split(",").map(Number);
const tasks = Object.keys(places).filter((task) => values.tasks?.split(",").includes(task) ?? true);
const ways = { without: { trainEnd: false }, with: { trainEnd: true } };
mkdirSync(out, { recursive: true });

const dataOf = (task) => {
  const put = { ...own.tasks[task], template: templateOf(own.tasks[task], places[task] === "behind") };
  return causalData(datasets, { task, put, trainingRows: own.trainingRows, validationRows });
};

const { found, job } = openJobs(out, { settings: own, models: [folder], datasets });

/** Scores and losses of the label words at each evaluation. */
async function curveOf(model, task, seed, way) {
  const curve = [];
  const onEvent = (event) => {
    if (event.kind === "eval" && event.step > 0)
      curve.push({ step: event.step, score: event.scores.accuracy, loss: event.loss });
  };
  const options = { ...own.settings, ...settings, maxInputTokens: own.maxInputTokens, seed, ...ways[way] };
  await tune(model, await dataOf(task), { ...options, onEvent });
  return { curve };
}

/** Every finished pair, and the table. */
function collect(to) {
  const results = {};
  const percent = (x) => (100 * x).toFixed(1);
  const over = (all) => `${percent(mean(all))}${all.length > 1 ? ` ± ${percent(deviation(all))}` : ""}`;
  const lines = [];
  for (const task of tasks) {
    const whole = seeds.filter((seed) => Object.keys(ways).every((way) => found(`${task}-${way}-${seed}`) !== null));
    if (whole.length === 0) continue;
    const curves = Object.keys(ways).map((way) =>
      whole.map((seed) => {
        const name = `${task}-${way}-${seed}`;
        results[name] = found(name);
        return results[name].curve;
      }),
    );
    for (const [at, { step }] of curves[0][0].entries()) {
      const [without, end] = curves.map((all) => all.map((curve) => curve[at].score));
      const { mean: difference, error, signs } = tested(without.map((score, n) => 100 * (score - end[n])));
      const compared = [difference.toFixed(2).replace("-0.00", "0.00"), error === null ? "–" : error.toFixed(2), signs];
      lines.push([task, places[task], step, over(without), over(end), ...compared]);
    }
  }
  const head = ["task", "prompt", "step", "label words alone", "with the end token"];
  const more = ["difference", "standard error", "above / equal / below"];
  const { virtualTokens, batchSize, learningRate } = own.settings;
  const row = (cells) => `| ${cells.join(" | ")} |`;
  const text = [
    "# Label words with and without an end token",
    "",
    `${basename(folder)}: accuracy in percent, mean ± deviation over seeds; ${virtualTokens} virtual tokens, ${settings.steps} steps of ${batchSize} rows, adamw at ${learningRate}, ${own.trainingRows} training rows, at most ${validationRows} validation rows, which chose nothing. A pair has the same rows, start and order of rows.`,
    "",
    row([...head, ...more]),
    row([...head.map(() => "---"), ...more.map(() => "--:")]),
    ...lines.map(row),
    "",
    "Made by `node experiments/causal/end.mjs MODEL DATASETS OUT --collect FOLDER`.",
    "",
  ].join("\n");
  writeFileSync(join(to, "end.json"), `${JSON.stringify(results, null, 2)}\n`);
  writeFileSync(join(to, "end.md"), text);
  console.log(text);
}

if (values.collect !== undefined) collect(values.collect);
else
  for (const seed of seeds)
    for (const task of tasks)
      for (const way of Object.keys(ways))
        await job(`${task}-${way}-${seed}`, {
          open: () => openNamed(folder, { threads: 1, textCacheMemory: 4096, textCacheDisk: 0 }),
          work: (model) => curveOf(model, task, seed, way),
          summary: ({ curve }) => curve.map(({ score }) => score),
        });
