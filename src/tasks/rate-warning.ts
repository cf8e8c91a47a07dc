/**
 * @file Warns before a tuning whose steps are larger than the vectors that the model knows. In: model, options. Out: a warning event, or none.
 *
 * The papers' rate, 0.3, is for T5, whose vocabulary vectors have numbers of size 1. Those of many decoder-only models are ten times as small.
 */
import { vocabularySize } from "../method/init.js";
import { type MethodKind, methods } from "../method/methods.js";
import type { Model } from "./model.js";
import type { TuneOptions } from "./options.js";

/** One warning where a step can move each number of the prompt by more than such a number is large. */
export async function sayRate(
  { checkpoint }: Pick<Model, "checkpoint">,
  { method, optimizer, learningRate }: Pick<TuneOptions, "method" | "optimizer" | "learningRate">,
  observe: (event: { readonly kind: "warning"; readonly message: string }) => void,
): Promise<void> {
  const { inVocabulary, learningRate: own }: MethodKind = methods[method];
  if (!inVocabulary || optimizer === "sgd") return;
  const size = await vocabularySize(checkpoint);
  if (!(learningRate > size)) return;
  observe({
    kind: "warning",
    message: `learning rate ${learningRate} lets each step move the prompt's numbers further than those of the model's vocabulary are large (${size.toPrecision(2)}); try ${(own * size).toPrecision(1)} (learningRate)`,
  });
}
