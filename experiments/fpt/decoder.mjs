/**
 * @file Which layers a partial decoder keeps: partial models untuned and tuned alone, and FPT with them, against prompt tuning at equal steps and
 * at equal FLOPs; the prompt behind the text and in front of it.
 *
 *   node experiments/fpt/decoder.mjs MODEL DATASETS OUT [--tasks sst2,cb] [--seeds 0,1,2] [--places behind,front] [--parts pt,fpt,alone]
 *     [--config decoder.yaml] [--threads 1] [--earlier RESULTS.json] [--collect FOLDER]
 *
 * In:  MODEL, a folder; DATASETS holds the tasks as their owners publish them; decoder.yaml has every setting.
 * Out: OUT/TASK-PLACE-SEED.json of each finished cell. Its trainings are kept in OUT/TASK-PLACE, so a stopped cell goes on; a finished one is not
 *      done again; --earlier takes the cells of committed results as finished. --collect alone runs nothing and writes FOLDER/decoder.json and decoder.md of the cells there are. Seconds are for the order
 *      of things only. Needs `npm run build`.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { runVariants, vanilla } from "softprompt/study";
import {
  evaluatePrepared,
  neuronScoreOptions,
  planSchedule,
  prepareEvaluation,
  readOptions,
  scheduleOptions,
  trainOptions,
} from "softprompt/train";
import { parse } from "yaml";
import { openNamed } from "../jobs.mjs";
import { causalData, templateOf } from "../rows.mjs";
import { mean, tested } from "../statistics.mjs";

const here = import.meta.dirname;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tasks: { type: "string", default: "sst2,cb" },
    seeds: { type: "string", default: "0,1,2" },
    places: { type: "string", default: "behind,front" },
    parts: { type: "string", default: "pt,fpt,alone" },
    config: { type: "string", default: join(here, "decoder.yaml") },
    threads: { type: "string", default: "1" },
    earlier: { type: "string" },
    collect: { type: "string" },
  },
});
const [folder, datasets, out] = positionals;
if (out === undefined) {
  console.error("node experiments/fpt/decoder.mjs MODEL DATASETS OUT [--tasks …] [--seeds …] [--places …] [--parts …]");
  process.exit(2);
}
const own = parse(readFileSync(values.config, "utf8"));
const { tasks: asked } = parse(readFileSync(join(here, "../causal/tasks.yaml"), "utf8"));
const tasks = values.tasks.split(",");
const seeds = values.seeds.split(",").map(Number);
const places = values.places.split(",");
const parts = values.parts.split(",");
mkdirSync(out, { recursive: true });
const cellOf = (task, place, seed) => join(out, `${task}-${place}-${seed}.json`);
if (values.earlier !== undefined)
  for (const one of JSON.parse(readFileSync(values.earlier, "utf8")).cells) {
    const file = cellOf(one.task, one.place, one.seed);
    if (!existsSync(file)) writeFileSync(file, `${JSON.stringify(one, null, 1)}\n`);
  }

/** The same rows for every run of a task. */
async function dataOf(task, place) {
  const put = { ...asked[task], template: templateOf(asked[task], place === "behind") };
  const rows = { trainingRows: own.trainingRows, validationRows: own.validationRows[task] };
  const data = await causalData(datasets, { task, put, ...rows, metrics: ["accuracy"] });
  // label words are trained as they are ranked, as softprompt train does
  return { ...data, task: { ...data.task, openAnswers: true } };
}

const began = performance.now();
const minutes = () => `${((performance.now() - began) / 60000).toFixed(1)} min`;
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => stop.abort(signal));

/** A schedule of full steps of prompt tuning, of one partial model, or FPT's. */
const variants = {
  pt: (steps) => ({ label: `PT ${steps}`, schedule: { ...vanilla.schedule, steps } }),
  alone: (depth, layerChoice) => ({
    label: `alone ${layerChoice} ${depth}`,
    schedule: { schedule: "custom", depths: [depth], stageFractions: [1, 0], layerChoice },
  }),
  fpt: (layerChoice) => ({
    label: `FPT ${layerChoice}`,
    schedule: { schedule: "custom", ...own.fpt, layerChoice },
  }),
};

/** What a cell keeps of a run. `score` is of the model named: of a partial one where it was tuned alone. */
function lineOf({ result, scoring }, alone) {
  const partial = result.cost.perStage[0].partial;
  const seen = result.history.filter((entry) => (alone ? entry.partial === partial : entry.partial === "full"));
  const { trainFlops, paperFlops, evalFlops, trainSeconds, openSeconds } = result.cost;
  return {
    score: 100 * seen.at(-1).scores.accuracy,
    ...(alone && { onFull: 100 * result.history.findLast((entry) => entry.partial === "full").scores.accuracy }),
    ...{ steps: result.steps, trainFlops, paperFlops, evalFlops, trainSeconds, openSeconds },
    choosing: scoring === null ? null : { flops: scoring.flops, seconds: scoring.seconds },
  };
}

async function cell(model, task, place, seed) {
  const data = await dataOf(task, place);
  const at = join(out, `${task}-${place}`);
  mkdirSync(at, { recursive: true });
  const { engine } = model;
  const input = {
    engine,
    tokenizer: model.tokenizer,
    tasks: [data],
    seeds: [seed],
    settings: readOptions(trainOptions, own.train, "train"),
    schedule: readOptions(scheduleOptions, { steps: own.steps }, "schedule"),
    virtualTokens: own.virtualTokens,
    init: { kind: "sampledVocab" },
    scoring: readOptions(neuronScoreOptions, own.scoring, "scoring"),
    folder: at,
    signal: stop.signal,
    observe: (event) => {
      if (event.kind === "run") console.log(`${minutes()}  ${task} ${place} seed ${seed}: ${event.label}`);
    },
  };
  const { config } = engine.checkpoint;
  const fits = (depth) => depth < config.layers;
  const lines = {};
  const run = async (variant, alone = false) => {
    const [finished] = await runVariants(input, [variant]);
    lines[variant.label] = lineOf(finished, alone);
    return lines[variant.label];
  };
  const prepared = prepareEvaluation(model.tokenizer, data.task, data.validation, {
    maxInputTokens: own.train.maxInputTokens,
    batchSize: 32,
    loss: false,
  });
  const untold = async (label, variant) => {
    const options = { ...input.settings, ...input.scoring, ...input.schedule, ...variant?.schedule, seed };
    const plan = await planSchedule(engine, model.tokenizer, data, options, { ...input, folder: at });
    const { partial } = plan.schedule.stages[0];
    const { scores } = await evaluatePrepared(engine, partial, model.tokenizer, prepared, null);
    lines[label] = {
      score: 100 * scores.accuracy,
      layers: Object.values(partial.stacks).map(({ layers }) => layers),
    };
    if (partial.name !== "full") await engine.release(partial);
  };
  const whole = variants.pt(own.steps);
  /**
   * The label of prompt tuning that spends these FLOPs on its training, within two percent. Texts are read in the first steps alone, so a step
   * costs less than the average: a first guess by the average, then one by what a step more costs.
   */
  const ofFlops = async (flops) => {
    const spent = (steps) => lines[variants.pt(steps).label].trainFlops;
    const guesses = [own.steps];
    const perStep = () => {
      const [to, from = 0] = guesses.slice(-2).sort((a, b) => b - a);
      return (spent(to) - (from === 0 ? 0 : spent(from))) / (to - from);
    };
    for (let tries = 0; Math.abs(spent(guesses.at(-1)) / flops - 1) > 0.02 && tries < 3; tries++) {
      const more = Math.round((flops - spent(guesses.at(-1))) / perStep());
      const steps = Math.max(1, guesses.at(-1) + (more === 0 ? 1 : more));
      if (lines[variants.pt(steps).label] === undefined) await run(variants.pt(steps));
      guesses.push(steps);
    }
    return variants.pt(guesses.at(-1)).label;
  };
  await untold("untold full");
  if (parts.includes("pt")) await run(whole);
  if (parts.includes("fpt"))
    for (const choice of own.choices) {
      const { label, schedule } = variants.fpt(choice);
      const fpt = await run({ label, schedule });
      if (!parts.includes("pt")) continue;
      // prompt tuning for as many FLOPs: of the training alone, and with the choice of the layers unless that costs more than the training
      const all = fpt.trainFlops + (fpt.choosing?.flops ?? 0);
      fpt.equal = [await ofFlops(fpt.trainFlops)];
      if (all <= 2 * fpt.trainFlops) fpt.equal.push(await ofFlops(all));
    }
  if (parts.includes("alone"))
    for (const depth of own.depths.filter(fits))
      for (const choice of own.choices) {
        const variant = variants.alone(depth, choice);
        await untold(`untold ${choice} ${depth}`, variant);
        await run(variant, true);
      }
  return { task, place, seed, lines, rows: { train: data.train.length, validation: data.validation.length } };
}

if (values.collect === undefined) {
  const model = await openNamed(folder, { threads: Number(values.threads), textCacheMemory: 0, textCacheDisk: 6144 });
  try {
    for (const seed of seeds)
      for (const place of places)
        for (const task of tasks) {
          const file = cellOf(task, place, seed);
          const before = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : null;
          if (before !== null && parts.every((part) => before.parts.includes(part))) continue;
          const found = await cell(model, task, place, seed);
          const lines = { ...before?.lines, ...found.lines };
          const done = [...new Set([...(before?.parts ?? []), ...parts])];
          writeFileSync(file, `${JSON.stringify({ ...found, lines, parts: done, settings: own }, null, 1)}\n`);
          console.log(`${minutes()}  ${task} ${place} seed ${seed}`);
          for (const [label, { score }] of Object.entries(found.lines)) console.log(`  ${label}  ${score.toFixed(1)}`);
        }
  } catch (error) {
    if (error?.kind !== "interrupted") throw error;
    console.log("stopped; the same command goes on");
  } finally {
    await model.dispose();
  }
} else {
  const cells = tasks.flatMap((task) =>
    places.flatMap((place) => seeds.map((seed) => cellOf(task, place, seed)).filter((file) => existsSync(file))),
  );
  collect(cells.map((file) => JSON.parse(readFileSync(file, "utf8"))));
}

function collect(cells) {
  const hash = (file) => createHash("sha256").update(readFileSync(file)).digest("hex");
  const report = {
    model: { name: basename(folder), sha256: hash(join(folder, "model.safetensors")) },
    data: Object.fromEntries(
      [...new Set(cells.map(({ task }) => task))].flatMap((task) =>
        ["train", "validation"].map((split) => {
          const name = `${asked[task].folder}/${split}.jsonl`;
          return [name, hash(join(datasets, name))];
        }),
      ),
    ),
    node: process.version,
    cells,
  };
  const lines = ["# Partial decoders and FPT with them", ""];
  const settings = cells[0]?.settings;
  if (settings)
    lines.push(
      `${report.model.name}, ${settings.virtualTokens} virtual tokens, ${settings.steps} steps of ${settings.train.batchSize} rows, ${settings.train.optimizer} at ${settings.train.learningRate}${settings.train.learningRateSchedule ? `, ${settings.train.learningRateSchedule}` : ""}; accuracy in percent after the last step, so no validation row chose a prompt. FPT: ${settings.fpt.stageSteps.join(" + ")} steps on ${settings.fpt.depths.join(", ")} and all layers. Greedy: ${settings.scoring.layerRows} training rows.`,
      "",
    );
  const groups = new Map();
  for (const one of cells) {
    const key = `${one.task}, prompt ${one.place === "behind" ? "behind the text" : "in front"}`;
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  const show = (scores) =>
    scores.length === 0
      ? "–"
      : `${mean(scores).toFixed(1)}${scores.length > 1 ? ` (${scores.map((x) => x.toFixed(1)).join(" / ")})` : ""}`;
  for (const [name, group] of groups) {
    const of = (label) => group.flatMap(({ lines: found }) => (found[label] ? [found[label].score] : []));
    lines.push(
      `## ${name}`,
      "",
      `Seeds: ${group.map(({ seed }) => seed).join(", ")}; ${group[0].rows.train} training rows, ${group[0].rows.validation} scored. The full model untold: ${show(of("untold full"))}.`,
      "",
    );
    const tuned = own.depths.filter((depth) => own.choices.some((choice) => of(`alone ${choice} ${depth}`).length > 0));
    if (tuned.length > 0)
      lines.push(
        `| layers | ${own.choices.map((choice) => `${choice}, untold | ${choice}, tuned alone`).join(" | ")} |`,
        `| --: | ${own.choices.map(() => "--: | --:").join(" | ")} |`,
        ...tuned.map(
          (depth) =>
            `| ${depth} | ${own.choices.map((choice) => `${show(of(`untold ${choice} ${depth}`))} | ${show(of(`alone ${choice} ${depth}`))}`).join(" | ")} |`,
        ),
        "",
      );
    lines.push(
      "| FPT | score | FLOPs of training, % of PT | of training and choosing, % | minus PT, equal steps | minus PT, equal FLOPs of training | minus PT, equal FLOPs with choosing |",
      "| --- | --: | --: | --: | --: | --: | --: |",
    );
    for (const choice of own.choices) {
      const pairs = group.flatMap(({ lines: found, settings: { steps } }) => {
        const [fpt, pt] = [found[`FPT ${choice}`], found[`PT ${steps}`]];
        if (!fpt || !pt) return [];
        const all = fpt.trainFlops + (fpt.choosing?.flops ?? 0);
        return [
          {
            fpt,
            shares: [fpt.trainFlops, all].map((flops) => (100 * flops) / pt.trainFlops),
            others: [pt.score, ...(fpt.equal ?? []).map((label) => found[label]?.score)],
          },
        ];
      });
      if (pairs.length === 0) continue;
      const difference = (n) => {
        const all = pairs
          .filter(({ others }) => others[n] !== undefined)
          .map(({ fpt, others }) => fpt.score - others[n]);
        const found = tested(all);
        if (found === null) return "–";
        const error = found.error === null ? "" : ` ± ${found.error.toFixed(1)}, p ${found.p.toFixed(2)}`;
        return `${found.mean > 0 ? "+" : ""}${found.mean.toFixed(1)}${error} (${found.signs})`;
      };
      lines.push(
        `| ${[choice, show(pairs.map(({ fpt }) => fpt.score)), ...[0, 1].map((n) => mean(pairs.map(({ shares }) => shares[n])).toFixed(1)), difference(0), difference(1), difference(2)].join(" | ")} |`,
      );
    }
    lines.push("");
  }
  lines.push(
    "± is the standard error over pairs of the same seed; in brackets pairs above / equal / below; p is the two-sided sign test. “–” was not run.",
    "",
    "Made by `node experiments/fpt/decoder.mjs MODEL DATASETS OUT --collect experiments/fpt`.",
    "",
  );
  mkdirSync(values.collect, { recursive: true });
  writeFileSync(join(values.collect, "decoder.json"), `${JSON.stringify(report, null, 1)}\n`);
  writeFileSync(join(values.collect, "decoder.md"), lines.join("\n"));
  console.log(lines.join("\n"));
}
