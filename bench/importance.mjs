/**
 * @file Scoring against training: seconds per example of the importance pass over those of a training step, same rows, same batches;
 * and what dropping pruned tokens from the sequence buys: a step with 4 of 20 prompt tokens over one with all.
 *
 * npm run build && node bench/importance.mjs [small base …] [--rounds 7] [--batches 4] [--threads N] [--output bench/results]
 * Shapes of T5 v1.1 with random weights, batch 8 × 128 tokens of text + 20, 4 target tokens. Target: a ratio of at most 1.15.
 * Both are whole functions of the library, train() and importance(), taken in turn; medians are over rounds.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { defaults } from "../dist/base/options.js";
import { openCheckpoint } from "../dist/model/checkpoint.js";
import { t5Shape } from "../dist/model/shapes.js";
import { importance } from "../dist/prune/importance.js";
import { openEngine } from "../dist/session/engine.js";
import { trainOptions } from "../dist/train/options.js";
import { singleStage } from "../dist/train/schedule.js";
import { train } from "../dist/train/trainer.js";
import { median } from "./batch.mjs";
import { writeRandomCheckpoint } from "./checkpoint.mjs";

const { values: o, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "7" },
    batches: { type: "string", default: "4" },
    text: { type: "string", default: "128" },
    threads: { type: "string", default: String(availableParallelism()) },
    output: { type: "string", default: "bench/results" },
  },
});
const [B, P, T, U, batches] = [8, 20, Number(o.text), 4, Number(o.batches)];
const kept = 4;
const words = (count, n) => Array.from({ length: count }, (_, i) => 3 + ((n * 1009 + i * 7919) % 30_000)).join(" ");
const tokenizer = {
  encode: (text) => text.split(" ").map(Number),
  ...{ padId: 0, eosId: 1, unkId: 2, size: 32_000, sha256: "0".repeat(64) },
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
  const data = Float32Array.from({ length: P * config.width }, (_, i) => Math.sin(i));
  const prompt = { shape: [P, config.width], data };
  const settings = { ...defaults(trainOptions), batchSize: B, microBatchSize: B, maxInputTokens: T };
  const schedule = singleStage(config, batches);
  const shared = { engine, tokenizer, task, prompt, mask: null, schedule, settings };
  const step = async () => {
    const { cost } = await train({
      ...shared,
      train: rows,
      validation: [],
      run: null,
      resume: false,
      observe: () => {},
    });
    return (1000 * cost.trainSeconds) / (B * batches);
  };
  const score = async () => {
    const found = await importance(engine, tokenizer, task, rows, prompt, {
      ...{ pieces: 16, layout: "contiguous", mode: "perExample", normalise: false, maxExamples: 0 },
      ...{ batchSize: B, maxInputTokens: T, seed: 0 },
    });
    return (1000 * found.seconds) / found.examples;
  };
  const dropped = { shape: [kept, config.width], data: data.slice(0, kept * config.width) };
  await step();
  await step(dropped);
  await score();
  const times = { step: [], score: [], dropped: [], ratio: [] };
  for (let round = 0; round < Number(o.rounds); round++) {
    const [a, b, c] = [await step(), await score(), await step(dropped)];
    times.dropped.push(c);
    times.step.push(a);
    times.score.push(b);
    times.ratio.push(b / a);
    console.error(
      `${size} round ${round + 1}: step ${a.toFixed(1)} ms, scoring ${b.toFixed(1)}, dropped ${c.toFixed(1)} ms per example`,
    );
  }
  results.push({
    ...{ size, stepMsPerExample: median(times.step), scoringMsPerExample: median(times.score) },
    ...{ droppedMsPerExample: median(times.dropped), text: T, kept },
    ...{ ratio: median(times.ratio), best: Math.min(...times.score) / Math.min(...times.step), rounds: times },
  });
  await engine.dispose();
  rmSync(folder, { recursive: true });
}
const report = {
  date: new Date().toISOString().slice(0, 10),
  cpu: `${cpus()[0].model.trim()}, ${availableParallelism()} threads`,
  ...{
    load: loadavg()[0],
    batch: B,
    prompt: P,
    input: T,
    target: U,
    rounds: Number(o.rounds),
    target_ratio: 1.15,
    results,
  },
};
mkdirSync(o.output, { recursive: true });
writeFileSync(join(o.output, "importance.json"), `${JSON.stringify(report, null, 2)}\n`);
for (const { size, stepMsPerExample, scoringMsPerExample, droppedMsPerExample, ratio, best } of results)
  console.log(
    `${size}: step ${stepMsPerExample.toFixed(1)} ms, scoring ${scoringMsPerExample.toFixed(1)} ms per example, ratio ${ratio.toFixed(3)} (of the fastest rounds ${best.toFixed(3)}); 4 of 20 prompt tokens ${droppedMsPerExample.toFixed(1)} ms`,
  );
