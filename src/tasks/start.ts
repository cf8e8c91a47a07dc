/**
 * @file Checks whether a prompt behind its text starts worse than no prompt. In: Model, rows, the start prompt. Out: a warning event, or
 * none; the cost of the check.
 *
 * Behind a text the start matters more than before it, because the prompt lies between the text and the target. The check uses training
 * rows, so that validation rows have no influence. Their texts are read by the training anyway.
 */
import type { Tensor } from "../base/tensor.js";
import type { Dataset } from "../data/row.js";
import { rankingFlops, shapeOfRows } from "../engine/flops.js";
import { placeOf, readsBefore } from "../engine/place.js";
import { fullModel } from "../model/partial.js";
import { textsBefore } from "../text/batch.js";
import { encodeRows } from "../text/rows.js";
import { batchOrder } from "../train/order.js";
import type { Model } from "./model.js";
import type { TuneOptions } from "./options.js";

/** Number of rows: enough to detect a very bad start. */
const most = 32;

/** Scores the rows of the first batches. Reading their texts is not counted here, because the steps count it. */
export async function sayStart(
  { engine, checkpoint, tokenizer }: Pick<Model, "engine" | "checkpoint" | "tokenizer">,
  { task, train }: Pick<Dataset, "task" | "train">,
  options: Pick<TuneOptions, "batchSize" | "microBatchSize" | "seed" | "maxInputTokens">,
  prompt: Tensor,
  observe: (event: { readonly kind: "warning"; readonly message: string }) => void,
): Promise<{ readonly flops: number; readonly seconds: number }> {
  const encoded = encodeRows(task, train, tokenizer, options.maxInputTokens);
  const place = placeOf(checkpoint.config, encoded);
  if (!readsBefore(place)) return { flops: 0, seconds: 0 };
  const started = performance.now();
  const order = batchOrder(encoded, options.batchSize, options.seed);
  const numbers: number[] = [];
  for (let step = 0; numbers.length < Math.min(most, encoded.length); step++) numbers.push(...order(step));
  const rows = numbers.slice(0, most).map((n) => {
    const row = encoded[n]!;
    // the answer as it is ranked: without the end token, which needs no prompt
    return { ...row, choices: [row.choices?.[row.gold] ?? row.target], gold: 0 };
  });
  const full = fullModel(checkpoint.config);
  await engine.readTexts(textsBefore(rows), full);
  const program = await engine.score(full, place);
  const tokens = rows.reduce((sum, { choices }) => sum + choices[0]!.length, 0);
  let flops = 0;
  const lossWith = async (given: Tensor) => {
    let loss = 0;
    for (let from = 0; from < rows.length; from += options.microBatchSize) {
      const some = rows.slice(from, from + options.microBatchSize);
      for (const [log] of await program.run({ prompt: given }, some)) loss -= log!;
      const shape = { ...shapeOfRows(checkpoint.config, some, given.shape[0]!), choices: 1 };
      flops += rankingFlops(checkpoint.config, full, shape).total;
    }
    return loss / tokens;
  };
  const none = { shape: [0, checkpoint.config.width], data: new Float32Array(0) };
  const [bare, start] = [await lossWith(none), await lossWith(prompt)];
  if (start > bare)
    observe({
      kind: "warning",
      message: `the prompt starts worse than no prompt (loss ${start.toPrecision(3)} against ${bare.toPrecision(3)} on ${rows.length} training rows): it has to make that good first; words that lead from the text to its answer start nearer (--init-text)`,
    });
  return { flops, seconds: (performance.now() - started) / 1000 };
}
