/**
 * @file Where a soft prompt starts: the initialisers, one table.
 *
 * In: P virtual tokens, the base model's embedding, a tokenizer, a seed. Out: the prompt [P, D].
 * Random numbers come only from the stream `prompt` of the seed, so one seed gives the same prompt to every method and schedule (fpt.md
 * §2). Sources: Lester et al. 2021 (sampled vocabulary, class labels), fpt.md §2, xprompt.md §2, PEFT (text).
 */
import { SoftpromptError } from "../base/errors.js";
import { type Random, random } from "../base/random.js";
import type { Tensor } from "../base/tensor.js";
import { architectureOf } from "../model/architectures.js";
import type { Checkpoint } from "../model/checkpoint.js";
import type { Tokenizer } from "../text/tokenizer.js";

/** Which initialiser, with its own settings. */
export type InitSpec =
  | {
      readonly kind: "sampledVocab";
      /** Sample among the first so many ids, the most frequent ones. Default 5000 (Lester), or the whole vocabulary where it is smaller. */
      readonly from?: number;
    }
  | {
      readonly kind: "uniform";
      /** Elements in ±range. Default 1/√D (FPT); XPrompt, Lester and OpenPrompt have 0.5. */
      readonly range?: number;
    }
  | {
      readonly kind: "classLabels";
      /** One token per label: the mean of its pieces' embeddings; the other tokens are sampled as by sampledVocab. */
      readonly labels: readonly string[];
    }
  | {
      readonly kind: "text";
      /** Its pieces' embeddings, cut or repeated to P tokens, as PEFT does. */
      readonly text: string;
    }
  | {
      readonly kind: "continuation";
      /** As `text`, but the end of the text becomes the end of the prompt, because the target continues from it. */
      readonly text: string;
    }
  | {
      readonly kind: "fromPrompt";
      /** [P, D]; another length or width is refused. */
      readonly prompt: Tensor;
    };

export type InitKind = InitSpec["kind"];

/** What an initialiser reads. */
export interface InitInput {
  readonly checkpoint: Pick<Checkpoint, "name" | "config" | "readRows">;
  readonly tokenizer: Pick<Tokenizer, "encode" | "size">;
  /** P */
  readonly virtualTokens: number;
  readonly seed: number;
}

type Drawn = InitInput & { readonly random: Random };
type Initialiser<K extends InitKind> = (input: Drawn, spec: Extract<InitSpec, { kind: K }>) => Promise<Tensor>;

export const initialisers: { readonly [K in InitKind]: Initialiser<K> } = {
  sampledVocab: (input, { from = 5000 }) => embed(input, [...sampleIds(input, input.virtualTokens, from)]),

  uniform: async ({ checkpoint, virtualTokens, random }, { range = 1 / Math.sqrt(checkpoint.config.width) }) => {
    // as float32, in which the prompt is kept
    if (!(range > 0 && Number.isFinite(Math.fround(range))))
      throw refuse("the range must be positive", "a number above 0 and within float32", range);
    const D = checkpoint.config.width;
    const data = Float32Array.from({ length: virtualTokens * D }, () => random.uniform(-range, range));
    return { shape: [virtualTokens, D], data };
  },

  classLabels: async (input, { labels }) => {
    const D = input.checkpoint.config.width;
    const pieces = labels.map((label) => encode(input, label, `the label ${JSON.stringify(label)}`));
    const named = pieces.slice(0, input.virtualTokens);
    const rest = await embed(input, [...sampleIds(input, input.virtualTokens - named.length, 5000)]);
    const data = new Float32Array(input.virtualTokens * D);
    for (const [i, ids] of named.entries()) {
      const rows = (await embed(input, ids)).data;
      for (let c = 0; c < D; c++) {
        let sum = 0;
        for (let n = 0; n < ids.length; n++) sum += rows[n * D + c]!;
        data[i * D + c] = sum / ids.length;
      }
    }
    data.set(rest.data, named.length * D);
    return { shape: [input.virtualTokens, D], data };
  },

  text: (input, { text }) => {
    const ids = encode(input, text, "the text");
    return embed(
      input,
      Array.from({ length: input.virtualTokens }, (_, i) => ids[i % ids.length]!),
    );
  },

  continuation: (input, { text }) => {
    const ids = encode(input, text, "the text");
    const missing = Math.ceil(input.virtualTokens / ids.length) * ids.length - input.virtualTokens;
    return embed(
      input,
      Array.from({ length: input.virtualTokens }, (_, i) => ids[(i + missing) % ids.length]!),
    );
  },
  fromPrompt: async ({ checkpoint, virtualTokens }, { prompt }) => {
    const expected = [virtualTokens, checkpoint.config.width];
    if (prompt.shape.join() !== expected.join() || prompt.data.length !== virtualTokens * checkpoint.config.width)
      throw refuse(
        "the earlier prompt has another shape",
        `[${expected.join(", ")}] (tokens, width of ${checkpoint.name})`,
        `[${prompt.shape.join(", ")}]`,
        "a prompt fits models of its own width only; set --virtual-tokens to its number of tokens",
      );
    if (!prompt.data.every(Number.isFinite))
      throw new SoftpromptError("numeric", "the earlier prompt holds NaN or infinity", {
        where: "prompt initialisation",
      });
    return { shape: expected, data: prompt.data.slice() };
  },
};

/** The start prompt [P, D]. @throws SoftpromptError "usage" where the settings cannot give one. */
export async function initPrompt(spec: InitSpec, input: InitInput): Promise<Tensor> {
  if (!Number.isInteger(input.virtualTokens) || input.virtualTokens < 1)
    throw refuse(
      "the number of virtual tokens must be a whole number above 0",
      "tokens, 1 or more",
      input.virtualTokens,
    );
  const initialise = initialisers[spec.kind] as Initialiser<InitKind>;
  return initialise({ ...input, random: random(input.seed, "prompt") }, spec);
}

/** Distinct ids among the first `from` (Lester's sampling without replacement). */
function sampleIds({ checkpoint, tokenizer, random }: Drawn, count: number, from: number): Int32Array {
  // infinity is the whole vocabulary
  if (!(Number.isInteger(from) || from === Number.POSITIVE_INFINITY) || from < 1)
    throw refuse("`from` must be a whole number above 0", "a number of ids, 1 or more", from);
  const population = Math.min(from, tokenizer.size, checkpoint.config.vocabulary);
  if (count > population)
    throw refuse(
      "the vocabulary is too small to sample the prompt from",
      `at most ${population} tokens`,
      count,
      "give a larger `from`, a shorter prompt, or another initialiser",
    );
  return random.sample(population, count);
}

function encode({ tokenizer }: Drawn, text: string, what: string): number[] {
  const ids = tokenizer.encode(text);
  if (ids.length === 0) throw refuse(`${what} has no tokens`, "at least one piece", text);
  return ids;
}

function embed(
  { checkpoint }: { readonly checkpoint: Pick<Checkpoint, "config" | "readRows"> },
  ids: readonly number[],
): Promise<Tensor> {
  return checkpoint.readRows(architectureOf(checkpoint.config).embedding, ids);
}

function refuse(problem: string, expected: string, got: unknown, hint?: string): SoftpromptError {
  return new SoftpromptError("usage", problem, { where: "prompt initialisation", expected, got, hint });
}

/** Rows of the embedding from which the size of its values is estimated. */
const sampledRows = 1000;

/** Root of the mean square of the numbers of a model's vocabulary vectors, by at most 1,000 of them, evenly spaced. */
export async function vocabularySize(checkpoint: Pick<Checkpoint, "config" | "readRows">): Promise<number> {
  const { vocabulary } = checkpoint.config;
  const count = Math.min(sampledRows, vocabulary);
  const ids = Array.from({ length: count }, (_, i) => Math.floor((i * vocabulary) / count));
  const { data } = await embed({ checkpoint }, ids);
  return Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length);
}
