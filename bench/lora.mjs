/**
 * @file LoRA beside PEFT's LoRA on a real decoder-only model: the loss of each of some steps from the same factors on the same rows, and the time of a
 * step, interleaved.
 *
 *   npm run build && node bench/lora.mjs MODEL [--steps 20] [--rounds 5] [--batch 8] [--input 64] [--target 2] [--rank 8] [--alpha 16] [--rate 0.001]
 *     [--threads N] [--python python3] [--output bench/results/lora.json]
 *
 * In:  MODEL, a folder. Rows are random ids of the model's vocabulary, of several lengths, so that padding is there.
 * Out: the file. `losses` are of both, before each step; `relative` is their largest difference over the loss. AdamW without decay, no clipping, no
 *      dropout. Needs a Python with torch, transformers and peft.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { makeBatch, nodeRuntime, openCheckpoint, openEngine, openMethod } from "softprompt/engine";
import { optimizers, random } from "softprompt/train";
import { median } from "./batch.mjs";
import { saveFigures } from "./processor.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    steps: { type: "string", default: "20" },
    rounds: { type: "string", default: "5" },
    batch: { type: "string", default: "8" },
    input: { type: "string", default: "64" },
    target: { type: "string", default: "2" },
    rank: { type: "string", default: "8" },
    alpha: { type: "string", default: "16" },
    rate: { type: "string", default: "0.001" },
    threads: { type: "string", default: String(availableParallelism()) },
    python: { type: "string", default: process.env.PYTHON ?? "python3" },
    output: { type: "string", default: "bench/results/lora.json" },
  },
});
const [folder] = positionals;
if (folder === undefined) {
  console.error("node bench/lora.mjs MODEL [--steps 20] [--rounds 5] [--python python3]");
  process.exit(2);
}
const count = (name) => Number(options[name]);
const [steps, B, T, U] = ["steps", "batch", "input", "target"].map(count);
const rest = () => new Promise((resolve) => setTimeout(resolve, 300));

const checkpoint = await openCheckpoint(folder);
const { config } = checkpoint;
const method = openMethod({
  method: "lora",
  loraRank: count("rank"),
  loraAlpha: count("alpha"),
  virtualTokens: 1,
  seed: 0,
});
const engine = openEngine(checkpoint, { threads: count("threads") }, method);
const start = await method.start({ checkpoint, random: random(0, "bench/lora"), prompt: async () => null });

/** Rows of three quarters to all of the length, and their ids as one sequence. */
const draw = random(1, "bench/lora rows");
const ids = (length) => Int32Array.from({ length }, () => 3 + draw.integer(config.vocabulary - 3));
// a few batches, so that the loss falls
const batches = Array.from({ length: Math.min(4, steps) }, () =>
  Array.from({ length: B }, (_, n) => {
    const text = ids(n === 0 ? T : T - draw.integer(Math.max(1, T >> 2)));
    return {
      id: `${n}`,
      input: text.subarray(0, -1),
      first: text.at(-1),
      target: ids(U),
      choices: null,
      gold: -1,
      truncated: false,
    };
  }),
);
const place = mkdtempSync(join(tmpdir(), "softprompt-lora-"));
const names = Object.keys(start);
writeFileSync(
  join(place, "task.json"),
  JSON.stringify({
    ...{ model: folder, rank: count("rank"), alpha: count("alpha"), rate: count("rate"), threads: count("threads") },
    factors: names.map((name) => ({ name, shape: start[name].shape })),
    batches: batches.map((rows) =>
      rows.map(({ input, first, target }) => ({ text: [...input, first], target: [...target] })),
    ),
  }),
);
writeFileSync(join(place, "factors.bin"), Buffer.concat(names.map((name) => Buffer.from(start[name].data.buffer))));

const program = await engine.train();
const rule = optimizers.adamw({ weightDecay: 0 });
let parameters = start;
const states = Object.fromEntries(names.map((name) => [name, rule.init(start[name])]));
/** One step, and the mean loss of the target's tokens before it. */
async function ours(n) {
  const batch = makeBatch(batches[n % batches.length]);
  const { loss, gradients } = await program.run(parameters, batch, new Float32Array(B).fill(1 / (B * U)));
  const moved = {};
  for (const name of names) {
    const next = rule.update(parameters[name], gradients[name], states[name], count("rate"));
    moved[name] = next.parameters;
    states[name] = next.state;
  }
  parameters = moved;
  return loss.reduce((sum, x) => sum + x, 0) / (B * U);
}

const child = spawn(options.python, [join(import.meta.dirname, "lora.py"), place], {
  stdio: ["pipe", "pipe", "inherit"],
});
child.on("error", (error) => console.error(`cannot start ${options.python}: ${error.message}`));
const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
async function answer() {
  const { value, done } = await lines.next();
  if (done) throw new Error(`${options.python} bench/lora.py ended; its own message stands above`);
  return JSON.parse(value);
}
async function theirs(n) {
  child.stdin.write(`${n}\n`);
  return await answer();
}

try {
  const versions = await answer();
  const losses = { softprompt: [], peft: [] };
  for (let n = 0; n < steps; n++) {
    losses.softprompt.push(await ours(n));
    losses.peft.push((await theirs(n)).loss);
  }
  const relative = Math.max(...losses.softprompt.map((loss, n) => Math.abs(loss - losses.peft[n]) / losses.peft[n]));
  const times = { softprompt: [], peft: [] };
  for (let round = 0; round < count("rounds"); round++) {
    await rest();
    const from = performance.now();
    await ours(steps + round);
    times.softprompt.push(performance.now() - from);
    await rest();
    times.peft.push((await theirs(steps + round)).ms);
  }
  const middle = { softprompt: median(times.softprompt), peft: median(times.peft) };
  const runtime = await nodeRuntime.info();
  const report = {
    model: { name: basename(folder), sha256: await checkpoint.sha256() },
    loadBefore: loadavg()[0],
    ...{
      batch: B,
      input: T,
      target: U,
      rank: count("rank"),
      alpha: count("alpha"),
      rate: count("rate"),
      threads: count("threads"),
    },
    versions: { softprompt: { onnxruntime: runtime.version }, python: versions },
    linears: names.length / 2,
    losses,
    relative,
    stepMs: middle,
    ratio: middle.peft / middle.softprompt,
    all: times,
  };
  saveFigures(options.output, report);
  for (const [n, loss] of losses.softprompt.entries())
    console.log(`step ${n + 1}: ${loss.toFixed(6)}  PEFT ${losses.peft[n].toFixed(6)}`);
  console.log(`largest relative difference of a loss: ${relative.toExponential(1)}`);
  console.log(
    `step: ${middle.softprompt.toFixed(0)} ms, PEFT ${middle.peft.toFixed(0)} ms, ${report.ratio.toFixed(2)} times as fast (load before: ${report.loadBefore.toFixed(1)})`,
  );
} finally {
  child.stdin.end();
  await engine.dispose();
  rmSync(place, { recursive: true });
}
