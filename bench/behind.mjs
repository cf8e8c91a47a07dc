/**
 * @file A training step with the prompt before the text against one behind it, on texts of several lengths, in one process, interleaved.
 *
 * node bench/behind.mjs MODEL [--rounds 5] [--batch 8] [--prompt 20] [--target 3] [--texts 32,128,512] [--threads 0] [--cache float16]
 * MODEL is a decoder-only model's folder, or a shape with random weights: smollm2-135m, tinyllama-1.1b. `reading` is what reading the batch's texts costs, once; `paid back` after how many steps on the same
 * texts (epochs) it is less than what the steps have saved. No padding: every position works.
 */
import { parseArgs } from "node:util";
import { openEngine } from "../dist/engine/engine.js";
import { stepFlops } from "../dist/engine/flops.js";
import { openCheckpoint } from "../dist/model/checkpoint.js";
import { fullModel } from "../dist/model/partial.js";
import { openTexts } from "../dist/run/text-cache.js";
import { makeBatch } from "../dist/text/batch.js";
import { median, time } from "./batch.mjs";
import { modelFolder } from "./checkpoint.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "5" },
    batch: { type: "string", default: "8" },
    prompt: { type: "string", default: "20" },
    target: { type: "string", default: "3" },
    texts: { type: "string", default: "32,128,512" },
    threads: { type: "string", default: "0" },
    cache: { type: "string", default: "float16" },
  },
});
const [batch, P, U, rounds] = [options.batch, options.prompt, options.target, options.rounds].map(Number);
const { folder, dispose } = modelFolder(positionals[0] ?? "smollm2-135m");
const checkpoint = await openCheckpoint(folder);
const { config } = checkpoint;
const textCache = { precision: options.cache, memory: 2 ** 31, disk: 0 };
const engine = openEngine(checkpoint, { threads: Number(options.threads), textCache }, undefined, openTexts);
const prompt = {
  shape: [P, config.width],
  data: Float32Array.from({ length: P * config.width }, (_, i) => Math.sin(i * 12.9898) * 0.1),
};
const weights = new Float32Array(batch).fill(1 / (batch * U));
const front = await engine.train();
const behind = await engine.train(undefined, "behind");
const full = fullModel(config);

console.log("text    start ms   end ms   times   FLOP   reading ms   paid back");
for (const text of options.texts.split(",").map(Number)) {
  const id = (n) => 3 + ((n * 7919 + text) % (config.vocabulary - 3));
  const rows = Array.from({ length: batch }, (_, b) => {
    const ids = Int32Array.from({ length: text }, (_, i) => id(b * text + i));
    const target = Int32Array.from({ length: U }, (_, i) => id(i));
    const row = { id: `${b}`, input: ids.subarray(0, -1), first: ids.at(-1), target };
    return { ...row, choices: null, gold: -1, truncated: false };
  });
  const before = makeBatch(rows);
  const after = makeBatch(rows.map((row) => ({ ...row, promptAt: text })));
  const run = (program, of) => time(() => program.run({ prompt }, of, weights));
  await run(front, before); // the first run of a shape is not like the others
  const first = await run(behind, after);
  await run(behind, after);
  const [start, end] = [[], []];
  for (let round = 0; round < rounds; round++) {
    start.push(await run(front, before));
    end.push(await run(behind, after));
  }
  const [a, b] = [median(start), median(end)];
  const reading = first - b;
  const saved = stepFlops(config, full, { batch, prompt: P, input: text - 1, target: U }).total;
  const spent = stepFlops(config, full, { batch, prompt: P, input: text, target: U, place: "behind", tail: 0 }).total;
  const cells = [
    a.toFixed(0).padStart(8),
    b.toFixed(0).padStart(8),
    (a / b).toFixed(1).padStart(7),
    (saved / spent).toFixed(1).padStart(6),
    reading.toFixed(0).padStart(12),
    (reading / (a - b)).toFixed(1).padStart(11),
  ];
  console.log(String(text).padEnd(6), cells.join(" "));
}
await engine.dispose();
dispose();
