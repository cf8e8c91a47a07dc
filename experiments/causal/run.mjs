/**
 * @file What a prompt is worth on a real decoder-only model: tasks × seeds beside the majority class, the model untold, told by a written
 * instruction, and with four examples in its context; then FPT and XPrompt on two tasks.
 *
 *   node experiments/causal/run.mjs MODEL DATASETS OUT [--tasks sst2,cb] [--seeds 0,1,2] [--parts frozen,behind,…] [--train-end] [--collect FOLDER]
 *
 * In:  MODEL, a folder; DATASETS holds the tasks as their owners publish them; tasks.yaml beside this file has every setting.
 * Out: OUT/NAME.json of every finished job, which is not done again; --collect alone runs nothing and writes FOLDER/results.json and
 *      results.md of what is finished; with --train-end (label words are trained with an end token, in an OUT of its own) with-end.json and
 *      with-end.md. Seconds are kept for the order of things: nobody said that the machine was quiet. Needs `npm run build`.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { evaluate, prune, tune } from "softprompt";
import { parse } from "yaml";
import { processor } from "../../bench/processor.mjs";
import { openNamed } from "../jobs.mjs";
import { causalData, majorityOf, templateOf } from "../rows.mjs";
import { deviation, mean } from "../statistics.mjs";

const parts = ["frozen", "behind", "examples", "front", "fpt", "xprompt"];
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tasks: { type: "string", default: "sst2,cb,copa,wic,rte" },
    seeds: { type: "string", default: "0,1,2" },
    parts: { type: "string", default: parts.join(",") },
    "train-end": { type: "boolean", default: false },
    collect: { type: "string" },
  },
});
const [folder, datasets, out] = positionals;
if (out === undefined) {
  console.error(
    "node experiments/causal/run.mjs MODEL DATASETS OUT [--tasks …] [--seeds …] [--parts …] [--collect FOLDER]",
  );
  process.exit(2);
}
const own = parse(readFileSync(join(import.meta.dirname, "tasks.yaml"), "utf8"));
const wanted = values.tasks.split(",");
const seeds = values.seeds.split(",").map(Number);
/** Tasks that front, FPT and XPrompt run on. */
const few = ["sst2", "cb"];
mkdirSync(out, { recursive: true });

/** Rows that differ by task alone: the same training rows for every run, the same validation rows for every way to answer. */
const dataOf = (task, { behind = true, prefix = "" } = {}) => {
  const { trainingRows, validationRows } = own;
  const put = { ...own.tasks[task], template: templateOf(own.tasks[task], behind) };
  const metrics = task === "cb" ? ["accuracy", "macroF1"] : ["accuracy"];
  return causalData(datasets, { task, put, trainingRows, validationRows, inputPrefix: prefix, metrics });
};

/** Four training rows with their answers, in an order that the seed draws. */
function examplesOf(data, seed) {
  const order = (row) => createHash("sha256").update(`${seed} ${row.id}`).digest("hex");
  const drawn = [...data.train].sort((a, b) => (order(a) < order(b) ? -1 : 1)).slice(0, 4);
  return drawn.map((row) => `${row.input} ${row.target}\n\n`).join("");
}

const fileOf = (name) => join(out, `${name}.json`);
const began = performance.now();
const minutes = () => `${((performance.now() - began) / 60000).toFixed(1)} min`;
let opened;
const model = async () => (opened ??= await openNamed(folder, { threads: 1, textCacheMemory: 0, textCacheDisk: 6144 }));

/** Runs a job whose result is not there yet. */
async function job(name, work) {
  if (existsSync(fileOf(name))) return;
  const from = performance.now();
  console.log(`${minutes()}  ${name}`);
  const found = await work(await model());
  writeFileSync(fileOf(name), `${JSON.stringify({ ...found, seconds: (performance.now() - from) / 1000 })}\n`);
  console.log(`${minutes()}  ${name}: ${JSON.stringify(found.scores)}`);
}
const frozen = (data, maxInputTokens) => async (model) => {
  const { scores, loss, flops } = await evaluate(model, data, { maxInputTokens, batchSize: 8, loss: false });
  return { scores, loss, flops, rows: data.validation.length };
};
const inputOf = (name, seed) => ({
  ...own.settings,
  maxInputTokens: own.maxInputTokens,
  seed,
  trainEnd: values["train-end"],
  output: join(out, name),
});
const tuned =
  (data, name, seed, more = {}) =>
  async (model) => {
    rmSync(join(out, name), { recursive: true, force: true });
    const { result } = await tune(model, data, { ...inputOf(name, seed), ...more });
    return { scores: result.scores, flops: result.cost.flops, trainFlops: result.cost.trainFlops, where: result.where };
  };
const perTask = async (tasks, each) => {
  for (const task of tasks.filter((name) => wanted.includes(name))) await each(task);
};

const work = {
  frozen: () =>
    perTask(wanted, async (task) => {
      await job(`${task}-untold`, frozen(await dataOf(task), own.maxInputTokens));
      const told = await dataOf(task, { prefix: own.tasks[task].told });
      await job(`${task}-told`, frozen(told, own.maxInputTokens));
    }),
  behind: (seed) =>
    perTask(wanted, async (task) => {
      const name = `${task}-behind-${seed}`;
      await job(name, tuned(await dataOf(task), name, seed));
    }),
  examples: (seed) =>
    perTask(wanted, async (task) => {
      const prefix = examplesOf(await dataOf(task, { behind: false }), seed);
      await job(`${task}-examples-${seed}`, frozen(await dataOf(task, { prefix }), own.fewShotTokens));
    }),
  front: (seed) =>
    perTask(few, async (task) => {
      const name = `${task}-front-${seed}`;
      await job(name, tuned(await dataOf(task, { behind: false }), name, seed));
    }),
  fpt: (seed) =>
    perTask(few, async (task) => {
      for (const schedule of ["fpt-ld", "fpt-fr", "fpt-cr"]) {
        const name = `${task}-${schedule}-${seed}`;
        await job(name, tuned(await dataOf(task), name, seed, { ...own.fpt, schedule }));
      }
    }),
  xprompt: (seed) =>
    perTask(few, async (task) => {
      const name = `${task}-xprompt-${seed}`;
      await job(name, async (model) => {
        rmSync(join(out, name), { recursive: true, force: true });
        const { record } = await prune(model, await dataOf(task), { ...inputOf(name, seed), ...own.xprompt });
        const { importance: _, ...search } = record.search;
        return { scores: record.scores, search, flops: record.cost.flops };
      });
    }),
};
/** What says most comes first: every seed's main rows before FPT and XPrompt. */
const phases = [
  ["behind", "examples", "front"],
  ["fpt", "xprompt"],
];
if (values.collect === undefined) {
  const asked = values.parts.split(",");
  if (asked.includes("frozen")) await work.frozen();
  for (const phase of phases)
    for (const seed of seeds) for (const part of phase) if (asked.includes(part)) await work[part](seed);
  await opened?.dispose();
}

/** Every finished job, and the table of what there is of each task. */
if (values.collect !== undefined) {
  const tasks = Object.keys(own.tasks);
  const called = values["train-end"] ? "with-end" : "results";
  const found = (name) => (existsSync(fileOf(name)) ? JSON.parse(readFileSync(fileOf(name), "utf8")) : null);
  const jobs = [
    ...["untold", "told"],
    ...seeds.flatMap((seed) =>
      ["examples", "behind", "front", "fpt-ld", "fpt-fr", "fpt-cr", "xprompt"].map((kind) => `${kind}-${seed}`),
    ),
  ];
  const results = {};
  for (const task of tasks)
    for (const kind of jobs) {
      const result = found(`${task}-${kind}`);
      if (result !== null) results[`${task}-${kind}`] = result;
    }
  const score = (task, kind) => results[`${task}-${kind}`]?.scores.accuracy;
  const percent = (x) => (100 * x).toFixed(1);
  const one = (task, kind) => (score(task, kind) === undefined ? "–" : percent(score(task, kind)));
  const over = (task, kind) => {
    const all = seeds.map((seed) => score(task, `${kind}-${seed}`)).filter((x) => x !== undefined);
    if (all.length < 2) return all.length === 0 ? "–" : percent(all[0]);
    return `${percent(mean(all))} ± ${percent(deviation(all))} (${all.map(percent).join(" / ")})`;
  };
  const rows = [];
  const files = {};
  for (const task of tasks) {
    if (!jobs.some((kind) => score(task, kind) !== undefined)) continue;
    const data = await dataOf(task);
    const { train, validation } = data;
    const majority = majorityOf(data);
    for (const split of ["train", "validation"]) {
      const name = `${own.tasks[task].folder}/${split}.jsonl`;
      files[name] = createHash("sha256")
        .update(readFileSync(join(datasets, name)))
        .digest("hex");
    }
    rows.push({
      ...{ task, trainingRows: train.length, validationRows: validation.length, majority },
      cells: ["examples", "behind", "front", "fpt-ld", "fpt-fr", "fpt-cr"].map((kind) => over(task, kind)),
    });
  }
  const pruned = few.flatMap((task) =>
    seeds.flatMap((seed) => {
      const search = results[`${task}-xprompt-${seed}`]?.search;
      return search ? [{ task, seed, search }] : [];
    }),
  );
  const machine = processor();
  const model = {
    name: basename(folder),
    sha256: createHash("sha256")
      .update(readFileSync(join(folder, "model.safetensors")))
      .digest("hex"),
  };
  const report = { ...own, seeds, model, processor: machine, node: process.version, data: files, results };
  writeFileSync(join(values.collect, `${called}.json`), `${JSON.stringify(report, null, 1)}\n`);
  const head = ["task", "rows", "majority", "untold", "told", "4 examples", "prompt behind", "prompt in front"];
  const lines = [
    "# Prompt tuning of SmolLM2-135M-Instruct",
    "",
    `Accuracy in percent; mean ± deviation over seeds (each seed). ${own.settings.virtualTokens} virtual tokens, ${own.settings.steps} steps of ${own.settings.batchSize} rows, ${own.settings.optimizer} at ${own.settings.learningRate} for every task and place, chosen before any run; the prompt of the last step, so no validation row chose one. Label words were trained ${values["train-end"] ? "with an end token behind them" : "as they are ranked, without an end token"}.`,
    `"–" was not run. Templates and label words: tasks.yaml. Processor: ${machine.name}, ${machine.flags.join(" ")}; float32, one thread. The machine was busy with other work: seconds in results.json are no claim.`,
    "",
    `| ${[...head, "FPT-LD", "FPT-FR", "FPT-CR"].join(" | ")} |`,
    `| --- | ${[...head, "", ""].map(() => "--:").join(" | ")} |`,
    ...rows.map(
      ({ task, trainingRows, validationRows, majority, cells }) =>
        `| ${[task, `${trainingRows} / ${validationRows}`, percent(majority), one(task, "untold"), one(task, "told"), ...cells].join(" | ")} |`,
    ),
    "",
    ...(pruned.length === 0
      ? []
      : [
          "XPrompt, chosen on a tenth of the training rows, scored on the validation rows:",
          "",
          "| task | seed | tuned | control | pruned | mask |",
          "| --- | --: | --: | --: | --: | --- |",
          ...pruned.map(({ task, seed, search: { reported, best } }) => {
            const of = (which) => (reported?.[which]?.accuracy === undefined ? "–" : percent(reported[which].accuracy));
            return `| ${task} | ${seed} | ${of("tuned")} | ${of("control")} | ${of("best")} | ${best} |`;
          }),
          "",
        ]),
    `Made by \`node experiments/causal/run.mjs MODEL DATASETS OUT${values["train-end"] ? " --train-end" : ""} --collect experiments/causal\`.`,
    "",
  ];
  writeFileSync(join(values.collect, `${called}.md`), lines.join("\n"));
  console.log(lines.join("\n"));
}
