/**
 * @file The training step on a graphics card, beside the processor's and PyTorch's on the same card: time, tokens a second, memory, and how
 * far loss and gradient are from the processor's.
 *
 * npm run build && node bench/gpu.mjs [small base large smollm2-135m …] [--device webgpu|cuda] [--rounds 10] [--python python3]
 *   [--variants eager-bfloat16,compiled-bfloat16] [--check small,base] [--batch 8] [--output bench/results] [--name gpu]
 * Each is measured alone, one after the other. --variants "" leaves PyTorch out. Memory is the card's, as nvidia-smi tells, less what was taken at the start. Writes NAME.json after each shape.
 */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { nodeRuntime, openCheckpoint, openEngine } from "softprompt/engine";
import { batchOf, median, nameOf, time } from "./batch.mjs";
import { modelFolder } from "./checkpoint.mjs";
import { saveFigures } from "./processor.mjs";
import { openTorch } from "./torch.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: "string", default: "webgpu" },
    rounds: { type: "string", default: "10" },
    python: { type: "string", default: process.env.PYTHON ?? "python3" },
    variants: { type: "string", default: "eager-bfloat16,compiled-bfloat16" },
    /** Shapes whose loss and gradient are compared with the processor's. */
    check: { type: "string", default: "small,base" },
    /** Only "ours" or only "torch". */
    only: { type: "string", default: "" },
    output: { type: "string", default: "bench/results" },
    name: { type: "string", default: "gpu" },
    batch: { type: "string", default: "8" },
    prompt: { type: "string", default: "20" },
    input: { type: "string", default: "128" },
    target: { type: "string", default: "4" },
  },
});
const shape = Object.fromEntries(["batch", "prompt", "input", "target"].map((name) => [name, Number(options[name])]));
const variants = options.variants.split(",").filter(Boolean);
const rounds = Number(options.rounds);
/** Positions that a step runs through: prompt, text, target. */
const positions = shape.batch * (shape.prompt + shape.input + shape.target);

/** The card's name and the MiB in use, or null where nvidia-smi is missing. */
function card() {
  try {
    const found = execFileSync(
      "nvidia-smi",
      ["--query-gpu=name,driver_version,memory.used", "--format=csv,noheader,nounits"],
      { encoding: "utf8" },
    );
    const [name, driver, used] = found.split("\n")[0].split(", ");
    return { name, driver, used: Number(used) };
  } catch {
    return null;
  }
}

/** Times of a step in milliseconds, after two to warm up, and what the last one gave. */
async function measured(engine, checkpoint, count) {
  const train = await engine.train();
  const batch = batchOf(checkpoint.config, shape);
  const [P, D] = [shape.prompt, checkpoint.config.width];
  const prompt = { shape: [P, D], data: Float32Array.from({ length: P * D }, (_, i) => 0.1 * Math.sin(i)) };
  const weights = new Float32Array(shape.batch).fill(1 / (shape.batch * shape.target));
  let last;
  const run = async () => {
    last = await train.run({ prompt }, batch, weights);
  };
  const first = await time(run);
  if (count > 0) await run();
  const all = [];
  for (let i = 0; i < count; i++) all.push(await time(run));
  return { first, all, loss: last.loss, gradient: last.gradients.prompt.data };
}

/** ‖a − b‖ / ‖b‖. */
function distance(a, b) {
  const squares = (f) => a.reduce((sum, x, i) => sum + f(x, b[i]) ** 2, 0);
  return Math.sqrt(squares((x, y) => x - y) / squares((_, y) => y));
}

async function measure(size) {
  const before = card()?.used ?? 0;
  const { folder, dispose } = modelFolder(size);
  try {
    const checkpoint = await openCheckpoint(folder);
    const engine = openEngine(checkpoint, { device: options.device });
    const opened = performance.now();
    await engine.train();
    const openMs = performance.now() - opened;
    const ours = await measured(engine, checkpoint, rounds);
    const memory = card() && card().used - before;
    await engine.dispose();
    const result = {
      model: nameOf(size),
      ours: { openMs, firstMs: ours.first, stepMs: median(ours.all), all: ours.all, memoryMiB: memory },
    };
    result.ours.positionsPerSecond = (1000 * positions) / result.ours.stepMs;
    if (options.check.split(",").includes(size)) {
      const cpu = openEngine(checkpoint, { device: "cpu" });
      const wanted = await measured(cpu, checkpoint, 3);
      await cpu.dispose();
      result.cpu = { stepMs: median(wanted.all) };
      result.againstCpu = {
        loss: distance(ours.loss, wanted.loss),
        gradient: distance(ours.gradient, wanted.gradient),
      };
    }
    return result;
  } finally {
    dispose();
  }
}

const found = card();
const report = {
  card: found && { name: found.name, driver: found.driver },
  device: options.device,
  versions: { onnxruntime: (await nodeRuntime.info()).version },
  ...shape,
  rounds,
  results: [],
};
const save = () => saveFigures(join(options.output, `${options.name}.json`), report);
const sizes = positionals.length > 0 ? positionals : ["small", "base", "large"];
for (const size of sizes) {
  if (options.only === "torch") {
    report.results.push({ model: nameOf(size) });
    continue;
  }
  console.error(`${size}: ours on ${options.device}`);
  const result = await measure(size).catch((error) => ({ model: nameOf(size), error: errorText(error) }));
  report.results.push(result);
  save();
  console.error(JSON.stringify({ ...result, ours: { ...result.ours, all: undefined } }));
}
for (const [i, size] of sizes.entries())
  for (const variant of options.only === "ours" ? [] : variants) {
    const before = card()?.used ?? 0;
    console.error(`${size}: ${variant} of PyTorch`);
    try {
      const torch = await openTorch(options.python, size, { variants: [variant], device: "cuda", ...shape });
      const all = [];
      for (let round = 0; round < rounds; round++) all.push(await torch.step(variant));
      const memoryMiB = card() && card().used - before;
      torch.dispose();
      report.versions.python = torch.versions;
      const stepMs = median(all);
      const torchResult = { stepMs, positionsPerSecond: (1000 * positions) / stepMs, memoryMiB, all };
      report.results[i].torch = { ...report.results[i].torch, [variant]: torchResult };
      console.error(JSON.stringify({ ...torchResult, all: undefined }));
    } catch (error) {
      console.error(errorText(error));
    }
    save();
  }
console.log(JSON.stringify(report, null, 1));

function errorText(error) {
  return [error.message, error.parts?.got].filter(Boolean).join(": ");
}
