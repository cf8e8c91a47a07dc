/**
 * @file `npm run bench`: the training step, in float32 and with linear layers in 8 bits, against the machine's own MatMul ceiling, in one
 * process, interleaved.
 *
 * node bench/step.mjs [small|base|smollm2-135m …] [--rounds 7] [--batch 8] [--threads 0] [--plain] [--low-memory] [--json]
 * The ceiling is the stack of the frozen linear layers of the same blocks, forward and backward, as products alone.
 */

import { parseArgs } from "node:util";
import { fullModel, nodeRuntime, openCheckpoint, openEngine, stepFlops } from "softprompt/engine";
import { batchOf, flopShape, median, nameOf, time } from "./batch.mjs";
import { openCeiling } from "./ceiling.mjs";
import { modelFolder, openEightBit } from "./checkpoint.mjs";
import { processor } from "./processor.mjs";

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

async function measure(size) {
  const { folder, dispose } = modelFolder(size);
  let rounded;
  try {
    const checkpoint = await openCheckpoint(folder);
    const { config } = checkpoint;
    const engine = openEngine(checkpoint, session);
    const ceiling = await openCeiling(checkpoint, shape.batch * (shape.prompt + shape.input), session);
    const train = await engine.train();
    rounded = await openEightBit(checkpoint, session);
    const train8 = await rounded.train();
    const batch = batchOf(config, shape);
    const prompt = {
      shape: [shape.prompt, config.width],
      data: new Float32Array(shape.prompt * config.width).fill(0.1),
    };
    const weights = new Float32Array(shape.batch).fill(1 / (shape.batch * shape.target));
    const step = () => train.run({ prompt }, batch, weights);
    const step8 = () => train8.run({ prompt }, batch, weights);
    for (let i = 0; i < 2; i++) {
      await step();
      await step8();
      await ceiling.run();
    }
    const times = { step: [], step8: [], ceiling: [] };
    for (let round = 0; round < Number(options.rounds); round++) {
      times.ceiling.push(await time(ceiling.run));
      times.step.push(await time(step));
      times.step8.push(await time(step8));
    }
    await ceiling.dispose();
    await engine.dispose();
    const flops = stepFlops(config, fullModel(config), flopShape(config, shape)).total;
    const speed = (f, ms) => f / ms / 1e6;
    const stepSpeed = speed(flops, median(times.step));
    const ceilingSpeed = speed(ceiling.flops, median(times.ceiling));
    return {
      model: nameOf(size),
      ...shape,
      stepMs: median(times.step),
      bestStepMs: Math.min(...times.step),
      stepGflop: flops / 1e9,
      stepGflops: stepSpeed,
      ceilingMs: median(times.ceiling),
      ceilingGflops: ceilingSpeed,
      ratio: stepSpeed / ceilingSpeed,
      step8Ms: median(times.step8),
      step8BestMs: Math.min(...times.step8),
      /** Largest whole number of an 8-bit weight here. */
      eightBit: rounded.most,
    };
  } finally {
    await rounded?.dispose();
    dispose();
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
        `ceiling ${r.ceilingGflops.toFixed(1)} GFLOP/s; ratio ${(100 * r.ratio).toFixed(1)} %; ` +
        `8 bits (signed products to ${r.eightBit}): step ${r.step8Ms.toFixed(0)} ms (best ${r.step8BestMs.toFixed(0)})`,
    );
}
if (options.json)
  console.log(JSON.stringify({ onnxruntime: info.version, node: process.version, processor: processor(), results }));
