/**
 * @file The engine's programs: each opens the sessions it needs and turns batches into results.
 *
 * In: a ModelSource and session options. Out: the programs of engine.ts, each with its dispose.
 */
import type { Tensor } from "../base/tensor.js";
import { relativeBuckets } from "../model/t5/graph.js";
import type { Feed } from "../runtime/runtime.js";
import { openSession, type Session, type SessionOptions } from "../runtime/session.js";
import type { EncodedRow } from "../text/batch.js";
import { decoderFeeds, type EncoderBatch, encoderFeeds, float, int, promptLength } from "./feeds.js";
import {
  activationGraph,
  encodeGraph,
  forwardGraph,
  type ModelSource,
  scoreGraph,
  stepGraph,
  trainGraph,
} from "./graphs.js";
import type { ActivationProgram, ForwardProgram, GenerateProgram, ScoreProgram, TrainProgram } from "./types.js";

/** A program and the sessions it owns. */
export type Owned<Program> = Program & { dispose(): Promise<void> };

/** Every kind of program an engine makes, by name. */
export interface ProgramKinds {
  train: TrainProgram;
  score: ScoreProgram;
  generate: GenerateProgram;
  activations: ActivationProgram;
  forward: ForwardProgram;
}

type Opener<Program> = (source: ModelSource, options: SessionOptions) => Promise<Owned<Program>>;

/** How each program is opened. */
export const programs: { readonly [K in keyof ProgramKinds]: Opener<ProgramKinds[K]> } = {
  async train(source, options) {
    const session = await openSession(`train ${source.partial.name}`, trainGraph(source), options);
    return {
      async run(prompt, batch, weights) {
        const { size: B, targetLength: U, targetMask } = batch;
        const tokenWeights = Float32Array.from(targetMask, (on, i) => (on ? weights[Math.floor(i / U)]! : 0));
        const { nll, gradient } = await session.run({
          ...encoderFeeds(prompt, batch, source.config),
          ...decoderFeeds(batch.targetIds, [B], U, source.config),
          targetIds: int([B, U], batch.targetIds),
          tokenWeights: float([B, U], tokenWeights),
        });
        const tokens = new Int32Array(B);
        const loss = new Float64Array(B);
        for (const [i, on] of targetMask.entries()) {
          if (!on) continue;
          tokens[Math.floor(i / U)]! += 1;
          loss[Math.floor(i / U)]! += nll!.data[i]!;
        }
        return { loss: Float32Array.from(loss), tokens, gradient: gradient!.data as Float32Array };
      },
      dispose: () => session.dispose(),
    };
  },

  async score(source, options) {
    const session = await openSession(`score ${source.partial.name}`, scoreGraph(source), options);
    return {
      async run(prompt, rows) {
        promptLength(prompt, source.config, rows.length);
        const scores: Float64Array[] = [];
        for (const { from, to } of portions(rows)) {
          const own = prompt.shape.length === 3 ? promptRows(prompt, from, to) : prompt;
          scores.push(...(await rank(source, session, own, rows.slice(from, to))));
        }
        return scores;
      },
      dispose: () => session.dispose(),
    };
  },

  async generate(source, options) {
    const encode = await openSession(`encode ${source.partial.name}`, encodeGraph(source), options);
    const step = await openSession(`decode ${source.partial.name}`, stepGraph(source), options);
    return {
      run: (prompt, rows, maxTokens) => generate(source, { encode, step }, prompt, rows, maxTokens),
      async dispose() {
        await encode.dispose();
        await step.dispose();
      },
    };
  },

  async activations(source, options) {
    const session = await openSession("activations", activationGraph(source), options);
    return {
      async run(prompt, batch) {
        const P = prompt.shape.at(-2)!;
        const encoded = encoderFeeds(prompt, batch, source.config);
        const result = await session.run({
          ...encoded,
          ...decoderFeeds(batch.targetIds, [batch.size], batch.targetLength, source.config),
          encoderShare: shares(batch.inputMask, batch.size, batch.inputLength, P),
          decoderShare: shares(batch.targetMask, batch.size, batch.targetLength, 0),
        });
        return { encoder: result.encoder!.data as Float32Array, decoder: result.decoder!.data as Float32Array };
      },
      dispose: () => session.dispose(),
    };
  },

  async forward(source, options) {
    const session = await openSession(`forward ${source.partial.name}`, forwardGraph(source), options);
    return {
      async run(prompt, batch) {
        const result = await session.run({
          ...encoderFeeds(prompt, batch, source.config),
          ...decoderFeeds(batch.targetIds, [batch.size], batch.targetLength, source.config),
        });
        const tensor = ({ shape, data }: Feed): Tensor => ({ shape, data: data as Float32Array });
        return {
          encoder: tensor(result.encoder!),
          decoder: tensor(result.decoder!),
          logits: tensor(result.logits!),
        };
      },
      dispose: () => session.dispose(),
    };
  },
};

/** Log-probabilities of each row's choices: rows padded to the most choices and the longest. */
async function rank(
  { config }: ModelSource,
  session: Session,
  prompt: Tensor,
  rows: readonly EncodedRow[],
): Promise<Float64Array[]> {
  const choices = rows.map((row) => row.choices ?? []);
  const [B, C, U] = choiceShape(rows);
  if (C === 0 || U === 0) return choices.map((row) => new Float64Array(row.length));
  const ids = new Int32Array(B * C * U).fill(config.padId);
  for (const [b, row] of choices.entries()) for (const [c, choice] of row.entries()) ids.set(choice, (b * C + c) * U);
  const { nll } = await session.run({
    ...encoderFeeds(prompt, encoderBatch(rows, config.padId), config),
    ...decoderFeeds(ids, [B, C], U, config),
    targetIds: int([B, C, U], ids),
  });
  return choices.map((row, b) =>
    Float64Array.from(row, (choice, c) => {
      let total = 0;
      for (let u = 0; u < choice.length; u++) total -= nll!.data[(b * C + c) * U + u]!;
      return total;
    }),
  );
}

/** Decoder tokens scored at once: each has V logits and V log-probabilities (0.5 GB at 32,128). */
const tokensAtOnce = 2048;

/** Cuts rows where many or long choices (ReCoRD's entities) would make the logits large; a row is never cut. */
export function portions(rows: readonly EncodedRow[], limit = tokensAtOnce): { from: number; to: number }[] {
  const cuts: { from: number; to: number }[] = [];
  for (let from = 0; from < rows.length; ) {
    let to = from + 1;
    while (to < rows.length && choiceShape(rows.slice(from, to + 1)).reduce((a, b) => a * b) <= limit) to++;
    cuts.push({ from, to });
    from = to;
  }
  return cuts;
}

/** B, C, U of rows with choices. */
function choiceShape(rows: readonly EncodedRow[]): [number, number, number] {
  const choices = rows.map((row) => row.choices ?? []);
  return [
    rows.length,
    Math.max(0, ...choices.map((c) => c.length)),
    Math.max(0, ...choices.flat().map((c) => c.length)),
  ];
}

function promptRows({ shape, data }: Tensor, from: number, to: number): Tensor {
  const row = shape[1]! * shape[2]!;
  return { shape: [to - from, shape[1]!, shape[2]!], data: data.subarray(from * row, to * row) };
}

/** Greedy decoding: encode once, then one token per step, until every row has ended or has `maxTokens`. */
async function generate(
  { config, partial }: ModelSource,
  { encode, step }: { encode: Session; step: Session },
  prompt: Tensor,
  rows: readonly EncodedRow[],
  maxTokens: number,
): Promise<number[][]> {
  const B = rows.length;
  const out: number[][] = rows.map(() => []);
  if (B === 0) return out;
  const encoded = encoderFeeds(prompt, encoderBatch(rows, config.padId), config);
  const cross = await encode.run(encoded);
  const layers = partial.decoder.layers.map((_, i) => i);
  const cache: Record<string, Feed> = {};
  for (const i of layers)
    for (const name of [`pastKey${i}`, `pastValue${i}`])
      cache[name] = float([B, config.heads, 0, config.headWidth], new Float32Array(0));
  let ids = new Int32Array(B).fill(config.decoderStartId);
  const done = new Uint8Array(B);
  for (let n = 0; n < maxTokens && done.includes(0); n++) {
    const result = await step.run({
      decoderIds: int([B, 1], ids),
      padding: encoded.padding!,
      decoderBuckets: int([1, n + 1], relativeBuckets(config, 1, n + 1, { causal: true, first: n })),
      ...cross,
      ...cache,
    });
    ids = Int32Array.from(result.next!.data);
    for (const i of layers) {
      cache[`pastKey${i}`] = result[`key${i}`]!;
      cache[`pastValue${i}`] = result[`value${i}`]!;
    }
    for (const [b, id] of ids.entries()) {
      if (id === config.eosId) done[b] = 1;
      if (done[b]) ids[b] = config.padId;
      else out[b]!.push(id);
    }
  }
  return out;
}

/** Rows padded on the right to the longest. */
function encoderBatch(rows: readonly EncodedRow[], padId: number): EncoderBatch {
  const inputLength = Math.max(...rows.map((r) => r.input.length));
  const inputIds = new Int32Array(rows.length * inputLength).fill(padId);
  const inputMask = new Int32Array(rows.length * inputLength);
  for (const [b, { input }] of rows.entries()) {
    inputIds.set(input, b * inputLength);
    inputMask.fill(1, b * inputLength, b * inputLength + input.length);
  }
  return { size: rows.length, inputIds, inputMask, inputLength };
}

/** [B, 1, lead+N]: 1/(valid positions of the row) on the row's valid positions; the `lead` first are all valid. */
function shares(mask: Int32Array, B: number, N: number, lead: number): Feed {
  const width = lead + N;
  const out = new Float32Array(B * width);
  for (let b = 0; b < B; b++) {
    const row = mask.subarray(b * N, (b + 1) * N);
    const count = lead + row.reduce((n, on) => n + (on ? 1 : 0), 0);
    for (let i = 0; i < width; i++) if (i < lead || row[i - lead]) out[b * width + i] = 1 / count;
  }
  return float([B, 1, width], out);
}
