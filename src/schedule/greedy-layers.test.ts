/** @file The greedy choice of layers: each drop against the losses of all partial models that could have been, by the engine's scoring program. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { deep } from "../../test/helpers/deep.js";
import { tinyDataset, tinyTokenizer } from "../../test/helpers/tiny.js";
import { readOptions } from "../base/options.js";
import { random } from "../base/random.js";
import type { Row } from "../data/row.js";
import { type Engine, openEngine } from "../engine/engine.js";
import { layerFlops, lossFlops } from "../engine/flops.js";
import { placeOf } from "../engine/place.js";
import { architectureOf } from "../model/architectures.js";
import { openCheckpoint } from "../model/checkpoint.js";
import { type PartialModel, partialModel } from "../model/partial.js";

import { encodeRows } from "../text/rows.js";
import { causalRules } from "../text/rules.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { trainOptions } from "../train/options.js";
import { greedyDrops } from "./greedy-layers.js";
import { neuronScoreOptions } from "./neuron-options.js";
import { scheduleOptions } from "./options.js";
import { planSchedule } from "./plan.js";
import { needsLayerOrder } from "./schedule.js";

const L = 5;
const dataset = tinyDataset(40, 8);
const root = mkdtempSync(join(tmpdir(), "greedy-layers-"));
afterAll(() => rmSync(root, { recursive: true }));
const base = { layerRows: 12, scoreBatchSize: 5, seed: 3, maxInputTokens: 12, folder: null };

const causal: Tokenizer = {
  ...tinyTokenizer,
  rules: causalRules({ ...tinyTokenizer, frame: { before: [], after: [] } }),
};
const behind = (row: Row): Row => ({ ...row, promptAt: row.input.length });

const models: readonly [string, Tokenizer, (row: Row) => Row][] = [
  ["tiny-t5-v10", tinyTokenizer, (row) => row],
  ["tiny-t5-v11", tinyTokenizer, behind],
  ["tiny-causal-llama", causal, (row) => row],
  ["tiny-causal-qwen3", causal, behind],
  ["tiny-causal-gpt2", causal, (row) => row],
  ["tiny-causal-neox", causal, (row) => row],
  ["tiny-causal-qwen2-window", causal, (row) => row],
];

describe.each(models)("%s", (name, tokenizer, marked) => {
  const folder = deep(name, L);
  const own = { ...dataset, train: dataset.train.map(marked), validation: dataset.validation.map(marked) };
  let engine: Engine;
  let stacks: readonly string[];
  beforeAll(async () => {
    engine = openEngine(await openCheckpoint(folder), { threads: 1 });
    const { config } = engine.checkpoint;
    stacks = architectureOf(config)
      .stacks(config)
      .map((stack) => stack.name);
  });
  afterAll(async () => {
    await engine.dispose();
    rmSync(folder, { recursive: true });
  });

  /** The mean loss of a target token of a partial model without a prompt, by the program that ranks labels. */
  async function lossOf(partial: PartialModel): Promise<number> {
    const drawn = random(base.seed, "greedy-layers/rows").sample(own.train.length, base.layerRows);
    const rows = encodeRows(
      own.task,
      Array.from(drawn, (i) => own.train[i]!),
      tokenizer,
      base.maxInputTokens,
    ).map((row) => ({ ...row, choices: [row.target], gold: 0 }));
    const program = await engine.score(partial, placeOf(engine.checkpoint.config, rows));
    const bare = { prompt: { shape: [0, engine.checkpoint.config.width], data: new Float32Array(0) } };
    const logs = await program.run(bare, rows);
    await engine.release(partial);
    const tokens = rows.reduce((sum, { target }) => sum + target.length, 0);
    return -logs.reduce((sum, [log]) => sum + log!, 0) / tokens;
  }

  /** What keeps all layers but these of one stack. */
  function without(stack: string, gone: readonly number[]): PartialModel {
    const all = Array.from({ length: L }, (_, l) => l);
    const kept = (other: string) => all.filter((layer) => other !== stack || !gone.includes(layer));
    return {
      stacks: Object.fromEntries(stacks.map((other) => [other, { layers: kept(other), neurons: null }])),
      name: `${stack} without ${gone.join()}`,
    };
  }

  test("each dropped layer is the one without which the loss is least, tried one by one", async () => {
    const wanted = Object.fromEntries(stacks.map((stack) => [stack, 3]));
    const { drops, order, cost } = await greedyDrops(engine, tokenizer, own, wanted, base);
    for (const stack of stacks) {
      const gone: number[] = [];
      for (const drop of drops[stack]!) {
        const candidates = [1, 2, 3, 4].filter((layer) => !gone.includes(layer));
        expect(drop.losses.map(({ layer }) => layer)).toEqual(candidates);
        const losses = [];
        for (const layer of candidates) losses.push(await lossOf(without(stack, [...gone, layer])));
        for (const [i, { loss }] of drop.losses.entries())
          expect(Math.abs(loss - losses[i]!), `${stack} ${candidates[i]}`).toBeLessThan(2e-5 * losses[i]!);
        // the losses of these weights differ by more than the order of sums can change
        const sorted = [...losses].sort((a, b) => a - b);
        expect(sorted.length === 1 || sorted[1]! - sorted[0]! > 1e-4 * sorted[0]!).toBe(true);
        expect(drop.layer).toBe(candidates[losses.indexOf(sorted[0]!)]);
        gone.push(drop.layer);
      }
      expect(order[stack]).toEqual(gone);
      expect(
        partialModel(engine.checkpoint.config, { depth: 3, layerChoice: "greedy", reduceDecoder: true }, null, order)
          .stacks[stack]!.layers,
      ).toEqual([0, 1, 2, 3, 4].filter((layer) => !gone.slice(0, 2).includes(layer)));
    }
    expect(cost.examples).toBe(12);
    expect(cost.flops).toBe(
      Object.values(drops)
        .flat()
        .reduce((sum, { flops }) => sum + flops, 0),
    );
  });
});

describe("on t5-nano's shape of work", () => {
  const folder = deep("tiny-t5-v11", L);
  let engine: Engine;
  beforeAll(async () => {
    engine = openEngine(await openCheckpoint(folder), { threads: 1 });
  });
  afterAll(async () => {
    await engine.dispose();
    rmSync(folder, { recursive: true });
  });
  const kept = () => mkdtempSync(join(root, "drops-"));
  const drop = (wanted: Record<string, number>, more: object = {}) =>
    greedyDrops(engine, tinyTokenizer, dataset, wanted, { ...base, ...more });

  test("a layer below all candidates is computed once for all of them, and each layer is counted as it ran", async () => {
    const ran: string[] = [];
    const program = await engine.layers();
    const watched: Engine = {
      ...engine,
      layers: async () => ({
        ...program,
        through: (state, site) => {
          ran.push(`${site.stack} ${site.layer}`);
          return program.through(state, site);
        },
      }),
      close: async () => {},
    };
    const one = { ...base, scoreBatchSize: base.layerRows };
    const { cost } = await greedyDrops(watched, tinyTokenizer, dataset, { encoder: 1 }, one);
    const count = (name: string) => ran.filter((site) => site === name).length;
    // layer l runs once for all candidates above it, and once for each candidate below it
    expect([0, 1, 2, 3, 4].map((l) => count(`encoder ${l}`))).toEqual([1, 1, 2, 3, 3]);
    expect([0, 1, 2, 3, 4].map((l) => count(`decoder ${l}`))).toEqual([4, 4, 4, 4, 4]);
    const { config } = engine.checkpoint;
    const drawn = random(base.seed, "greedy-layers/rows").sample(dataset.train.length, base.layerRows);
    const { shape } = await program.enter(
      encodeRows(
        dataset.task,
        Array.from(drawn, (i) => dataset.train[i]!),
        tinyTokenizer,
        base.maxInputTokens,
      ),
    );
    const layer = (stack: string) => layerFlops(config, { stack, layer: 1 }, shape).total;
    expect(cost.flops).toBe(10 * layer("encoder") + 20 * layer("decoder") + 4 * lossFlops(config, shape).total);
    await engine.close("layers");
  });

  test("more drops go on from those that are kept; a damaged file is made again; another seed is another choice", async () => {
    const folder = kept();
    const [two] = [await drop({ encoder: 2 }, { folder })];
    expect(readdirSync(folder)).toHaveLength(2);
    const three = await drop({ encoder: 3 }, { folder });
    expect(three.drops.encoder!.slice(0, 2)).toEqual(two.drops.encoder);
    expect(readdirSync(folder)).toHaveLength(3);
    // seconds are of the pass that was made
    expect(await drop({ encoder: 3 }, { folder })).toEqual(three);
    for (const file of readdirSync(folder)) writeFileSync(join(folder, file), "{}");
    expect((await drop({ encoder: 3 }, { folder })).order).toEqual(three.order);
    await drop({ encoder: 1 }, { folder, seed: 4 });
    expect(readdirSync(folder)).toHaveLength(4);
  });

  test("stops at a signal and keeps whole drops only", async () => {
    const folder = kept();
    const signal = AbortSignal.abort("SIGTERM");
    await expect(drop({ encoder: 1 }, { folder, signal })).rejects.toMatchObject({
      kind: "interrupted",
      exitCode: 143,
    });
    expect(readdirSync(folder)).toEqual([]);
  });

  test("needs training rows", async () => {
    const none = { ...dataset, train: [] };
    await expect(greedyDrops(engine, tinyTokenizer, none, { encoder: 1 }, base)).rejects.toThrow(/no rows/);
  });

  test("a schedule's stages are nested choices of one order, its cost is told, and only training rows are used", async () => {
    const options = {
      ...readOptions(trainOptions, { maxInputTokens: 12, seed: 3 }, "test"),
      ...readOptions(neuronScoreOptions, { layerRows: 12, scoreBatchSize: 5 }, "test"),
      ...readOptions(
        scheduleOptions,
        { schedule: "custom", depths: [3, 4], layerChoice: "greedy", steps: 10, reduceDecoder: "yes" },
        "test",
      ),
    };
    const unseen = { ...dataset, validation: [] };
    const where = { virtualTokens: 4, folder: null };
    const { schedule, scoring } = await planSchedule(engine, tinyTokenizer, unseen, options, where);
    const { order, cost } = await drop({ encoder: 2, decoder: 2 });
    for (const stack of ["encoder", "decoder"]) {
      const gone = order[stack]!;
      const kept = schedule.stages.map(({ partial }) => partial.stacks[stack]!.layers);
      const rest = (n: number) => [0, 1, 2, 3, 4].filter((layer) => !gone.slice(0, n).includes(layer));
      expect(kept).toEqual([rest(2), rest(1), rest(0)]);
    }
    expect([scoring!.flops, scoring!.examples]).toEqual([cost.flops, 12]);
    expect(needsLayerOrder({ ...options, budget: 1 })).toBe(false);
    expect(needsLayerOrder({ ...options, depths: undefined, widths: [0.5] })).toBe(false);
  });
});
