/**
 * The model's last position: a row that ends on it is computed and one token more is refused, wherever the virtual tokens stand.
 */
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openCheckpoint } from "../model/checkpoint.js";
import { type EncodedRow, makeBatch } from "../text/batch.js";
import { type Engine, openEngine } from "./engine.js";

let engine: Engine;
beforeAll(async () => {
  engine = openEngine(
    await openCheckpoint(fileURLToPath(new URL("../../test/fixtures/tiny-causal-gpt2", import.meta.url))),
    { threads: 1 },
  );
});
afterAll(() => engine.dispose());

/** A text of so many ids, and a target of three. */
function rowOf(length: number, promptAt?: number): EncodedRow {
  const ids = Int32Array.from({ length }, (_, i) => 3 + i);
  const target = Int32Array.of(7, 8, 1);
  return {
    ...{
      id: "r",
      input: ids.subarray(0, -1),
      first: ids.at(-1)!,
      target,
      choices: [target],
      gold: 0,
      truncated: false,
    },
    ...(promptAt === undefined ? {} : { promptAt }),
  };
}

test.each(["before the text", "behind it", "before its last token"])("virtual tokens %s", async (where) => {
  const { maxPositions, width } = engine.checkpoint.config;
  expect(maxPositions).toBe(32);
  // two virtual tokens, the text, and the target's first two tokens, which are read to predict the next ones
  const most = 32 - 2 - 2;
  const place = where === "before the text" ? "start" : "behind";
  const at = (length: number) => (place === "start" ? undefined : where === "behind it" ? length : length - 1);
  const prompt = { prompt: { shape: [2, width], data: new Float32Array(2 * width).fill(0.1) } };
  const row = rowOf(most, at(most));
  const [train, score] = [await engine.train(undefined, place), await engine.score(undefined, place)];
  const { loss } = await train.run(prompt, makeBatch([row]), Float32Array.of(1));
  const [[log]] = (await score.run(prompt, [row])) as [Float64Array];
  expect(log! / -loss[0]!).toBeCloseTo(1, 5);
  const long = rowOf(most + 1, at(most + 1));
  for (const run of [() => train.run(prompt, makeBatch([long]), Float32Array.of(1)), () => score.run(prompt, [long])])
    await expect(run()).rejects.toThrow(/longer than the model's context window[\s\S]*at most 32 positions[\s\S]*33/);
  // a generation goes on to the last position: of the longest text there is room for the same three tokens
  const generate = await engine.generate(undefined, place);
  const ends: unknown[] = [];
  for await (const [next] of generate.stream(prompt, [row], 9, { pick: () => 5 })) ends.push(next);
  expect(ends).toEqual([5, 5, 5]);
});
