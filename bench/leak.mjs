/**
 * @file Memory over a long run, in two parts: 2,000 optimizer steps on a tiny T5 with evaluations and a run folder with snapshots,
 * resident memory after step 200 against the end; then sessions opened and disposed (as at growth), after 60 against after 200.
 * Promise: neither grows by more than 5 %; memory that falls is no leak. The figure keeps its sign.
 *
 * node --expose-gc --min-semi-space-size=16 --max-semi-space-size=16 bench/leak.mjs [--steps 2000] [--sessions 200] [--out FILE]
 * Exits with 1 if a promise is broken. The garbage is collected before each sample, and V8 is told to take its young generation at
 * once: left alone it doubles it somewhere in the first thousand steps, which on a process this small looks like 5 to 7 %.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { saveFigures } from "./processor.mjs";

const { values } = parseArgs({
  options: {
    steps: { type: "string", default: "2000" },
    sessions: { type: "string", default: "200" },
    model: { type: "string", default: "test/fixtures/tiny-t5-v11" },
    out: { type: "string", default: "bench/results/leak.json" },
  },
});
const steps = Number(values.steps);
const sessions = Number(values.sessions);
const [after, warm] = [200, 60];
const allowed = 0.05;
if (steps < 2 * after || sessions < 2 * warm)
  throw new Error(`--steps ${2 * after} and --sessions ${2 * warm} at least`);

/** Resident memory and V8's share of it, after a collection. */
const memory = () => {
  globalThis.gc?.();
  const { rss, heapUsed } = process.memoryUsage();
  return { rss, heapUsed };
};

const { defaults } = await import("softprompt/train");
const { random } = await import("softprompt/train");
const { openCheckpoint } = await import("softprompt/engine");
const { fullModel } = await import("softprompt/engine");
const { openEngine } = await import("softprompt/engine");
const { trainOptions } = await import("softprompt/train");
const { singleStage } = await import("softprompt/train");
const { trainRun } = await import("../dist/run/train.js");

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
  eosIds: [1],
  frame: { before: [], after: [1] },
  controls: new Map(),
  unkId: 2,
  size: 96,
  sha256: "0".repeat(64),
};

const folder = mkdtempSync(join(tmpdir(), "softprompt-leak-"));
const engine = openEngine(await openCheckpoint(values.model), { threads: 2 });
const { config } = engine.checkpoint;
const samples = [];
const started = performance.now();
await trainRun({
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
  parameters: {
    prompt: {
      shape: [20, config.width],
      data: Float32Array.from({ length: 20 * config.width }, () => draw.uniform(-0.5, 0.5)),
    },
  },
  mask: null,
  schedule: singleStage(config, steps),
  settings: { ...defaults(trainOptions), batchSize: 8, microBatchSize: 4, evalEvery: 100, snapshotEvery: 50 },
  run: folder,
  resume: false,
  observe: (event) => {
    if (event.kind === "step" && event.step % 50 === 0) samples.push({ step: event.step, ...memory() });
  },
});
rmSync(folder, { recursive: true });

const ids = (length, id) => ({ ids: new Int32Array(2 * length).fill(id), mask: new Int32Array(2 * length).fill(1) });
const [inputs, targets] = [ids(10, 5), ids(2, 7)];
const batch = {
  ...{ size: 2, inputIds: inputs.ids, inputMask: inputs.mask, inputLength: 10 },
  ...{ targetIds: targets.ids, targetMask: targets.mask, targetLength: 2, ids: ["a", "b"] },
};
const prompt = { shape: [20, config.width], data: new Float32Array(20 * config.width).fill(0.1) };
const sessionSamples = [];
for (let n = 1; n <= sessions; n++) {
  const partial = { ...fullModel(config), name: `model ${n}` };
  const program = await engine.train(partial);
  for (let run = 0; run < 3; run++) await program.run({ prompt }, batch, new Float32Array(2).fill(1));
  await engine.release(partial);
  if (n % 10 === 0) sessionSamples.push({ sessions: n, ...memory() });
}
await engine.dispose();

/** One sample jitters by a few hundred kilobytes: the end is the median of the last five. */
const part = (what, from, list) => {
  const last = list
    .slice(-5)
    .map(({ rss }) => rss)
    .sort((a, b) => a - b)[2];
  return { what, rssBefore: from.rss, rssAtEnd: last, growth: last / from.rss - 1, allowed, samples: list };
};
const parts = [
  part(
    `after step ${after} against the end of ${steps} steps`,
    samples.find(({ step }) => step === after),
    samples,
  ),
  part(
    `after ${warm} sessions opened and disposed against ${sessions}`,
    sessionSamples.find(({ sessions: n }) => n === warm),
    sessionSamples,
  ),
];
const result = {
  parts,
  seconds: Math.round((performance.now() - started) / 100) / 10,
  platform: `${process.platform} ${process.arch}`,
};
saveFigures(values.out, result);
const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
for (const { what, rssBefore, rssAtEnd, growth } of parts)
  console.log(`${what}: ${mib(rssBefore)}, ${mib(rssAtEnd)}: ${(100 * growth).toFixed(2)} %`);
process.exitCode = parts.every(({ growth }) => growth <= allowed) ? 0 : 1;
