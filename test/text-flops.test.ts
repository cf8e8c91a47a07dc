/**
 * What the reading of texts costs (src/engine/flops.ts), held to the passes that the engine runs: texts that a store keeps are padded, and of
 * equal texts one is read.
 */
import { fileURLToPath } from "node:url";
import { afterEach, expect, test, vi } from "vitest";
import type { Feeds } from "../src/base/tensor.js";
import { openEngine } from "../src/engine/engine.js";
import { textFlops } from "../src/engine/flops.js";
import { restGraph, textGraph } from "../src/engine/graphs.js";
import { count } from "../src/graph/count.js";
import { promptTuning } from "../src/method/prompt.js";
import { shapeWeights } from "../src/model/bindings.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { fullModel } from "../src/model/partial.js";
import { openTextCache } from "../src/run/text-cache.js";
import { nodeRuntime } from "../src/runtime/node.js";
import { type EncodedRow, makeBatch } from "../src/text/batch.js";
import { readingFlops } from "../src/train/job.js";

afterEach(() => vi.restoreAllMocks());

const ids = (length: number, from: number) => Int32Array.from({ length }, (_, i) => 3 + ((from + 7 * i) % 90));

/** A row of a decoder-only model whose virtual tokens stand behind `text`, or of T5 with them on the decoder's side. */
const rowOf = (causal: boolean, text: Int32Array, shared?: number): EncodedRow => ({
  ...{ id: "r", input: text, target: Int32Array.of(7, 1), choices: null, gold: -1, truncated: false },
  ...(causal ? { first: 9, promptAt: text.length } : { promptIn: "decoder" }),
  ...(shared === undefined ? {} : { shared }),
});

/** Sizes of the passes over texts. */
function recordPasses() {
  const passes: { readonly graph: "text" | "rest"; readonly sizes: Record<string, number> }[] = [];
  const { open } = nodeRuntime;
  vi.spyOn(nodeRuntime, "open").mockImplementation(async (...given) => {
    const session = await open.call(nodeRuntime, ...given);
    const run = (feeds: Feeds, outputs?: readonly string[]) => {
      const [[B, S] = [], [, N] = []] = [feeds.inputIds?.shape, feeds.decoderIds?.shape];
      if (B !== undefined && S !== undefined && !feeds.decoderIds) passes.push({ graph: "text", sizes: { B, S } });
      else if (feeds.memoryKey0 && !feeds.picks)
        passes.push({ graph: "rest", sizes: { B: 1, S: feeds.memoryKey0.shape[2]!, N: N! } });
      return session.run(feeds, outputs);
    };
    return { ...session, run };
  });
  return passes;
}

for (const [model, place] of [
  ["tiny-causal-llama", "behind"],
  ["tiny-t5-v11", "decoder"],
] as const) {
  const causal = place === "behind";
  const cases: [string, EncodedRow[]][] = [
    ["texts of several lengths", [5, 16, 17, 40].map((n) => rowOf(causal, ids(n, n)))],
    ["equal texts", [5, 9, 5, 9, 9].map((n) => rowOf(causal, ids(n, n)))],
  ];
  if (causal) {
    const whole = ids(20, 1);
    const begun = (more: number, from: number) => rowOf(true, Int32Array.from([...whole, ...ids(more, from)]), 20);
    cases.push(["shared beginnings", [begun(4, 2), begun(6, 3), begun(4, 2), begun(0, 0)]]);
  }
  for (const [what, rows] of cases)
    for (const kept of [true, false])
      test(`${place}, ${what}, ${kept ? "in a store" : "read in every pass"}: what is counted is what runs`, async () => {
        const checkpoint = await openCheckpoint(fileURLToPath(new URL(`fixtures/${model}`, import.meta.url)));
        const { config } = checkpoint;
        const partial = fullModel(config);
        const passes = recordPasses();
        const store = { precision: "float32", memory: 2 ** 24, disk: 0 } as const;
        const open = () => (kept ? openTextCache({ ...store, folder: null, identity: async () => "tiny" }) : null);
        const engine = openEngine(checkpoint, { threads: 1 }, undefined, open);
        const prompt = { prompt: { shape: [2, config.width], data: new Float32Array(2 * config.width).fill(0.1) } };
        const train = await engine.train(partial, place);
        await train.run(prompt, makeBatch(rows), new Float32Array(rows.length).fill(1));
        if (kept) await train.run(prompt, makeBatch(rows.slice(0, 2)), new Float32Array(2).fill(1));
        await engine.dispose();
        const source = { config, partial, method: promptTuning, weights: shapeWeights(config, partial) };
        const graphs = { text: textGraph(source), rest: restGraph(source) };
        const ran = passes.reduce((sum, { graph, sizes }) => sum + count(graphs[graph], sizes).total, 0);
        expect(ran).toBeGreaterThan(0);
        const read = { beginnings: new Set<string>() };
        const counted = textFlops(config, partial, rows, { together: !kept, ...read }).total;
        expect(counted).toBe(ran);
        if (kept) expect(textFlops(config, partial, rows.slice(0, 2), read).total).toBe(0);
      });
}

test("of 5, 16, 17 and 40 ids a store reads 16, 16, 32 and 48", async () => {
  const { config } = await openCheckpoint(fileURLToPath(new URL("fixtures/tiny-causal-llama", import.meta.url)));
  const partial = fullModel(config);
  const cost = (length: number) => textFlops(config, partial, [rowOf(true, ids(length, 1))]).total;
  expect([5, 16, 17, 40].map(cost)).toEqual([cost(16), cost(16), cost(32), cost(48)]);
  expect(cost(32)).toBeGreaterThan(cost(16));
});

test("a step does not count a text that another row of an earlier step has", async () => {
  const checkpoint = await openCheckpoint(fileURLToPath(new URL("fixtures/tiny-causal-llama", import.meta.url)));
  const { config } = checkpoint;
  const partial = fullModel(config);
  const encoded = [ids(6, 1), ids(8, 2), ids(6, 1), ids(9, 3)].map((text) => rowOf(true, text));
  const at = (step: number) => {
    const input = { engine: { checkpoint, texts: {} }, settings: { batchSize: 2, microBatchSize: 2 } };
    const job = { input, place: "behind", encoded, rowsOf: (n: number) => [[0, 1] as const, [2, 3] as const][n % 2]! };
    return readingFlops(job as unknown as Parameters<typeof readingFlops>[0], partial, { step, since: 0 }).total;
  };
  const alone = (n: number) => textFlops(config, partial, [encoded[n]!]).total;
  expect([0, 1, 2].map(at)).toEqual([alone(0) + alone(1), alone(3), 0]);
});
