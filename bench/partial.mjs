/**
 * @file What a partial model really saves: its training step's time over the full model's, beside the FLOPs ratio.
 *
 * node bench/partial.mjs [base@4x128] [models/t5-nano@16x40 …] [--rounds 5] [--prompt 20] [--target 4] [--threads 0]
 *   [--both] [--out bench/results/partial.json]
 * MODEL@BATCHxTOKENS: a size name makes random weights of that T5 v1.1 shape; anything else is a checkpoint folder.
 * Partial and full steps are interleaved, and the ratio is the median over rounds of (partial / the two full steps around
 * it), so that a drifting load cancels. Encoder only, as for the papers' classification tasks; --both shrinks both stacks.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  fullModel,
  openCheckpoint,
  openEngine,
  partialModel,
  partialParameters,
  stepFlops,
  t5Shape,
  t5Sizes,
} from "softprompt/engine";
import { batchOf, median, time } from "./batch.mjs";
import { writeRandomCheckpoint } from "./checkpoint.mjs";
import { saveFigures } from "./processor.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "5" },
    prompt: { type: "string", default: "20" },
    target: { type: "string", default: "4" },
    threads: { type: "string", default: "0" },
    both: { type: "boolean", default: false },
    out: { type: "string" },
  },
});
/** Table 1's nine sizes. */
const sizes = ["LD", "FR", "CR"].flatMap((kind) =>
  [0.25, 0.5, 0.75].map((share) => ({
    label: `${kind} ${share}`,
    spec: {
      depth: kind === "FR" ? 1 : share,
      width: kind === "LD" ? 1 : share,
      // Which neurons stay does not change the time: every k-th matrix slice has the same shape.
      neuronChoice: "first",
      reduceDecoder: options.both,
    },
  })),
);

const results = [];
for (const named of positionals.length > 0 ? positionals : ["base@4x128", "models/t5-nano@16x40"]) {
  const [, model, batch, input] = /^(.+)@(\d+)x(\d+)$/.exec(named) ?? [null, named, 4, 128];
  results.push(
    await measure(model, {
      batch: Number(batch),
      prompt: Number(options.prompt),
      input: Number(input),
      target: Number(options.target),
    }),
  );
}
if (options.out !== undefined) saveFigures(options.out, { reduceDecoder: options.both, results });

async function measure(model, shape) {
  const random = t5Sizes.includes(model);
  const folder = random ? mkdtempSync(join(tmpdir(), "softprompt-bench-")) : model;
  if (random) writeRandomCheckpoint(folder, t5Shape(model), "F32");
  const engine = openEngine(await openCheckpoint(folder), { threads: Number(options.threads) });
  try {
    const { config } = engine.checkpoint;
    const full = fullModel(config);
    const batch = batchOf(config, shape);
    const prompt = {
      shape: [shape.prompt, config.width],
      data: new Float32Array(shape.prompt * config.width).fill(0.1),
    };
    const weights = new Float32Array(shape.batch).fill(1 / (shape.batch * shape.target));
    const stepper = async (partial) => {
      const program = await engine.train(partial);
      return () => time(() => program.run({ prompt }, batch, weights));
    };
    const fullStep = await stepper(full);
    const flops = stepFlops(config, full, shape);
    for (let i = 0; i < 2; i++) await fullStep();
    console.log(
      `${model}: ${config.encoderLayers}+${config.decoderLayers} layers, D ${config.width}, F ${config.feedForwardWidth}; ` +
        `batch ${shape.batch} × (${shape.prompt}+${shape.input}), ${shape.target} target tokens; ${options.both ? "both stacks" : "encoder only"}`,
    );
    console.log("partial     wall %   FLOPs % all   papers'   wall − FLOPs   parameters %   growth s");
    const rows = [];
    for (const { label, spec } of sizes) {
      const partial = partialModel(config, spec);
      const opened = performance.now();
      const step = await stepper(partial);
      const growth = (performance.now() - opened) / 1000;
      await step();
      const ratios = [];
      const times = { partial: [], full: [] };
      let before = await fullStep();
      for (let round = 0; round < Number(options.rounds); round++) {
        const mine = await step();
        const after = await fullStep();
        times.partial.push(mine);
        times.full.push(before, after);
        ratios.push(mine / ((before + after) / 2));
        before = after;
      }
      await engine.release(partial);
      const mine = stepFlops(config, partial, shape);
      const row = {
        label,
        partial: partial.name,
        wall: median(ratios),
        total: mine.total / flops.total,
        paper: mine.paper / flops.paper,
        parameters: partialParameters(config, partial) / partialParameters(config, full),
        growthSeconds: growth,
        partialMs: median(times.partial),
        fullMs: median(times.full),
      };
      rows.push(row);
      const percent = (x, width) => (100 * x).toFixed(1).padStart(width);
      console.log(
        `${label.padEnd(10)}${percent(row.wall, 8)}${percent(row.total, 12)}${percent(row.paper, 12)}` +
          `${percent(row.wall - row.total, 13)}${percent(row.parameters, 15)}${growth.toFixed(2).padStart(14)}`,
      );
    }
    const gap = Math.max(...rows.map((r) => Math.abs(r.wall - r.total)));
    console.log(`largest distance between wall and FLOPs (all products): ${(100 * gap).toFixed(1)} points; target 5`);
    return { model, shape, largestGap: gap, rows };
  } finally {
    await engine.dispose();
    if (random) rmSync(folder, { recursive: true });
  }
}
