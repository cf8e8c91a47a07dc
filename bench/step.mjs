/**
 * @file `npm run bench`: the training step against the machine's own MatMul ceiling, in one process, interleaved.
 *
 * node bench/step.mjs [small|base …] [--rounds 7] [--batch 8] [--threads 0] [--plain] [--low-memory] [--json]
 * The ceiling is the stack of the frozen linear layers of the same encoder, forward and backward, as products alone.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  bindWeights,
  fullModel,
  nodeRuntime,
  openCheckpoint,
  openEngine,
  openSession,
  stepFlops,
  t5Shape,
} from "softprompt/engine";
import { apply, emptyGraph, input, output } from "softprompt/graph";
import { batchOf, median, time } from "./batch.mjs";
import { writeRandomCheckpoint } from "./checkpoint.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "7" },
    batch: { type: "string", default: "8" },
    input: { type: "string", default: "128" },
    prompt: { type: "string", default: "20" },
    target: { type: "string", default: "4" },
    threads: { type: "string", default: "0" },
    plain: { type: "boolean", default: false },
    "low-memory": { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const shape = {
  batch: Number(options.batch),
  prompt: Number(options.prompt),
  input: Number(options.input),
  target: Number(options.target),
};
const session = {
  threads: Number(options.threads),
  device: "cpu",
  lowMemory: options["low-memory"],
  plainOps: options.plain,
};

/** Every frozen product of the encoder, forward and backward, chained so that none can be left out. */
async function openCeiling(checkpoint) {
  const { config } = checkpoint;
  const weights = bindWeights(checkpoint, fullModel(config));
  const graph = emptyGraph();
  let x = input(graph, "x", "float32", ["N", config.width]);
  let perRow = 0;
  const product = (name, back) => {
    const w = weights.declare(graph, name);
    perRow += 2 * w.shape[0] * w.shape[1];
    x = apply(graph, "linear", [x, w], { back, stored: "out,in", precision: "float32" })[0];
  };
  for (let layer = 0; layer < config.encoderLayers; layer++) {
    const at = `encoder.block.${layer}.layer`;
    const attention = (p, back) => product(`${at}.0.SelfAttention.${p}.weight`, back);
    const feedForward = (p, back) => product(`${at}.1.DenseReluDense.${p}.weight`, back);
    for (const p of ["q", "k", "v"]) {
      attention(p, false);
      attention(p, true);
    }
    feedForward("wi_0", false);
    feedForward("wo", false);
    feedForward("wi_1", false);
    feedForward("wi_1", true);
    feedForward("wo", true);
    feedForward("wi_0", true);
    // o maps H·K to D; q's way back brings H·K
    attention("q", false);
    attention("o", false);
    attention("o", true);
    attention("q", true);
  }
  output(graph, "y", x);
  const opened = await openSession("ceiling", graph, session);
  const rows = shape.batch * (shape.prompt + shape.input);
  const feed = {
    dtype: "float32",
    shape: [rows, config.width],
    data: Float32Array.from({ length: rows * config.width }, (_, i) => Math.sin(i)),
  };
  return { flops: perRow * rows, run: () => opened.run({ x: feed }), dispose: opened.dispose };
}

async function measure(size) {
  const folder = mkdtempSync(join(tmpdir(), "softprompt-bench-"));
  try {
    const config = t5Shape(size);
    writeRandomCheckpoint(folder, config, "F32");
    const checkpoint = await openCheckpoint(folder);
    const engine = openEngine(checkpoint, session);
    const ceiling = await openCeiling(checkpoint);
    const train = await engine.train();
    const batch = batchOf(config, shape);
    const prompt = {
      shape: [shape.prompt, config.width],
      data: new Float32Array(shape.prompt * config.width).fill(0.1),
    };
    const weights = new Float32Array(shape.batch).fill(1 / (shape.batch * shape.target));
    const step = () => train.run({ prompt }, batch, weights);
    for (let i = 0; i < 2; i++) {
      await step();
      await ceiling.run();
    }
    const times = { step: [], ceiling: [] };
    for (let round = 0; round < Number(options.rounds); round++) {
      times.ceiling.push(await time(ceiling.run));
      times.step.push(await time(step));
    }
    await ceiling.dispose();
    await engine.dispose();
    const flops = stepFlops(config, fullModel(config), shape).total;
    const speed = (f, ms) => f / ms / 1e6;
    const stepSpeed = speed(flops, median(times.step));
    const ceilingSpeed = speed(ceiling.flops, median(times.ceiling));
    return {
      model: `t5-v1.1-${size}`,
      ...shape,
      stepMs: median(times.step),
      bestStepMs: Math.min(...times.step),
      stepGflop: flops / 1e9,
      stepGflops: stepSpeed,
      ceilingMs: median(times.ceiling),
      ceilingGflops: ceilingSpeed,
      ratio: stepSpeed / ceilingSpeed,
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const info = await nodeRuntime.info();
const results = [];
for (const size of positionals.length > 0 ? positionals : ["small", "base"]) {
  const r = await measure(size);
  results.push(r);
  if (!options.json)
    console.log(
      `${r.model}, batch ${r.batch}, ${r.prompt}+${r.input} tokens, ${r.target} target tokens: ` +
        `step ${r.stepMs.toFixed(0)} ms (best ${r.bestStepMs.toFixed(0)}), ${r.stepGflop.toFixed(1)} GFLOP, ${r.stepGflops.toFixed(1)} GFLOP/s; ` +
        `ceiling ${r.ceilingGflops.toFixed(1)} GFLOP/s; ratio ${(100 * r.ratio).toFixed(1)} %`,
    );
}
if (options.json) console.log(JSON.stringify({ onnxruntime: info.version, node: process.version, results }));
