/**
 * @file The promises of partial models and growth, on real sessions over tiny checkpoints (fpt.md §12).
 *
 * Full ratio = full model, bit for bit. Slice = mask to 1e-5. Growth leaves prompt, optimizer state and data order untouched.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { defaults, readOptions } from "../src/base/options.js";
import { random } from "../src/base/random.js";
import type { Tensor } from "../src/base/tensor.js";
import { type Engine, openEngine } from "../src/engine/engine.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { fullModel, type NeuronScores, type PartialModel, partialModel } from "../src/model/partial.js";
import type { T5Config } from "../src/model/t5/config.js";
import { neuronScoreOptions } from "../src/schedule/neuron-options.js";
import { scheduleOptions } from "../src/schedule/options.js";
import { planSchedule } from "../src/schedule/plan.js";
import type { Batch } from "../src/text/batch.js";
import { trainOptions } from "../src/train/options.js";
import type { Schedule, Stage } from "../src/train/stage.js";
import { train } from "../src/train/trainer.js";
import { tinyDataset, tinyTokenizer } from "./helpers/tiny.js";

const fixtures = join(fileURLToPath(new URL(".", import.meta.url)), "fixtures");

describe.each(["tiny-t5-v10", "tiny-t5-v11"])("%s", (name) => {
  const folder = mkdtempSync(join(tmpdir(), "masked-"));
  let engine: Engine;
  let scores: NeuronScores;
  beforeAll(async () => {
    engine = openEngine(await openCheckpoint(join(fixtures, name)), { threads: 1 });
    const { encoderLayers, decoderLayers, feedForwardWidth } = engine.checkpoint.config as T5Config;
    const rng = random(7, "scores");
    const stack = (layers: number) =>
      Array.from({ length: layers }, () => Float32Array.from({ length: feedForwardWidth }, () => rng.next()));
    scores = { encoder: stack(encoderLayers), decoder: stack(decoderLayers) };
  });
  afterAll(async () => {
    await engine.dispose();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Every layer and every neuron, written out: goes through slicing, yet keeps all. */
  const everything = (): PartialModel => {
    const config = engine.checkpoint.config as T5Config;
    const all = (n: number) => Array.from({ length: n }, (_, i) => i);
    const stack = (layers: number) => ({
      layers: all(layers),
      neurons: all(layers).map(() => Int32Array.from(all(config.feedForwardWidth))),
    });
    return {
      stacks: { encoder: stack(config.encoderLayers), decoder: stack(config.decoderLayers) },
      name: "everything",
    };
  };

  test("keeping everything gives the full model's loss and gradient, bit for bit", async () => {
    const batch = someBatch(engine);
    const [full, every] = [await engine.train(), await engine.train(everything())];
    expect(every).not.toBe(full);
    const weights = new Float32Array(batch.size).fill(0.1);
    const prompt = somePrompt(engine, 5);
    expect(await every.run({ prompt }, batch, weights)).toEqual(await full.run({ prompt }, batch, weights));
  });

  test("slicing neurons away equals zeroing their activation", async () => {
    const { config } = engine.checkpoint;
    const sliced = partialModel(config, { width: 0.25, reduceDecoder: true }, scores);
    cpSync(join(fixtures, name), folder, { recursive: true });
    zeroDropped(join(folder, "model.safetensors"), sliced, config.feedForwardWidth);
    const masked = openEngine(await openCheckpoint(folder), { threads: 1 });
    const batch = someBatch(engine);
    const weights = new Float32Array(batch.size).fill(0.1);
    const prompt = somePrompt(engine, 5);
    const small = await (await engine.train(sliced)).run({ prompt }, batch, weights);
    const zeroed = await (await masked.train()).run({ prompt }, batch, weights);
    const full = await (await engine.train()).run({ prompt }, batch, weights);
    // Adding zeros changes at most the order of float32 sums over F = 48 terms.
    expect(relativeError(small.loss, zeroed.loss)).toBeLessThan(1e-5);
    expect(relativeError(small.gradients.prompt!.data, zeroed.gradients.prompt!.data)).toBeLessThan(1e-5);
    expect(relativeError(small.loss, full.loss)).toBeGreaterThan(1e-2);
    await masked.dispose();
  });

  test("growth carries prompt, optimizer state and data order over: growing from everything to full changes nothing", async () => {
    const whole = await run(engine, [{ partial: fullModel(engine.checkpoint.config), steps: 9 }]);
    const grown = await run(engine, [
      { partial: everything(), steps: 2 },
      { partial: everything(), steps: 3 },
      { partial: fullModel(engine.checkpoint.config), steps: 4 },
    ]);
    expect(Buffer.from(grown.last.prompt!.data.buffer)).toEqual(Buffer.from(whole.last.prompt!.data.buffer));
    expect(grown.cost.perStage.map((s) => s.steps)).toEqual([2, 3, 4]);
  });

  test("resetting the optimizer at growth is another training", async () => {
    const full = fullModel(engine.checkpoint.config);
    const stages: Stage[] = [
      { partial: everything(), steps: 4 },
      { partial: full, steps: 5 },
    ];
    const kept = await run(engine, stages);
    const reset = await run(engine, stages, { resetOptimizerOnGrow: true });
    expect(relativeError(reset.last.prompt!.data, kept.last.prompt!.data)).toBeGreaterThan(1e-4);
  });

  test("plateau growth leaves a stage early and gives its steps to the last one", async () => {
    const { config } = engine.checkpoint;
    const result = await run(
      engine,
      [
        { partial: partialModel(config, { depth: 2, width: 0.5 }, scores), steps: 10 },
        { partial: fullModel(config), steps: 4 },
      ],
      { plateau: { patience: 2, minDelta: 1 } },
    );
    // No score gains a whole point over the first: evaluations at 1, 2, 3, so the stage ends after step 3.
    expect(result.cost.perStage.map((s) => s.steps)).toEqual([3, 11]);
    expect(result.steps).toBe(14);
  });

  test("costs are those of the shapes trained on, and fall with the model", async () => {
    const { config } = engine.checkpoint;
    const small = partialModel(config, { depth: 2, width: 0.25, reduceDecoder: true }, scores);
    const part = await run(engine, [{ partial: small, steps: 3 }]);
    const full = await run(engine, [{ partial: fullModel(config), steps: 3 }]);
    expect(part.cost.paperFlops).toBeLessThan(full.cost.paperFlops);
    expect(part.cost.trainFlops).toBeLessThan(full.cost.trainFlops);
    expect(full.cost.trainFlops).toBeGreaterThan(1.8 * full.cost.paperFlops);
  });
});

test("a budget is kept by the real run: FLOPs counted step by step against the full model's", async () => {
  const engine = openEngine(await openCheckpoint(join(fixtures, "tiny-t5-v11")), { threads: 1 });
  const settings = readOptions(
    trainOptions,
    { batchSize: 4, microBatchSize: 4, evalEvery: 50, maxInputTokens: 12 },
    "test",
  );
  const options = (given: Record<string, unknown>) => ({
    ...settings,
    ...defaults(neuronScoreOptions),
    ...readOptions(scheduleOptions, { steps: 60, ...given }, "test"),
  });
  const spent = async (given: Record<string, unknown>) => {
    const where = { virtualTokens: 4, folder: null };
    const plan = await planSchedule(engine, tinyTokenizer, tinyDataset(), options(given), where);
    const { stages } = plan.schedule;
    const result = await run(engine, [...stages]);
    return { paper: result.cost.paperFlops, total: result.cost.trainFlops, stages };
  };
  const vanilla = await spent({});
  for (const budgetBy of ["paper", "total"] as const) {
    const cut = await spent({ schedule: "fpt-cr", reduceDecoder: "yes", budget: 0.8, budgetBy });
    expect(cut.stages.length).toBe(4);
    // 60 steps: a step is 1.7 %, and the padded shapes of the first steps stand for all of them
    expect(Math.abs(cut[budgetBy] / vanilla[budgetBy] - 0.8)).toBeLessThan(0.02);
  }
  await engine.dispose();
});

function run(engine: Engine, stages: Stage[], more: Partial<Schedule> = {}) {
  const [first, ...rest] = stages;
  const dataset = tinyDataset();
  return train({
    engine,
    tokenizer: tinyTokenizer,
    task: dataset.task,
    train: dataset.train,
    validation: dataset.validation,
    parameters: { prompt: somePrompt(engine, 4) },
    mask: null,
    schedule: { name: "test", stages: [first!, ...rest], resetOptimizerOnGrow: false, plateau: null, ...more },
    settings: readOptions(trainOptions, { batchSize: 4, microBatchSize: 4, evalEvery: 1, maxInputTokens: 12 }, "test"),
    run: null,
    observe: () => undefined,
  });
}

function somePrompt(engine: Engine, length: number): Tensor {
  const rng = random(3, "prompt");
  const { width } = engine.checkpoint.config;
  return { shape: [length, width], data: Float32Array.from({ length: length * width }, () => rng.uniform(-1, 1)) };
}

function someBatch(engine: Engine): Batch {
  const rng = random(5, "batch");
  const { vocabulary } = engine.checkpoint.config;
  const ids = (n: number) => Int32Array.from({ length: n }, () => 3 + rng.integer(vocabulary - 3));
  const mask = (lengths: number[], longest: number) =>
    Int32Array.from(lengths.flatMap((n) => Array.from({ length: longest }, (_, i) => (i < n ? 1 : 0))));
  return {
    size: 3,
    inputIds: ids(3 * 11),
    inputMask: mask([11, 4, 7], 11),
    inputLength: 11,
    targetIds: ids(3 * 4),
    targetMask: mask([4, 1, 3], 4),
    targetLength: 4,
    ids: ["a", "b", "c"],
  };
}

/** Zeroes the columns of every `wo` that a partial model does not keep: the neuron then adds nothing. */
function zeroDropped(file: string, partial: PartialModel, F: number): void {
  const bytes = readFileSync(file);
  const header = 8 + Number(bytes.readBigUInt64LE(0));
  const tensors = JSON.parse(bytes.toString("utf8", 8, header));
  for (const [stack, ff] of [
    ["encoder", 1],
    ["decoder", 2],
  ] as const)
    for (const [i, layer] of partial.stacks[stack]!.layers.entries()) {
      const { data_offsets, shape } = tensors[`${stack}.block.${layer}.layer.${ff}.DenseReluDense.wo.weight`];
      const kept = new Set(partial.stacks[stack]!.neurons![i]);
      for (let row = 0; row < shape[0]; row++)
        for (let j = 0; j < F; j++)
          if (!kept.has(j)) bytes.writeFloatLE(0, header + data_offsets[0] + 4 * (row * F + j));
    }
  writeFileSync(file, bytes);
}

/** Largest difference over largest value. */
function relativeError(a: Float32Array, b: Float32Array): number {
  let [difference, size] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    difference = Math.max(difference, Math.abs(a[i]! - b[i]!));
    size = Math.max(size, Math.abs(b[i]!));
  }
  return difference / size;
}
