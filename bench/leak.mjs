/**
 * @file Memory over a long run: 2,000 optimizer steps on a tiny T5 with evaluations, a checkpointed run folder and a growth of the
 * model, resident memory after step 200 against the end. Promise: within 5 %.
 *
 * node --expose-gc bench/leak.mjs [--steps 2000] [--model test/fixtures/tiny-t5-v11] [--out bench/results/leak.json]
 * Exits with 1 if the promise is broken. Every session is disposed at growth, so a leak of sessions would show as well: the run
 * changes between two models every 25 steps.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    steps: { type: "string", default: "2000" },
    model: { type: "string", default: "test/fixtures/tiny-t5-v11" },
    out: { type: "string", default: "bench/results/leak.json" },
  },
});
const steps = Number(values.steps);
const after = 200;
const allowed = 0.05;
if (steps < 2 * after) throw new Error(`--steps must be ${2 * after} or more`);

const { defaults } = await import("../dist/base/options.js");
const { random } = await import("../dist/base/random.js");
const { openCheckpoint } = await import("../dist/model/checkpoint.js");
const { fullModel, partialModel } = await import("../dist/model/partial.js");
const { openEngine } = await import("../dist/session/engine.js");
const { trainOptions } = await import("../dist/train/options.js");
const { train } = await import("../dist/train/trainer.js");

const draw = random(1, "leak");
const text = () =>
  Array.from({ length: 5 + draw.integer(60) }, () => String.fromCharCode(97 + draw.integer(26))).join("");
const rows = (name, count) =>
  Array.from({ length: count }, (_, n) => {
    const label = draw.next() < 0.5 ? "no" : "yes";
    const target = label === "no" ? "False" : "True";
    return { id: `${name}:${n + 1}`, input: text(), target, label, references: [target] };
  });
const tokenizer = {
  encode: (s) => [...s].map((c) => 3 + ((c.charCodeAt(0) - 32) % 90)),
  decode: (ids) => String.fromCharCode(...ids.map((id) => id + 29)),
  piece: String,
  padId: 0,
  eosId: 1,
  unkId: 2,
  size: 96,
  sha256: "0".repeat(64),
};

const folder = mkdtempSync(join(tmpdir(), "softprompt-leak-"));
const engine = openEngine(await openCheckpoint(values.model), { threads: 2 });
const { config } = engine.checkpoint;
const small = partialModel(config, { depth: 2, width: 0.5, neuronChoice: "first" });
const stageSteps = 25;
const stages = Array.from({ length: Math.ceil(steps / stageSteps) }, (_, i) => ({
  // a name of its own each time, so that the trainer closes the old sessions and opens new ones at every growth
  partial: { ...(i % 2 === 0 ? small : fullModel(config)), name: `model ${i}` },
  steps: Math.min(stageSteps, steps - i * stageSteps),
}));
const samples = [];
const started = performance.now();
await train({
  engine,
  tokenizer,
  task: {
    name: "leak",
    template: "{text}",
    verbalizer: { no: "False", yes: "True" },
    metrics: ["accuracy"],
    maxTargetTokens: 10,
    targetPrefix: "",
  },
  train: rows("train", 200),
  validation: rows("validation", 32),
  prompt: {
    shape: [20, config.width],
    data: Float32Array.from({ length: 20 * config.width }, () => draw.uniform(-0.5, 0.5)),
  },
  mask: null,
  schedule: { name: "leak", stages, resetOptimizerOnGrow: false, plateau: null },
  settings: { ...defaults(trainOptions), batchSize: 8, microBatchSize: 4, evalEvery: 100, checkpointEvery: 50 },
  run: folder,
  resume: false,
  observe: (event) => {
    if (event.kind !== "step" || event.step % 50 !== 0) return;
    globalThis.gc?.();
    samples.push({ step: event.step, rss: process.memoryUsage.rss() });
  },
});
await engine.dispose();
rmSync(folder, { recursive: true });

const at = (step) => samples.find((s) => s.step === step).rss;
// a single sample jitters by a few hundred kilobytes: the end is the median of the last five
const last = samples
  .slice(-5)
  .map((s) => s.rss)
  .sort((a, b) => a - b)[2];
const growth = last / at(after) - 1;
const result = {
  what: `resident memory after step ${after} and at the end of ${steps} steps (median of the last five samples)`,
  steps,
  growths: stages.length - 1,
  rssAfter200: at(after),
  rssAtEnd: last,
  growth,
  allowed,
  samples,
  seconds: Math.round((performance.now() - started) / 100) / 10,
  where: { node: process.version, platform: `${process.platform} ${process.arch}`, cores: cpus().length },
};
mkdirSync(dirname(values.out), { recursive: true });
writeFileSync(values.out, `${JSON.stringify(result, null, 2)}\n`);
console.log(
  `${(at(after) / 2 ** 20).toFixed(1)} MiB after step ${after}, ${(last / 2 ** 20).toFixed(1)} MiB at the end: ${(100 * growth).toFixed(2)} %; written to ${values.out}`,
);
process.exitCode = growth <= allowed ? 0 : 1;
