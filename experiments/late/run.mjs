/**
 * @file What a prompt is worth that enters T5's encoder later: before its first block, after a quarter and after half of its blocks, at equal
 * steps and at equal FLOPs.
 *
 *   node experiments/late/run.mjs DATASETS OUT [--model FOLDER] [--tasks sst2,cb,qqp] [--seeds 0,1,2,3,4] [--settings FILE] [--collect FOLDER]
 *
 * In:  DATASETS holds the tasks as their owners publish them; settings.yaml beside this file has every setting; the model is t5-nano.
 * Out: OUT/NAME.json of every finished job, which is not done again; --collect alone runs nothing and writes FOLDER/results.json and
 *      results.md of what is finished. Needs `npm run build`.
 *
 * FLOPs are those of training, and what lies below a late prompt is counted as if each text were read there once and kept: that is the most
 * a cache could save. The learning rate of each place and task is chosen by loss on a fifth of the training rows; those runs are not counted.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { loadData, tune } from "softprompt";
import { encodeRows, fullModel, openMethod, stepFlops } from "softprompt/engine";
import { parse } from "yaml";
import { defaults } from "../../dist/base/options.js";
import { layerFlops, shapeOfRows } from "../../dist/engine/flops.js";
import { methodOptions } from "../../dist/method/options.js";
import { batchOrder } from "../../dist/train/order.js";
import { bestRate, evenRows, heldOut, openJobs, openNamed } from "../jobs.mjs";
import { deviation, mean } from "../statistics.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: "string", default: join(import.meta.dirname, "../../models/t5-nano") },
    tasks: { type: "string" },
    seeds: { type: "string", default: "0,1,2,3,4" },
    settings: { type: "string", default: join(import.meta.dirname, "settings.yaml") },
    collect: { type: "string" },
  },
});
const [datasets, out] = positionals;
if (out === undefined) {
  console.error(
    "node experiments/late/run.mjs DATASETS OUT [--model FOLDER] [--tasks …] [--seeds …] [--collect FOLDER]",
  );
  process.exit(2);
}
const own = parse(readFileSync(values.settings, "utf8"));
const seeds = values.seeds.split(",").map(Number);
const tasks = Object.keys(own.tasks).filter((task) => values.tasks?.split(",").includes(task) ?? true);
mkdirSync(out, { recursive: true });

/** The same rows for every place. */
async function dataOf(task) {
  const { folder, ...more } = own.tasks[task];
  const data = await loadData({ task, data: join(datasets, folder), dataSeed: 0, ...more });
  return evenRows(data, own);
}
/**
 * Training FLOPs after each step, from 1: what lies below the prompt's block once for each text, and the rest in every step.
 * @param layer the prompt's block
 */
function flopsOf(model, { task, train }, layer, seed, steps) {
  const { config } = model.checkpoint;
  const full = fullModel(config);
  const { virtualTokens: P, batchSize, maxInputTokens } = own.settings;
  const method = openMethod({
    ...defaults(methodOptions),
    ...{ method: "prompt", insertLayer: layer, virtualTokens: P, seed },
  });
  const encoded = encodeRows(task, train, model.tokenizer, maxInputTokens);
  const order = batchOrder(encoded, batchSize, seed);
  const below = (batch, input) =>
    Array.from({ length: layer }, (_, n) => n).reduce(
      (sum, n) =>
        sum + layerFlops(config, { stack: "encoder", layer: n }, { batch, prompt: 0, input, target: 1 }).total,
      0,
    );
  const read = new Set();
  let sum = 0;
  return Array.from({ length: steps }, (_, step) => {
    const numbers = order(step);
    const shape = shapeOfRows(
      config,
      numbers.map((n) => encoded[n]),
      P,
    );
    sum += stepFlops(config, full, shape, method).total - below(shape.batch, shape.input);
    for (const n of numbers) if (!read.has(n)) sum += below(1, encoded[n].input.length);
    for (const n of numbers) read.add(n);
    return sum;
  });
}

const jobs = openJobs(out, { settings: own, models: [values.model], datasets });
const { found } = jobs;
const job = (name, work) =>
  jobs.job(name, {
    open: () => openNamed(values.model, { threads: 1 }),
    work,
    summary: ({ curve }) => curve.at(-1),
  });

/** One tuning: its evaluations, with what the training had cost until each. */
async function curveOf(model, data, options) {
  const curve = [];
  const flops = flopsOf(model, data, options.insertLayer, options.seed, options.steps);
  const onEvent = (event) => {
    if (event.kind !== "eval" || event.step === 0) return;
    curve.push({ step: event.step, score: event.scores.accuracy, loss: event.loss, flops: flops[event.step - 1] });
  };
  const { result } = await tune(model, data, { ...own.settings, ...options, maxEvalRows: 0, onEvent });
  return { curve, counted: result.cost.trainFlops };
}

/** The block of each place: 0, L/4, L/2. */
const blockOf = (model, share) => Math.round(share * model.checkpoint.config.encoderLayers);

const rateOf = (task, share) =>
  bestRate(own.rates, async (learningRate) => {
    const { curve } = await job(`${task}-${share}-rate-${learningRate}`, async (model) => {
      const how = { learningRate, steps: own.rateSteps, evalEvery: own.rateSteps, seed: 0 };
      return curveOf(model, heldOut(await dataOf(task)), { ...how, insertLayer: blockOf(model, share) });
    });
    return curve.at(-1).loss;
  });

async function run(task, share, seed) {
  const learningRate = await rateOf(task, share);
  await job(`${task}-${share}-${seed}`, async (model) => {
    const data = await dataOf(task);
    const insertLayer = blockOf(model, share);
    const budget = flopsOf(model, data, 0, seed, own.steps).at(-1);
    const costs = flopsOf(model, data, insertLayer, seed, 4 * own.steps);
    const steps = costs.findLastIndex((flops) => flops <= budget * (1 + 1e-9)) + 1;
    // an evaluation at equal steps and one at equal FLOPs, which is at the end
    const how = { learningRate, steps, evalEvery: own.steps, seed, insertLayer };
    return { learningRate, insertLayer, budget, ...(await curveOf(model, data, how)) };
  });
}

if (values.collect === undefined) {
  for (const seed of seeds) for (const task of tasks) for (const share of own.places) await run(task, share, seed);
} else await collect(values.collect);

/** Every finished job, and the table of what there is. */
async function collect(to) {
  const results = {};
  const percent = (x) => (100 * x).toFixed(1);
  const over = (all) => `${percent(mean(all))}${all.length > 1 ? ` ± ${percent(deviation(all))}` : ""}`;
  const lines = [];
  const kept = [];
  const finished = new Map();
  for (const task of tasks) {
    const { validation } = await dataOf(task);
    const labels = validation.map(({ label }) => label);
    const majority = Math.max(...[...new Set(labels)].map((one) => labels.filter((label) => label === one).length));
    const base = majority / labels.length;
    const whole = seeds.filter((seed) => own.places.every((share) => found(`${task}-${share}-${seed}`) !== null));
    finished.set(task, whole.length);
    if (whole.length === 0) continue;
    const runs = Object.fromEntries(
      own.places.map((share) => [share, whole.map((seed) => found(`${task}-${share}-${seed}`))]),
    );
    for (const share of own.places)
      for (const [n, seed] of whole.entries()) results[`${task}-${share}-${seed}`] = runs[share][n];
    const steps = (share) => runs[share].map(({ curve }) => curve.find(({ step }) => step === own.steps).score);
    const flops = (share) => runs[share].map(({ curve }) => curve.at(-1).score);
    const gain = mean(flops(0)) - base;
    for (const share of own.places) {
      const part = (mean(flops(share)) - base) / gain;
      if (share > 0) kept.push({ task, share, part });
      const cells = [
        ...[task, runs[share][0].insertLayer, whole.length, runs[share][0].learningRate],
        ...[percent(base), over(steps(share)), runs[share][0].curve.at(-1).step, over(flops(share))],
        share === 0 ? "–" : `${(100 * part).toFixed(0)} %`,
      ];
      lines.push(`| ${cells.join(" | ")} |`);
    }
  }
  /** How many tasks keep so much of the gain, for each place. */
  const verdicts = own.places.slice(1).map((share) => {
    const parts = kept.filter((one) => one.share === share).map(({ part }) => part);
    return `entering after ${share} of the blocks keeps 95 % of the gain on ${parts.filter((part) => part >= 0.95).length} of ${parts.length} tasks`;
  });
  const fewest = Math.min(...tasks.map((task) => finished.get(task) ?? 0));
  const head = ["task", "block", "seeds", "rate", "most frequent label", `${own.steps} steps`, "steps at equal FLOPs"];
  const text = [
    "# A prompt that enters T5's encoder later",
    "",
    `${basename(values.model)}, accuracy in percent, mean ± deviation over seeds, of the last step: no validation row chose anything. ${own.settings.virtualTokens} virtual tokens, batch ${own.settings.batchSize}, Adafactor. Equal FLOPs: what ${own.steps} steps with the prompt before block 0 take; below a late prompt each text is counted once, as if it were kept. Kept: gain over the most frequent label, at equal FLOPs, as a share of the gain of block 0.`,
    "",
    `| ${[...head, "score at equal FLOPs", "gain kept"].join(" | ")} |`,
    `| ${[...head, "", ""].map((_, n) => (n === 0 ? "---" : "--:")).join(" | ")} |`,
    ...lines,
    "",
    `At equal FLOPs, ${verdicts.join("; ")}.${fewest < seeds.length ? ` Only ${fewest} of ${seeds.length} seeds are finished on every task: too few to decide.` : ""}`,
    "",
    "Made by `node experiments/late/run.mjs DATASETS OUT --collect FOLDER`.",
    "",
  ].join("\n");
  writeFileSync(
    join(to, "results.json"),
    `${JSON.stringify({ ...own, seeds, kept, ...jobs.madeFrom, results }, null, 1)}\n`,
  );
  writeFileSync(join(to, "results.md"), text);
  console.log(text);
}
