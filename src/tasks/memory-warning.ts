/**
 * @file Warns before a tuning that it may not fit into memory. In: model, data, options. Out: a warning event, or none.
 *
 * The longest rows decide. Only the few rows with the longest text are encoded, because the estimate is not more precise than that.
 */
import type { Dataset, Row } from "../data/row.js";
import { shapeOfRows } from "../engine/flops.js";
import { readsBefore } from "../engine/place.js";
import { valuesPerToken } from "../engine/texts.js";
import { evaluationBatch } from "../evaluate/evaluate.js";
import { openMethod, sizeOf } from "../method/methods.js";
import { fullModel } from "../model/partial.js";
import { byteText } from "../report/format.js";
import { needsNeuronScores } from "../schedule/schedule.js";
import { aroundPrompt } from "../text/batch.js";
import { encodeRows, isWritten } from "../text/rows.js";
import { availableMemory, forwardMemory, otherForm, programsMemory, trainingMemory } from "./memory.js";
import type { Model } from "./model.js";
import type { TuneOptions } from "./options.js";

/** Rows with the longest text that are encoded to find the longest one in tokens. */
const candidates = 8;

/** Bytes that a tuning takes at its peak: the training step, the evaluations, or the neuron scores, and what its other programs keep. */
export function tuningMemory(
  { checkpoint, tokenizer, engine }: Pick<Model, "checkpoint" | "tokenizer" | "engine">,
  { task, train, validation }: Pick<Dataset, "task" | "train" | "validation">,
  options: Omit<TuneOptions, "tensorboard" | "output">,
): number {
  const { config } = checkpoint;
  const { lowMemory } = engine.options;
  const other = otherForm(checkpoint, engine.options);
  const { numbers, tokens } = sizeOf(openMethod(options), config, options.virtualTokens);
  const length = ({ input, target }: Row) => input.length + target.length;
  const encoded = (rows: readonly Row[]) => {
    const some = [...rows].sort((a, b) => length(b) - length(a)).slice(0, candidates);
    return encodeRows(task, some, tokenizer, options.maxInputTokens);
  };
  const [longest, scored] = [encoded(train), encoded(validation)];
  const shapeOf = (rows: typeof longest) => shapeOfRows(config, rows, tokens);
  const [training, evaluated] = [shapeOf(longest), shapeOf(scored)];
  const batch = Math.min(options.microBatchSize, options.batchSize, train.length);
  const forward = (rows: readonly Row[], shape: typeof training, most: number) =>
    forwardMemory(config, { ...shape, batch: Math.min(most, rows.length) }, { lowMemory, other });
  const needs = [
    trainingMemory(config, { ...training, batch }, { lowMemory, trained: numbers, other }),
    forward(validation, evaluated, evaluationBatch(options)),
  ];
  if (needsNeuronScores(options))
    needs.push(
      options.scoreSplit === "train"
        ? forward(train, training, options.scoreBatchSize)
        : forward(validation, evaluated, options.scoreBatchSize),
    );
  // ranking; or writing, and ranking for the loss; and the reading of texts before the prompt
  const written = options.evaluateBy === "generation" || isWritten({ task, train });
  const reads = readsBefore(training.place);
  const programs = (written ? 2 : 1) + (reads ? 1 : 0);
  const kept = validation.length === 0 ? 0 : programsMemory(config, programs, { lowMemory, other });
  return Math.max(...needs.map(({ total }) => total)) + kept + keptTexts();

  /** Memory of the texts that will be kept, with the number of tokens per character of the longest rows. */
  function keptTexts(): number {
    const { texts, options: own } = engine;
    if (texts === null || !readsBefore(training.place)) return 0;
    const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);
    const shown = [...train].sort((a, b) => length(b) - length(a)).slice(0, candidates);
    const perCharacter =
      sum(longest.map((row) => aroundPrompt(row).before.length)) / sum(shown.map(({ input }) => input.length));
    const most = Math.max(...longest.map((row) => aroundPrompt(row).before.length));
    const tokens = sum([...train, ...validation].map(({ input }) => Math.min(most, perCharacter * input.length)));
    const width = texts.precision === "float32" ? 4 : 2;
    return Math.min(own.textCache?.memory ?? 0, tokens * valuesPerToken(config, fullModel(config)) * width);
  }
}

/** Warns where a tuning needs more memory than there is. @param free available bytes */
export async function sayMemory(
  model: Pick<Model, "checkpoint" | "tokenizer" | "engine">,
  data: Pick<Dataset, "task" | "train" | "validation">,
  options: Omit<TuneOptions, "tensorboard" | "output">,
  onEvent: (event: { readonly kind: "warning"; readonly message: string }) => void = () => {},
  free?: number,
): Promise<void> {
  const need = tuningMemory(model, data, options);
  const there = free ?? (await availableMemory());
  if (need <= 0.9 * there) return;
  const message = `this may not fit: about ${byteText(need)} of memory needed, ${byteText(there)} free; try --low-memory, --precision int4, a smaller --micro-batch-size or --max-input-tokens`;
  onEvent({ kind: "warning", message });
}
