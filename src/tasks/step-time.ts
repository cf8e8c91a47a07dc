/**
 * @file Predicts how long a tuning will take, from one of its own steps. In: Model, Dataset, options. Out: seconds.
 *
 * A micro-batch is run twice, because the first run also opens the session; the rest is computed from FLOPs. It is an estimate: evaluations
 * do other work than steps, and other programs may use the cores.
 */
import type { Dataset } from "../data/row.js";
import { shapeOfRows, stepFlops } from "../engine/flops.js";
import { placeOf } from "../engine/place.js";
import { evaluationFlops, evaluationOptions, prepareEvaluation } from "../evaluate/evaluate.js";
import { fullModel } from "../model/partial.js";
import { typicalShape } from "../schedule/plan.js";
import { makeBatch } from "../text/batch.js";
import { encodeRows } from "../text/rows.js";
import type { Model } from "./model.js";
import type { TuneOptions } from "./options.js";

/** Seconds of all steps and evaluations of a tuning of one stage on the full model. */
export async function tuningSeconds(
  { engine, tokenizer, checkpoint }: Pick<Model, "engine" | "tokenizer" | "checkpoint">,
  data: Pick<Dataset, "task" | "train" | "validation">,
  options: Omit<TuneOptions, "tensorboard" | "output">,
): Promise<number> {
  const { config } = checkpoint;
  const full = fullModel(config);
  const P = options.virtualTokens;
  const rows = data.train.slice(0, Math.min(options.microBatchSize, options.batchSize));
  const encoded = encodeRows(data.task, rows, tokenizer, options.maxInputTokens);
  const batch = makeBatch(encoded);
  const prompt = { shape: [P, config.width], data: new Float32Array(P * config.width).fill(0.1) };
  const program = await engine.train(full, placeOf(config, encoded));
  let seconds = 0;
  for (let n = 0; n < 2; n++) {
    const begun = performance.now();
    await program.run({ prompt }, batch, new Float32Array(rows.length).fill(1));
    seconds = (performance.now() - begun) / 1000;
  }
  const timed = stepFlops(config, full, shapeOfRows(config, encoded, P)).total;
  const evaluation = (rows: Dataset["validation"], maxEvalRows: number) =>
    rows.length === 0
      ? 0
      : evaluationFlops(
          config,
          full,
          prepareEvaluation(tokenizer, data.task, rows, { ...evaluationOptions(options), maxEvalRows }),
          P,
          { together: engine.texts === null },
        );
  const step = stepFlops(config, full, typicalShape(config, tokenizer, data, options, P)).total;
  const during = Math.ceil(options.steps / (options.evalEvery || options.steps));
  const flops =
    options.steps * step +
    during * evaluation(data.validation, options.maxEvalRows) +
    // the final evaluations of the kept prompt and of the model without one
    (options.baselines ? 2 : 1) * evaluation(data.validation, options.finalEvalRows ?? 0);
  return (seconds * flops) / timed;
}
