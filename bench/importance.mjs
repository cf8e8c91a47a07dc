/**
 * @file Scoring against training: seconds per example of the importance pass over those of a training step, same rows, same batches;
 * and what dropping pruned tokens from the sequence buys: a step with a fifth of the prompt's tokens over one with all.
 *
 * npm run build && node bench/importance.mjs [small base …] [--rounds 7] [--batches 4] [--prompt 20,100] [--text 128] [--threads N]
 *   [--output bench/results]
 * Shapes of T5 v1.1 with random weights, batch 8 × 128 tokens of text + prompt, 4 target tokens. Target: a ratio of at most 1.15.
 * Both are whole functions of the library, train() and importance(), taken in turn; medians are over rounds.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openCheckpoint, openEngine, t5Shape } from "softprompt/engine";
import { defaults, importance, singleStage, train, trainOptions } from "softprompt/train";
import { median } from "./batch.mjs";
import { writeRandomCheckpoint } from "./checkpoint.mjs";
import { saveFigures } from "./processor.mjs";

const { values: o, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "7" },
    batches: { type: "string", default: "4" },
    prompt: { type: "string", default: "20,100" },
    text: { type: "string", default: "128" },
    threads: { type: "string", default: String(availableParallelism()) },
    output: { type: "string", default: "bench/results" },
  },
});
const [B, T, U, batches] = [8, Number(o.text), 4, Number(o.batches)];
const lengths = o.prompt.split(",").map(Number);
const words = (count, n) => Array.from({ length: count }, (_, i) => 3 + ((n * 1009 + i * 7919) % 30_000)).join(" ");
const tokenizer = {
  encode: (text) => text.split(" ").map(Number),
  ...{ padId: 0, eosIds: [1], unkId: 2, size: 32_000, sha256: "0".repeat(64) },
  ...{ frame: { before: [], after: [1] }, controls: new Map() },
};
const target = words(U - 1, 1);
const task = {
  ...{ name: "bench", template: "{text}", verbalizer: null, metrics: ["exactMatch"] },
  ...{ maxTargetTokens: U, targetPrefix: "" },
};
const rows = Array.from({ length: B * batches }, (_, n) => ({
  ...{ id: `row ${n}`, input: words(T - 1, n), target, label: null, references: [target] },
}));

const results = [];
for (const size of positionals.length > 0 ? positionals : ["small"]) {
  const folder = mkdtempSync(join(tmpdir(), "softprompt-importance-"));
  const config = t5Shape(size);
  writeRandomCheckpoint(folder, config, "F32");
  const engine = openEngine(await openCheckpoint(folder), { threads: Number(o.threads) });
  for (const P of lengths) results.push(await measure(size, engine, config, P));
  await engine.dispose();
  rmSync(folder, { recursive: true });
}

/** @returns medians and rounds, milliseconds per example, of a step, the scoring pass and a step with a fifth of P prompt tokens */
async function measure(size, engine, config, P) {
  const kept = P / 5;
  const data = Float32Array.from({ length: P * config.width }, (_, i) => Math.sin(i));
  const prompt = { shape: [P, config.width], data };
  const short = { shape: [kept, config.width], data: data.slice(0, kept * config.width) };
  const settings = { ...defaults(trainOptions), batchSize: B, microBatchSize: B, maxInputTokens: T };
  const schedule = singleStage(config, batches);
  const shared = { engine, tokenizer, task, mask: null, schedule, settings, train: rows, validation: [] };
  const step = async (from) => {
    const { cost } = await train({ ...shared, parameters: { prompt: from }, run: null, observe: () => {} });
    return (1000 * cost.trainSeconds) / (B * batches);
  };
  const score = async () => {
    const found = await importance(engine, tokenizer, task, rows, prompt, {
      ...{ pieces: 16, layout: "contiguous", mode: "perExample", normalise: false, maxExamples: 0 },
      ...{ batchSize: B, maxInputTokens: T, seed: 0 },
    });
    return (1000 * found.seconds) / found.examples;
  };
  await step(prompt);
  await step(short);
  await score();
  const times = { step: [], score: [], dropped: [] };
  for (let round = 0; round < Number(o.rounds); round++) {
    times.step.push(await step(prompt));
    times.score.push(await score());
    times.dropped.push(await step(short));
    const [a, b, c] = [times.step, times.score, times.dropped].map((all) => all.at(-1).toFixed(1));
    console.error(`${size}, prompt ${P}, round ${round + 1}: step ${a} ms, scoring ${b}, dropped ${c} ms per example`);
  }
  const over = (of) => median(times.step.map((step, round) => of[round] / step));
  return {
    ...{ size, prompt: P, kept, text: T, stepMsPerExample: median(times.step) },
    ...{ scoringMsPerExample: median(times.score), scoringRatio: over(times.score) },
    ...{ droppedMsPerExample: median(times.dropped), droppedRatio: over(times.dropped), rounds: times },
  };
}

const report = {
  ...{
    load: loadavg()[0],
    batch: B,
    input: T,
    target: U,
    rounds: Number(o.rounds),
    target_ratio: 1.15,
    results,
  },
};
saveFigures(join(o.output, "importance.json"), report);
for (const found of results)
  console.log(
    `${found.size}, prompt ${found.prompt}: step ${found.stepMsPerExample.toFixed(1)} ms per example, scoring × ${found.scoringRatio.toFixed(3)}, with ${found.kept} tokens × ${found.droppedRatio.toFixed(3)}`,
  );
