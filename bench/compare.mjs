/**
 * @file Our training step beside PyTorch's and PEFT's, interleaved round by round on one machine, by one command.
 *
 * npm run build && node bench/compare.mjs [small base smollm2-135m …] [--rounds 7] [--python python] [--variants …] [--precisions float32,int8]
 *   [--output bench/results] [--name compare]
 * Writes NAME.json and NAME.md. The precisions are ours, the variants PyTorch's. Every engine is warmed up, then takes one step per round in turn while the others
 * sleep; medians are over rounds. Beside them the machine's own product speed, in the same rounds. Needs a Python with torch, transformers and peft (see bench/pytorch.py).
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism, loadavg } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { fullModel, nodeRuntime, openCheckpoint, openEngine, stepFlops } from "softprompt/engine";
import { batchOf, flopShape, median, nameOf, time } from "./batch.mjs";
import { openCeiling } from "./ceiling.mjs";
import { modelFolder, openEightBit } from "./checkpoint.mjs";
import { processor, saveFigures } from "./processor.mjs";
import { openTorch, rest } from "./torch.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "7" },
    python: { type: "string", default: process.env.PYTHON ?? "python3" },
    variants: {
      type: "string",
      default: "eager-float32,compiled-float32,eager-bfloat16,compiled-bfloat16,peft-float32,peft-bfloat16",
    },
    precisions: { type: "string", default: "float32,int8" },
    output: { type: "string", default: "bench/results" },
    name: { type: "string", default: "compare" },
    threads: { type: "string", default: String(availableParallelism()) },
    batch: { type: "string", default: "8" },
    prompt: { type: "string", default: "20" },
    input: { type: "string", default: "128" },
    target: { type: "string", default: "4" },
  },
});
const [B, P, T, U] = [options.batch, options.prompt, options.input, options.target].map(Number);
const variants = options.variants.split(",").filter(Boolean);
const sizes = positionals.length > 0 ? positionals : ["small", "base"];

const precisions = options.precisions.split(",");

/** Our engines with warm training programs and the ceiling beside them: each runs once and returns milliseconds. */
async function openOurs(size) {
  const { folder, dispose: remove } = modelFolder(size);
  const checkpoint = await openCheckpoint(folder);
  const { config } = checkpoint;
  const session = { threads: Number(options.threads), device: "cpu", lowMemory: false, plainOps: false };
  const open = {
    float32: async () => openEngine(checkpoint, session),
    int8: () => openEightBit(checkpoint, session),
  };
  const ceiling = await openCeiling(checkpoint, B * (P + T), session);
  const batch = batchOf(config, { batch: B, input: T, target: U });
  const prompt = { shape: [P, config.width], data: new Float32Array(P * config.width).fill(0.1) };
  const weights = new Float32Array(B).fill(1 / (B * U));
  const engines = [];
  const steps = new Map();
  for (const precision of precisions) {
    const engine = await open[precision]();
    const train = await engine.train();
    engines.push(engine);
    steps.set(`softprompt-${precision}`, () => time(() => train.run({ prompt }, batch, weights)));
  }
  const product = () => time(ceiling.run);
  for (let i = 0; i < 2; i++) for (const run of [...steps.values(), product]) await run();
  const dispose = async () => {
    await ceiling.dispose();
    for (const engine of engines) await engine.dispose();
    remove();
  };
  const shape = flopShape(config, { batch: B, prompt: P, input: T, target: U });
  const flops = { step: stepFlops(config, fullModel(config), shape).total, product: ceiling.flops };
  return { steps, product, flops, dispose };
}

/** What the others are compared with. */
const first = `softprompt-${precisions[0]}`;
const { name: chip, flags } = processor();
const runtime = await nodeRuntime.info();
const report = {
  loadBefore: loadavg()[0],
  ...{ batch: B, prompt: P, input: T, target: U, rounds: Number(options.rounds), threads: Number(options.threads) },
  versions: { softprompt: { onnxruntime: runtime.version, node: process.version }, python: null },
  results: [],
  ceilings: [],
};
for (const size of sizes) {
  console.error(`${size}: warming up (compiling takes minutes)`);
  const ours = await openOurs(size);
  const how = { variants, threads: options.threads, batch: B, prompt: P, input: T, target: U };
  const torch = await openTorch(options.python, size, how);
  report.versions.python = torch.versions;
  console.error(`${size}: measuring`);
  const products = [];
  const times = new Map([...ours.steps.keys(), ...variants].map((name) => [name, []]));
  for (let round = 0; round < Number(options.rounds); round++) {
    for (const [name, list] of times) {
      await rest();
      list.push(await (ours.steps.get(name) ?? (() => torch.step(name)))());
    }
    await rest();
    products.push(await ours.product());
    console.error(`${size}: round ${round + 1} of ${options.rounds}`);
  }
  torch.dispose();
  await ours.dispose();
  for (const [variant, list] of times)
    report.results.push({
      model: nameOf(size),
      variant,
      stepMs: median(list),
      bestStepMs: Math.min(...list),
      all: list,
    });
  const speed = (flops, ms) => flops / ms / 1e6;
  const [own, ceiling] = [
    speed(ours.flops.step, median(times.get(first))),
    speed(ours.flops.product, median(products)),
  ];
  report.ceilings.push({
    model: nameOf(size),
    stepGflops: own,
    ceilingGflops: ceiling,
    share: own / ceiling,
    all: products,
  });
}

const markdown = [
  `# One training step: softprompt, PyTorch, PEFT`,
  "",
  `Random weights, batch ${B} × (${P} prompt + ${T} text) tokens, ${U} target tokens, gradient of the prompt only.`,
  `${chip}, ${options.threads} threads, ${flags.join(" ")}; ${new Date().toISOString().slice(0, 10)}; ONNX Runtime ${runtime.version}, torch ${report.versions.python.torch}, transformers ${report.versions.python.transformers}, peft ${report.versions.python.peft}.`,
  `Median milliseconds of ${options.rounds} interleaved rounds (best in brackets); load average when started ${report.loadBefore.toFixed(1)}. Made by \`node bench/compare.mjs\`.`,
  "",
  ...table(report.results),
  "",
  ...report.ceilings.map(
    (c) =>
      `${c.model}: ours (${precisions[0]}) runs at ${c.stepGflops.toFixed(1)} GFLOP/s, ${(100 * c.share).toFixed(0)} % of the ${c.ceilingGflops.toFixed(1)} GFLOP/s of its products alone.`,
  ),
  "",
].join("\n");
mkdirSync(options.output, { recursive: true });
saveFigures(join(options.output, `${options.name}.json`), report);
writeFileSync(join(options.output, `${options.name}.md`), markdown);
console.log(markdown);

/** A column per model, a row per engine; how many times our step's time stands behind each. */
function table(results) {
  const models = [...new Set(results.map((r) => r.model))];
  const names = [...new Set(results.map((r) => r.variant))];
  const cell = (model, variant) => {
    const find = (v) => results.find((r) => r.model === model && r.variant === v);
    const r = find(variant);
    const ratio = r.stepMs / find(first).stepMs;
    return `${r.stepMs.toFixed(0)} (${r.bestStepMs.toFixed(0)}) | ${ratio.toFixed(2)} ×`;
  };
  return [
    `| engine | ${models.map((m) => `${m}, ms | to ours`).join(" | ")} |`,
    `|---|${models.map(() => "---|---|").join("")}`,
    ...names.map((name) => `| ${name.replace("-", ", ")} | ${models.map((m) => cell(m, name)).join(" | ")} |`),
  ];
}
