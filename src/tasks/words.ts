/**
 * @file Shows a soft prompt as words: the vocabulary word nearest to each virtual token, and the score when these words' own vectors
 * replace the prompt. In: Model, adapter, rows. Out: words, and two scores.
 */
import { checkBase } from "../adapter/adapter.js";
import { inspectAdapter, type TokenReport } from "../adapter/inspect.js";
import type { Adapter } from "../adapter/types.js";
import { SoftpromptError } from "../base/errors.js";
import type { Evaluation } from "../evaluate/evaluate.js";
import { applyMask } from "../method/mask.js";
import { architectureOf } from "../model/architectures.js";
import { givenAdapter } from "./adapter-place.js";
import { type EvaluateInput, type EvaluateRows, evaluate } from "./evaluate.js";
import type { Model } from "./model.js";

/** A prompt as words. */
export interface PromptWords {
  /** Per virtual token its nearest words, best first; none of a pruned token. */
  readonly tokens: readonly TokenReport["nearest"][];
  /** The nearest words joined, as the tokenizer writes them. */
  readonly text: string;
  /** Scores under the prompt, and under its nearest words; null where there are no rows. */
  readonly scores: {
    readonly prompt: Evaluation["scores"];
    readonly words: Evaluation["scores"];
    readonly rows: number;
  } | null;
}

/** What `promptWords` takes besides what `evaluate` does. */
export interface WordsInput extends Omit<EvaluateInput, "adapter"> {
  readonly adapter: Adapter | string;
  /** Nearest words per token. Default 1. */
  readonly nearest?: number | undefined;
  /** Rows on which both are scored. Default none. */
  readonly rows?: EvaluateRows | undefined;
}

/**
 * Reads a soft prompt as words and measures how much of the score they keep.
 * @throws SoftpromptError "adapter" for an adapter that is no prompt; as `evaluate` for rows.
 */
export async function promptWords(model: Model, input: WordsInput): Promise<PromptWords> {
  const { adapter: given, nearest = 1, rows, ...how } = input;
  const adapter = await givenAdapter(model, given, { onEvent: how.onEvent, signal: how.signal });
  if (adapter.applied)
    throw new SoftpromptError("adapter", "this adapter holds no virtual tokens", {
      where: "adapter",
      expected: "a soft prompt",
      got: `method ${adapter.applied.method}`,
    });
  // the words of another vocabulary say nothing of the prompt
  await checkBase(adapter, model.checkpoint, { anyBase: how.anyBase, tokenizer: model.tokenizer });
  const { perToken } = await inspectAdapter(adapter, model, Math.max(1, nearest));
  const tokens = perToken.map((token) => token.nearest);
  const ids = tokens.flatMap(([best]) => (best === undefined ? [] : [best.id]));
  const text = model.tokenizer.decode(ids, { keepSpecial: true });
  if (rows === undefined) return { tokens, text, scores: null };
  const words = await asWords(model, adapter, tokens);
  const prompt = await evaluate(model, rows, { ...how, adapter });
  const read = await evaluate(model, rows, { ...how, adapter: words });
  return {
    tokens,
    text,
    scores: { prompt: prompt.scores, words: read.scores, rows: prompt.predictions.length },
  };
}

/** The prompt with each token's nearest row of the embedding in its place; pruned tokens stay zeros. */
async function asWords(model: Model, adapter: Adapter, tokens: PromptWords["tokens"]): Promise<Adapter> {
  const { checkpoint } = model;
  const { shape, data } = adapter.mask ? applyMask(adapter.prompt, adapter.mask) : adapter.prompt;
  const width = shape[1]!;
  const read = data.slice();
  const there = [...tokens.entries()].flatMap(([i, [best]]) => (best === undefined ? [] : [{ i, id: best.id }]));
  const found = await checkpoint.readRows(
    architectureOf(checkpoint.config).embedding,
    there.map(({ id }) => id),
  );
  for (const [n, { i }] of there.entries()) read.set(found.data.subarray(n * width, (n + 1) * width), i * width);
  return { ...adapter, prompt: { shape, data: read }, mask: null };
}
