/**
 * @file From the command to a score: softprompt's command line beside PEFT in PyTorch, on one model, rows, start, optimizer and rate.
 *
 *   node bench/time-to-score.mjs MODEL DATASETS --python PYTHON [--tasks sst2,cb] [--ours end-int8,end-float32,start-float32]
 *     [--peft float32,bfloat16] [--steps 100] [--every 10] [--seed 0] [--name time-to-score]
 *
 * In:  MODEL, a decoder-only folder; DATASETS, the tasks as their owners publish them; experiments/causal/tasks.yaml has templates,
 *      label words and rows. PYTHON has torch, transformers and peft.
 * Out: bench/results/NAME.json and .md: seconds from starting the process to the first evaluation that reaches 95 % of the final score of
 *      PEFT's best run, and to 95 % of its own; loading, reading the texts once and evaluations included on both sides. Both evaluate on
 *      the same validation rows, by the same rule, equally often. Needs `npm run build`, and a machine on which nothing else runs.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { parse } from "yaml";
import { processor } from "./processor.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: "string", default: process.env.SOFTPROMPT_PYTHON ?? "python3" },
    tasks: { type: "string", default: "sst2,cb" },
    ours: { type: "string", default: "end-int8,end-float32,start-float32" },
    peft: { type: "string", default: "float32,bfloat16" },
    steps: { type: "string", default: "100" },
    every: { type: "string", default: "10" },
    seed: { type: "string", default: "0" },
    name: { type: "string", default: "time-to-score" },
  },
});
const [model, datasets] = positionals;
if (datasets === undefined) {
  console.error("node bench/time-to-score.mjs MODEL DATASETS --python PYTHON [--tasks …] [--ours …] [--peft …]");
  process.exit(2);
}
const root = join(import.meta.dirname, "..");
const own = parse(readFileSync(join(root, "experiments", "causal", "tasks.yaml"), "utf8"));
const steps = Number(values.steps);
const every = Number(values.every);
const seed = Number(values.seed);
const place = mkdtempSync(join(tmpdir(), "softprompt-time-to-score-"));
const { batchSize, learningRate, weightDecay, virtualTokens } = own.settings;
/** Characters of a row's longest field: so short that no tokenizer's limit cuts it, and both sides read the same texts. */
const mostCharacters = 700;
/** Words that go on from a text of the task; both sides start from them (cut or repeated to the prompt's length). */
const starts = {
  sst2: "\nIs the sentiment of this review negative or positive?",
  cb: "\nDoes the text say that this is True, False, or Neither?",
  rte: "\nDoes the text say that this is True or False?",
  boolq: "\nDoes the passage answer this with Yes or No?",
  wic: "\nIs it the same sense, Yes or No?",
};

/** `n` rows, evenly spaced; every row's label as text. */
function rowsOf(task, split, n) {
  const text = readFileSync(join(datasets, own.tasks[task].folder, `${split}.jsonl`), "utf8");
  const all = text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const count = Math.min(n, all.length);
  return Array.from({ length: count }, (_, i) => all[Math.floor((i * all.length) / count)]).map((row) =>
    Object.fromEntries(
      Object.entries(row).map(([name, value]) => [
        name,
        name === "idx" ? value : String(value).slice(0, mostCharacters),
      ]),
    ),
  );
}
const lines = (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");

/** Runs a process; what it prints line by line, with the seconds since its start. */
async function timed(command, args, onLine, env = {}) {
  const from = performance.now();
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "inherit"],
    cwd: root,
    env: { ...process.env, ...env },
  });
  const done = new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve() : reject(new Error(`${command} ${args[0]}: exit ${code}`))));
  });
  for await (const line of createInterface({ input: child.stdout })) onLine(line, (performance.now() - from) / 1000);
  await done;
  return (performance.now() - from) / 1000;
}

/** Scores in the order of their steps: {step, score, seconds since the command}. */
async function ours(task, kind, files) {
  const [position, precision] = kind.split("-");
  const output = join(place, `${task}-${kind}`);
  const { template, verbalizer } = own.tasks[task];
  const began = Date.now();
  const options = {
    model,
    precision,
    train: files.train,
    validation: files.validation,
    template: template.replace("{prompt}", ""),
    "label-column": "label",
    "prompt-position": position,
    "virtual-tokens": virtualTokens,
    init: "text",
    "init-text": starts[task],
    optimizer: "adamw",
    "learning-rate": learningRate,
    "weight-decay": weightDecay,
    "batch-size": batchSize,
    "micro-batch-size": batchSize,
    "max-input-tokens": own.maxInputTokens,
    steps,
    "eval-every": every,
    seed,
    output,
  };
  const words = Object.entries(verbalizer).flatMap(([label, word]) => ["--verbalizer", `${label}=${word}`]);
  const flags = [...Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]), ...words];
  const seconds = await timed(
    process.execPath,
    [join(root, "dist", "cli", "main.js"), "train", ...flags, "--no-baselines", "--no-tensorboard", "--json"],
    () => {},
    // a cache of its own: nothing that an earlier run kept (8-bit weights, digests, texts) is there
    { SOFTPROMPT_CACHE: mkdtempSync(join(place, "cache-")) },
  );
  const curve = readFileSync(join(output, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line))
    .filter(({ kind: what }) => what === "eval")
    .map(({ step, scores, time }) => ({ step, score: scores.accuracy, seconds: (Date.parse(time) - began) / 1000 }));
  return { curve, seconds };
}
async function peft(task, dtype, files) {
  const curve = [];
  const settings = { model, ...files, dtype, init: starts[task], batchSize, learningRate, weightDecay, virtualTokens };
  const file = join(place, `${task}-${dtype}.json`);
  const { template, verbalizer } = own.tasks[task];
  const rest = { template: template.replace("{prompt}", ""), verbalizer, maxInputTokens: own.maxInputTokens };
  writeFileSync(file, JSON.stringify({ ...settings, ...rest, steps, every, seed }));
  const seconds = await timed(
    values.python,
    [join(import.meta.dirname, "time_to_score.py"), file],
    (line, at) => line.startsWith("{") && curve.push({ ...JSON.parse(line), seconds: at }),
  );
  return { curve, seconds };
}

/** One start of both sides that is not timed: neither shall pay alone for files that are not in memory yet. */
async function warmUp() {
  await timed(values.python, ["-c", "import torch, transformers, peft"], () => {});
  await timed(process.execPath, [join(root, "dist", "cli", "main.js"), "inspect", model], () => {});
}

const load = loadavg()[0];
const finalOf = ({ curve }) => curve.at(-1).score;
const reached = ({ curve }, score) => curve.find((point) => point.score >= score)?.seconds;
const said = (seconds) => (seconds === undefined ? "never" : seconds.toFixed(0));
const { name: chip, cores, flags } = processor();
const machine = `${chip}, ${cores} cores, ${flags.join(" ")}`;
/** Writes what there is. */
function save(results) {
  const rows = Object.entries(results).flatMap(([task, runs]) => {
    const theirs = Object.entries(runs).filter(([name]) => name.startsWith("peft"));
    const goal = 0.95 * Math.max(...theirs.map(([, run]) => finalOf(run)));
    const times = theirs.map(([, run]) => reached(run, goal)).filter((s) => s !== undefined);
    const fastest = Math.min(...times);
    return Object.entries(runs).map(([name, run]) => {
      const at = reached(run, goal);
      const cells = [
        task,
        name,
        (100 * finalOf(run)).toFixed(1),
        (100 * goal).toFixed(1),
        said(at),
        at === undefined || times.length === 0 ? "–" : `${(fastest / at).toFixed(1)} ×`,
        said(reached(run, 0.95 * finalOf(run))),
        run.seconds.toFixed(0),
      ];
      return `| ${cells.join(" | ")} |`;
    });
  });
  const text = [
    "# Time from the command to a score, beside PEFT",
    "",
    `${basename(model)}; ${virtualTokens} virtual tokens, ${steps} steps of ${batchSize} rows, AdamW at ${learningRate}, seed ${seed}, evaluated every ${every} steps; the goal is 95 % of the final score of PEFT's best run.`,
    `${machine}; load average when started ${load.toFixed(1)}. Made by \`node bench/time-to-score.mjs\`.`,
    "",
    "| task | run | final score | goal | seconds to the goal | faster than PEFT's fastest | seconds to 95 % of its own | whole run, s |",
    "| --- | --- | --: | --: | --: | --: | --: | --: |",
    ...rows,
    "",
  ].join("\n");
  const where = join(import.meta.dirname, "results", values.name);
  writeFileSync(
    `${where}.json`,
    `${JSON.stringify({ processor: machine, load, steps, every, seed, results }, null, 1)}\n`,
  );
  writeFileSync(`${where}.md`, text);
  return text;
}

await warmUp();
const results = {};
let text = "";
for (const task of values.tasks.split(",")) {
  const files = { train: join(place, `${task}-train.jsonl`), validation: join(place, `${task}-validation.jsonl`) };
  writeFileSync(files.train, lines(rowsOf(task, "train", own.trainingRows)));
  writeFileSync(files.validation, lines(rowsOf(task, "validation", own.validationRows)));
  const runs = {};
  for (const dtype of values.peft.split(",")) runs[`peft-${dtype}`] = await peft(task, dtype, files);
  for (const kind of values.ours.split(",")) runs[`softprompt-${kind}`] = await ours(task, kind, files);
  results[task] = runs;
  text = save(results);
  for (const [name, { curve, seconds }] of Object.entries(runs))
    console.log(
      `${task} ${name}: ${seconds.toFixed(0)} s; ${curve.map(({ step, score, seconds: s }) => `${step}: ${(100 * score).toFixed(1)} (${s.toFixed(0)} s)`).join(", ")}`,
    );
}
rmSync(place, { recursive: true, force: true });
console.log(text);
