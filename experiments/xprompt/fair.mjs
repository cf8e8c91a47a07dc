/**
 * @file Does XPrompt find what matters? XPrompt, its levels, other rankings with as many tries, and what else the same FLOPs buy: a longer
 * training, the best of several trainings, a prompt of XPrompt's size tuned anew, and one distilled from the tuned prompt.
 *
 *   node experiments/xprompt/fair.mjs DATASETS OUT [--tasks sst2,cb] [--seeds 0,1,2] [--model FOLDER] [--config fair.yaml|fair-mini.yaml]
 *     [--select half|holdout] [--threads 1] [--collect FOLDER]
 *
 * In:  DATASETS holds the tasks as their owners publish them. The validation rows are cut in two halves: one chooses checkpoints and candidates,
 *      the other reports. With --select holdout a tenth of the training rows chooses and all validation rows report.
 * Out: OUT/cells/TASK-SEED.json of each finished cell, which is not done again; its searches and trainings are kept in OUT, so a stopped cell goes
 *      on. --collect alone runs nothing and writes every score and the tables to FOLDER, as CONFIG's name with .json and .md. Needs `npm run build`.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { loadData, openModel, tune } from "softprompt";
import { fullModel } from "softprompt/engine";
import { outcomes } from "softprompt/study";
import {
  evaluatePrepared,
  initPrompt,
  neuronScoreOptions,
  pickOptions,
  prepareEvaluation,
  pruneOptions,
  readOptions,
  scheduleOptions,
  trainOptions,
} from "softprompt/train";
import { parse } from "yaml";
import { namedFiles } from "../jobs.mjs";
import { deviation, halves, mean, signed, tested } from "../statistics.mjs";
import { distil } from "./distil.mjs";
import { places } from "./places.mjs";

const here = import.meta.dirname;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tasks: { type: "string" },
    seeds: { type: "string", default: "0,1,2" },
    model: { type: "string" },
    config: { type: "string", default: join(here, "fair.yaml") },
    select: { type: "string", default: "half" },
    threads: { type: "string", default: "1" },
    collect: { type: "string" },
  },
});
const [datasets, out] = positionals;
if (out === undefined || !["half", "holdout"].includes(values.select)) {
  console.error(
    "node experiments/xprompt/fair.mjs DATASETS OUT [--tasks …] [--seeds …] [--select half|holdout] [--collect FOLDER]",
  );
  process.exit(2);
}
const given = parse(readFileSync(values.config, "utf8"));
const options = (table) => readOptions(table, pickOptions(table, given), values.config);
const folder = values.model ?? given.model;
const cells = join(out, "cells");
mkdirSync(cells, { recursive: true });
const cellOf = (task, seed) => join(cells, `${task}-${seed}.json`);
const began = performance.now();
const say = (text) => console.log(`${((performance.now() - began) / 60000).toFixed(1)} min  ${text}`);
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => stop.abort(signal));

/** Arms that come from the search, and how the tables call them. */
const searched = {
  pt: "PT",
  control: "PT continued",
  tokens: "token-only",
  pieces: "piece-only",
  xprompt: "XPrompt (both)",
  mean: "XPrompt, mean of candidates",
  reversed: "Reversed",
  reversedMean: "Reversed, mean of candidates",
  random: "Random",
  randomMean: "Random, mean of candidates",
};
/** Arms that spend XPrompt's FLOPs otherwise. */
const equal = {
  long: "PT, XPrompt's FLOPs",
  bestOf: "best of PT's starts, XPrompt's FLOPs",
  length: "Length: XPrompt's size anew, XPrompt's FLOPs",
  distilled: "distilled to XPrompt's size, XPrompt's FLOPs",
};
const labels = { ...searched, ...equal };

async function cell(model, task, seed) {
  const { data: place, ...more } = places[task];
  const data = await loadData({ task, data: join(datasets, place), ...more });
  const half = values.select === "half" ? halves(data.validation) : null;
  const dataset = half === null ? data : { ...data, validation: half.chooses };
  const reports = half?.reports ?? data.validation;
  const settings = options(trainOptions);
  const prune = { ...options(pruneOptions), holdout: half === null ? 0.1 : 0 };
  const input = {
    engine: model.engine,
    tokenizer: model.tokenizer,
    tasks: [dataset],
    seeds: [seed],
    settings,
    schedule: options(scheduleOptions),
    virtualTokens: given.virtualTokens,
    init: { kind: given.init },
    scoring: options(neuronScoreOptions),
    prune,
    folder: out,
    ...(half && { reportOn: () => reports }),
    signal: stop.signal,
    observe: (event) => {
      if (event.kind !== "outcome") return;
      say(`${task} seed ${seed} ${event.outcome.variant}: ${(100 * event.outcome.score).toFixed(2)}`);
    },
  };
  const found = await outcomes(input, [{ label: "" }], Object.keys(searched));
  const arms = Object.fromEntries(
    found.map(({ variant, score, counts, flops, seconds, steps, candidates }) => [
      variant,
      { score: 100 * score, counts, flops, seconds, steps, candidates },
    ]),
  );
  const of = (name) => found.find(({ variant }) => variant === name);
  const [pt, xprompt] = [of("pt"), of("xprompt")];
  const { maxInputTokens, finalEvalRows } = settings;
  const prepared = prepareEvaluation(model.tokenizer, data.task, reports, {
    ...{ maxInputTokens, maxEvalRows: finalEvalRows, loss: false, batchSize: 4 * settings.microBatchSize },
  });
  const full = fullModel(model.checkpoint.config);
  const report = async (prompt) => {
    const { scores, flops } = await evaluatePrepared(model.engine, full, model.tokenizer, prepared, { prompt });
    return { score: 100 * scores[data.task.metrics[0]], flops };
  };
  // trainings outside the search choose on the same rows: with a holdout those of the first half would not be held out
  const plain = async (name, prompt, steps) => {
    const { training, result, adapter } = await tune(model, dataset, {
      ...settings,
      ...{ seed, steps, prompt, virtualTokens: prompt.shape[0], baselines: false, finalEvalRows: 1 },
      signal: stop.signal,
    });
    if (result.run.reason === "interrupted") throw Object.assign(new Error(name), { kind: "interrupted" });
    const { trainFlops, evalFlops } = training.cost;
    return {
      prompt: adapter.prompt,
      chosen: training.bestOnFull.scores[data.task.metrics[0]],
      flops: trainFlops + evalFlops,
      trainFlops,
      steps,
    };
  };
  const start = (tokens, from) =>
    initPrompt(
      { kind: given.init },
      { checkpoint: model.checkpoint, tokenizer: model.tokenizer, virtualTokens: tokens, seed: from },
    );
  /** Enough steps that their mean length is that of the rows. */
  const probed = Math.min(64, given.steps);
  /** Steps that spend the budget: measured on a few, evaluations included. */
  const stepsFor = async (prompt, budget) => {
    const probe = await plain("probe", prompt, probed);
    const perStep = probe.trainFlops / probed;
    // it is evaluated every so many steps, and at its end
    const looks = Math.floor(probed / settings.evalEvery) + (probed % settings.evalEvery === 0 ? 0 : 1);
    const perLook = (probe.flops - probe.trainFlops) / looks;
    return Math.max(1, Math.floor(budget / (perStep + perLook / settings.evalEvery)));
  };
  const measured = async (name, { prompt, ...spent }, candidates = 1) => {
    const { score, flops } = await report(prompt);
    const [tokens, width] = prompt.shape;
    const counts = { tokens, pieces: tokens * given.pieces, parameters: tokens * width };
    arms[name] = { score, counts, flops: spent.flops + flops, steps: spent.steps, candidates };
    say(`${task} seed ${seed} ${name}: ${score.toFixed(2)}`);
  };
  // the report is counted in both
  const budget = xprompt.flops - (await report(pt.prompt)).flops;
  if (half !== null) {
    const first = await start(given.virtualTokens, seed);
    await measured("long", await plain("long", first, await stepsFor(first, budget)));
    const tries = Math.max(1, Math.round(budget / pt.flops));
    let best = null;
    let flops = 0;
    for (let n = 0; n < tries; n++) {
      // the first is PT itself; the others have starts that no cell's PT has
      const one = await plain(
        `start ${n}`,
        await start(given.virtualTokens, n === 0 ? seed : 1000 * (seed + 1) + n),
        given.steps,
      );
      flops += one.flops;
      if (best === null || one.chosen > best.chosen) best = one;
    }
    await measured("bestOf", { ...best, flops, steps: tries * given.steps }, tries);
    const tokens = Math.max(1, Math.round(xprompt.counts.parameters / model.checkpoint.config.width));
    const short = await start(tokens, seed);
    await measured("length", await plain("length", short, await stepsFor(short, budget)));
    const distilled = await distil(model, dataset, {
      teacher: pt.prompt,
      start: short,
      settings,
      budget: budget - pt.flops,
      seed,
    });
    await measured("distilled", { ...distilled, flops: distilled.flops + pt.flops });
  }
  const rows = {
    train: data.train.length,
    chooses: half?.chooses.length ?? "a tenth of the training rows",
    reports: reports.length,
  };
  return {
    task,
    seed,
    metric: data.task.metrics[0],
    arms,
    rows,
    data: namedFiles(data, datasets),
    settings: given,
    select: values.select,
  };
}

const tasks = values.tasks?.split(",") ?? given.tasks;
const seeds = values.seeds.split(",").map(Number);
if (values.collect === undefined) {
  const model = await openModel(folder, { threads: Number(values.threads), precision: given.precision });
  try {
    for (const seed of seeds)
      for (const task of tasks) {
        if (existsSync(cellOf(task, seed))) continue;
        const cpu = process.cpuUsage();
        const found = await cell(model, task, seed);
        const used = process.cpuUsage(cpu);
        const made = {
          model: { name: model.checkpoint.name, sha256: await model.checkpoint.sha256() },
          node: process.version,
        };
        const cpuSeconds = (used.user + used.system) / 1e6;
        writeFileSync(cellOf(task, seed), `${JSON.stringify({ ...found, ...made, cpuSeconds }, null, 1)}\n`);
      }
  } catch (error) {
    if (error?.kind !== "interrupted") throw error;
    say("stopped; the same command goes on");
  } finally {
    await model.dispose();
  }
} else
  collect(
    tasks.flatMap((task) =>
      seeds
        .map((seed) => cellOf(task, seed))
        .filter((file) => existsSync(file))
        .map((file) => JSON.parse(readFileSync(file, "utf8"))),
    ),
  );

function collect(found) {
  const pairs = [
    ["xprompt", "pt"],
    ["xprompt", "control"],
    ["xprompt", "long"],
    ["xprompt", "bestOf"],
    ["xprompt", "length"],
    ["xprompt", "distilled"],
    ["xprompt", "tokens"],
    ["xprompt", "pieces"],
    ["xprompt", "reversed"],
    ["xprompt", "random"],
    ["mean", "control"],
    ["mean", "reversedMean"],
    ["mean", "randomMean"],
    ["tokens", "control"],
    ["pieces", "control"],
    ["length", "pt"],
    ["distilled", "length"],
    ["bestOf", "pt"],
    ["long", "pt"],
  ];
  const names = [...new Set(found.map(({ task }) => task))];
  const show = (all) =>
    all.length === 0 ? "–" : `${mean(all).toFixed(2)}${all.length > 1 ? ` ± ${deviation(all).toFixed(2)}` : ""}`;
  const scoresOf = (arm, task) =>
    found
      .filter((one) => (task ? one.task === task : true))
      .flatMap(({ arms }) => (arms[arm] ? [arms[arm].score] : []));
  const meanOf = (arm, of) => {
    const all = found.flatMap(({ arms }) => (arms[arm] ? [of(arms[arm])] : []));
    return all.length === 0 ? null : mean(all);
  };
  const differences = pairs.flatMap(([a, b]) => {
    const each = found.flatMap(({ task, seed, arms }) =>
      arms[a] && arms[b] ? [{ task, seed, points: arms[a].score - arms[b].score }] : [],
    );
    const all = tested(each.map(({ points }) => points));
    return all === null ? [] : [{ first: a, second: b, ...all, each }];
  });
  /** At most so many rows are scored; 0 is all. */
  const scored = (most, rows) => (most > 0 ? Math.min(most, rows) : rows);
  const rowsText = (task) => {
    const { rows, settings } = found.find((one) => one.task === task);
    const choosing = typeof rows.chooses === "number" ? `${scored(settings.maxEvalRows, rows.chooses)} choose, ` : "";
    return `${task} ${choosing}${scored(settings.finalEvalRows ?? 0, rows.reports)} report`;
  };
  /** An arm's FLOPs in percent of XPrompt's in the same cell. */
  const shareOf = (arm) => {
    const all = found.flatMap(({ arms }) => (arms[arm] && arms.xprompt ? [arms[arm].flops / arms.xprompt.flops] : []));
    return all.length === 0 ? "–" : (100 * mean(all)).toFixed(0);
  };
  const report = { experiment: "fair", labels, differences, cells: found };
  const first = found[0];
  const lines = ["# XPrompt against other rankings and other uses of its FLOPs", ""];
  if (first)
    lines.push(
      `${first.model.name}, ${first.settings.precision ?? "float32"}; ${first.settings.virtualTokens} virtual tokens, ${first.settings.steps} steps, ${first.settings.retrainSteps} for each candidate and the control; seeds ${[...new Set(found.map(({ seed }) => seed))].join(", ")}. ${first.select === "half" ? "One half of the validation rows chose checkpoints and candidates, the other reports." : "A tenth of the training rows chose, all validation rows report."} Scores × 100, mean ± deviation over seeds. Rows that were scored: ${names.map(rowsText).join("; ")}.`,
      "",
      `| prompt | ${names.join(" | ")} | tokens | parameters | TFLOP in all | of XPrompt's, % | tries |`,
      `| --- | ${names.map(() => "--:").join(" | ")} | --: | --: | --: | --: | --: |`,
      ...Object.entries(labels)
        .filter(([arm]) => scoresOf(arm).length > 0)
        .map(
          ([arm, label]) =>
            `| ${[label, ...names.map((task) => show(scoresOf(arm, task))), meanOf(arm, (x) => x.counts.tokens).toFixed(1), meanOf(arm, (x) => x.counts.parameters).toFixed(0), (meanOf(arm, (x) => x.flops) / 1e12).toFixed(2), shareOf(arm), meanOf(arm, (x) => x.candidates).toFixed(1)].join(" | ")} |`,
        ),
      "",
      "| first − second | points ± standard error | pairs | above / equal / below | sign test, p |",
      "| --- | --: | --: | --- | --: |",
      ...differences.map(
        ({ first: a, second: b, mean: m, error, pairs: n, signs, p }) =>
          `| ${[`${labels[a]} − ${labels[b]}`, `${signed(m)}${error === null ? "" : ` ± ${error.toFixed(2)}`}`, n, signs, p.toFixed(3)].join(" | ")} |`,
      ),
      "",
      "Pairs are of one task and seed: the same start prompt, training rows and reporting rows. Tries: candidates or trainings that the arm chose from. “Distilled”: the tuned prompt's probabilities of the answers, hidden states not matched. The starts of “best of” differ, the order of their rows does not.",
      "",
    );
  const config =
    basename(values.config) === "fair.yaml" ? "" : ` --config experiments/xprompt/${basename(values.config)}`;
  lines.push(`Made by \`node experiments/xprompt/fair.mjs DATASETS OUT${config} --collect experiments/xprompt\`.`, "");
  mkdirSync(values.collect, { recursive: true });
  const file = join(values.collect, basename(values.config, ".yaml"));
  writeFileSync(`${file}.json`, `${JSON.stringify(report, null, 1)}\n`);
  writeFileSync(`${file}.md`, lines.join("\n"));
  console.log(lines.join("\n"));
}
