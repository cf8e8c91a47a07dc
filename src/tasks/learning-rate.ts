/**
 * @file The learning rate that suits a method and a model, where none is given; and a warning before a tuning whose steps are larger than the
 * vectors that the model knows. In: options, checkpoint. Out: a rate; a warning event, or none.
 *
 * The papers' rate, 0.3, is for T5, whose vocabulary vectors have numbers of size 1. Those of many decoder-only models are ten times as small.
 */

import { vocabularySize } from "../method/init.js";
import { type MethodKind, methods } from "../method/methods.js";
import type { MethodName } from "../method/options.js";
import type { Model } from "./model.js";
import type { TuneOptions } from "./options.js";

type Checkpoint = Model["checkpoint"];

/**
 * The method's own rate. One of vectors in the vocabulary is as much smaller as the model's vocabulary vectors are smaller than 1, to two digits;
 * larger vectors keep the papers' rate.
 */
export async function ownRate(method: MethodName, checkpoint: Checkpoint): Promise<number> {
  const { inVocabulary, learningRate }: MethodKind = methods[method];
  return inVocabulary ? suited(learningRate, await vocabularySize(checkpoint)) : learningRate;
}

/** Options with the rate that suits their method and the model, where they have none. */
export async function withOwnRate<T extends { readonly method?: unknown; readonly learningRate?: unknown }>(
  given: T,
  checkpoint: Checkpoint,
): Promise<T> {
  const { learningRate } = given;
  const method = given.method ?? "prompt";
  // null is no value, as everywhere; an unknown method is refused where the options are read
  if ((learningRate ?? undefined) !== undefined || typeof method !== "string" || !Object.hasOwn(methods, method))
    return given;
  return { ...given, learningRate: await ownRate(method as MethodName, checkpoint) };
}

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
    message: `learning rate ${learningRate} lets each step move the prompt's numbers further than those of the model's vocabulary are large (${size.toPrecision(2)}); try ${suited(own, size)} (learningRate)`,
  });
}

/** A rate for vectors of size 1, for vectors of another size. */
function suited(rate: number, size: number): number {
  return size > 0 && size < 1 ? Number((rate * size).toPrecision(2)) : rate;
}
