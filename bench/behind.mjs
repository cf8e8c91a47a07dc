/**
 * @file A training step with the prompt before the text against one behind it, on texts of several lengths, interleaved round by round; with
 * --python beside PyTorch and PEFT, which have the prompt before the text.
 *
 * npm run build && node bench/behind.mjs MODEL [--rounds 5] [--batch 8] [--prompt 20] [--target 3] [--texts 32,128,512] [--threads N] [--cache float16]
 *   [--python PYTHON] [--variants eager-float32,peft-float32,eager-bfloat16,peft-bfloat16] [--warm 2] [--output FOLDER] [--name behind]
 * In:  MODEL, a decoder-only model's folder, or a shape with random weights: smollm2-135m, tinyllama-1.1b (--python needs a shape). PYTHON has torch,
 *      transformers and peft.
 * Out: the table; with --output FOLDER/NAME.json and NAME.md. `reading` is what reading the batch's texts costs, once; `paid back` after how many
 *      steps on the same texts (epochs) it is less than what the steps have saved. No padding: every position works. A step before a text whose batch would not fit
 *      into memory at once goes in micro-batches, PyTorch's too: `rows at once`.
 */
import { writeFileSync } from "node:fs";
import { availableParallelism, loadavg } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openEngine } from "../dist/engine/engine.js";
import { stepFlops } from "../dist/engine/flops.js";
import { openCheckpoint } from "../dist/model/checkpoint.js";
import { fullModel } from "../dist/model/partial.js";
import { openTexts } from "../dist/run/text-cache.js";
import { availableMemory, trainingMemory } from "../dist/tasks/memory.js";
import { makeBatch, textsBefore } from "../dist/text/batch.js";
import { median, time } from "./batch.mjs";
import { isCausal, modelFolder } from "./checkpoint.mjs";
import { processor, saveFigures } from "./processor.mjs";
import { openTorch, rest } from "./torch.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "5" },
    batch: { type: "string", default: "8" },
    prompt: { type: "string", default: "20" },
    target: { type: "string", default: "3" },
    texts: { type: "string", default: "32,128,512" },
    threads: { type: "string", default: String(availableParallelism()) },
    cache: { type: "string", default: "float16" },
    python: { type: "string" },
    variants: { type: "string", default: "eager-float32,peft-float32,eager-bfloat16,peft-bfloat16" },
    warm: { type: "string", default: "2" },
    output: { type: "string" },
    name: { type: "string", default: "behind" },
  },
});
const [batch, P, U, rounds] = [options.batch, options.prompt, options.target, options.rounds].map(Number);
const shape = positionals[0] ?? "smollm2-135m";
if (options.python !== undefined && !isCausal(shape)) {
  console.error(`--python needs a shape's name (smollm2-135m, tinyllama-1.1b), not ${shape}`);
  process.exit(2);
}
const variants = options.python === undefined ? [] : options.variants.split(",");
const { folder, dispose } = modelFolder(shape);
const checkpoint = await openCheckpoint(folder);
const { config } = checkpoint;
const textCache = { precision: options.cache, memory: 2 ** 32, disk: 0 };
const prompt = {
  shape: [P, config.width],
  data: Float32Array.from({ length: P * config.width }, (_, i) => Math.sin(i * 12.9898) * 0.1),
};
const weights = new Float32Array(batch).fill(1 / (batch * U));
const full = fullModel(config);

/** The most rows of a step before its text that leave something of the memory there is. */
async function rowsAtOnce(text) {
  const most = 0.6 * (await availableMemory());
  const takes = (rows) => trainingMemory(config, { batch: rows, prompt: P, input: text, target: U }).total;
  let rows = batch;
  while (rows > 1 && (takes(rows) > most || batch % rows > 0)) rows--;
  return rows;
}

/** Median milliseconds of each kind of step on texts of a length, and what reading them costs. On an engine of its own: none gives memory back. */
async function measure(text) {
  const engine = openEngine(checkpoint, { threads: Number(options.threads), textCache }, undefined, openTexts);
  const front = await engine.train();
  const behind = await engine.train(undefined, "behind");
  const id = (n) => 3 + ((n * 7919 + text) % (config.vocabulary - 3));
  const rowOf = (b) => {
    const ids = Int32Array.from({ length: text }, (_, i) => id(b * text + i));
    const target = Int32Array.from({ length: U }, (_, i) => id(i));
    return {
      ...{ id: `${b}`, input: ids.subarray(0, -1), first: ids.at(-1), target },
      ...{ choices: null, gold: -1, truncated: false },
    };
  };
  const rows = Array.from({ length: batch }, (_, b) => rowOf(b));
  const texts = rows.map((row) => ({ ...row, promptAt: text }));
  const atOnce = await rowsAtOnce(text);
  const parts = Array.from({ length: batch / atOnce }, (_, n) => makeBatch(rows.slice(n * atOnce, (n + 1) * atOnce)));
  const after = makeBatch(texts);
  const read = (some) => engine.readTexts(textsBefore(some));
  const steps = {
    start: () =>
      time(async () => {
        for (const part of parts) await front.run({ prompt }, part, weights.subarray(0, atOnce));
      }),
    end: () => time(() => behind.run({ prompt }, after, weights)),
  };
  // the first run of a shape is not like the others
  await read([{ ...rowOf(batch), promptAt: text }]);
  const reading = await time(() => read(texts));
  for (const step of Object.values(steps)) await step();
  const torch =
    options.python === undefined
      ? null
      : await openTorch(options.python, shape, {
          ...{ variants, threads: options.threads, batch, prompt: P, input: text, target: U },
          ...{ micro: atOnce, warm: options.warm },
        });
  for (const name of variants) steps[name] = () => torch.step(name);
  const all = Object.fromEntries(Object.keys(steps).map((name) => [name, []]));
  for (let round = 0; round < rounds; round++)
    for (const [name, step] of Object.entries(steps)) {
      await rest();
      all[name].push(await step());
    }
  torch?.dispose();
  await engine.dispose();
  const ms = Object.fromEntries(Object.entries(all).map(([name, list]) => [name, median(list)]));
  const saved = stepFlops(config, full, { batch, prompt: P, input: text - 1, target: U }).total;
  const spent = stepFlops(config, full, { batch, prompt: P, input: text, target: U, place: "behind", tail: 0 }).total;
  return {
    ...{ text, ms, times: ms.start / ms.end, flops: saved / spent, readingMs: reading },
    ...{ paidBack: reading / (ms.start - ms.end), rowsAtOnce: atOnce, all, versions: torch?.versions ?? null },
  };
}

const loadBefore = loadavg()[0];
const results = [];
for (const text of options.texts.split(",").map(Number)) {
  results.push(await measure(text));
  const { all: _, ...told } = results.at(-1);
  console.error(JSON.stringify(told));
}
dispose();

const { name: chip, cores, flags } = processor();
const head = [
  "text",
  "start, ms",
  "end, ms",
  "times",
  "FLOPs",
  "reading, ms",
  "paid back",
  "rows at once",
  ...variants,
];
const cells = ({ text, ms, times, flops, readingMs, paidBack, rowsAtOnce: atOnce }) => [
  text,
  ms.start.toFixed(0),
  ms.end.toFixed(0),
  times.toFixed(1),
  flops.toFixed(1),
  readingMs.toFixed(0),
  paidBack.toFixed(1),
  atOnce,
  ...variants.map((name) => `${ms[name].toFixed(0)} (${(ms[name] / ms.end).toFixed(1)} ×)`),
];
const versions = results.find(({ versions: v }) => v !== null)?.versions;
const text = [
  "# A step with the prompt before and behind the text",
  "",
  `${shape}; batch ${batch}, ${P} virtual tokens, ${U} target tokens; texts kept in ${options.cache}; medians of ${rounds} interleaved rounds, ${options.threads} threads.${versions ? ` PyTorch and PEFT have the prompt before the text (torch ${versions.torch}, transformers ${versions.transformers}, peft ${versions.peft}); in brackets how many times a step behind the text.` : ""}`,
  `${chip}, ${cores} cores, ${flags.join(" ")}; load average when started ${loadBefore.toFixed(1)}. Made by \`node bench/behind.mjs\`.`,
  "",
  `| ${head.join(" | ")} |`,
  `| ${head.map(() => "--:").join(" | ")} |`,
  ...results.map((result) => `| ${cells(result).join(" | ")} |`),
  "",
].join("\n");
console.log(text);
if (options.output !== undefined) {
  const how = { shape, batch, prompt: P, target: U, rounds, threads: Number(options.threads), cache: options.cache };
  saveFigures(join(options.output, `${options.name}.json`), { ...how, loadBefore, results });
  writeFileSync(join(options.output, `${options.name}.md`), text);
}
