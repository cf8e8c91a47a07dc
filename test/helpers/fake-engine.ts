/**
 * @file An engine without a model, deterministic and instant: a parabola around a hidden prompt per partial model.
 *
 * Row b's loss is tokens_b · ½ mean (p − t_b)², where t_b is the hidden prompt of the partial model plus a little of the row's own.
 * A row counts as right once the prompt is near enough for its difficulty, so accuracy climbs from 0 to 1 as the prompt is learnt.
 */
import { random } from "../../src/base/random.js";
import { type Parameters, size, type Tensor } from "../../src/base/tensor.js";
import type { Row, Task } from "../../src/data/row.js";
import type { Engine } from "../../src/engine/engine.js";
import { promptTuning } from "../../src/method/prompt.js";
import { fullModel, type PartialModel } from "../../src/model/partial.js";
import type { T5Config } from "../../src/model/t5/config.js";
import type { EncodedRow } from "../../src/text/batch.js";
import type { Tokenizer } from "../../src/text/tokenizer.js";

export const fakeConfig: T5Config = {
  family: "t5",
  width: 8,
  headWidth: 4,
  heads: 2,
  feedForwardWidth: 16,
  encoderLayers: 4,
  decoderLayers: 4,
  vocabulary: 256,
  activation: "gelu",
  gated: true,
  tiedHead: false,
  normEpsilon: 1e-6,
  relativeBuckets: 8,
  relativeMaxDistance: 16,
  padId: 0,
  eosId: 1,
  decoderStartId: 0,
};

export interface FakeEngineOptions {
  /** Called before every training pass with its rows; what it returns replaces loss or gradient of the pass. */
  readonly poison?: (rows: readonly string[]) => "loss" | "gradient" | null;
  /** Called before every pass; a delay, or a signal to the test. */
  readonly before?: (kind: "train" | "score" | "generate") => void | Promise<void>;
  /** The prompt does not matter to the loss. Default false. */
  readonly deaf?: boolean;
  readonly sha256?: string;
  readonly options?: Partial<Engine["options"]>;
}

export interface FakeEngine extends Engine {
  /** What was asked of it: "train full", "release e2d4", … in order, runs left out. */
  readonly calls: string[];
  /** Sizes of the training passes. */
  readonly passes: number[];
}

export function fakeEngine(options: FakeEngineOptions = {}): FakeEngine {
  const calls: string[] = [];
  const passes: number[] = [];
  const opened = new Set<string>();
  const open = (kind: string, partial: PartialModel) => {
    const name = `${kind} ${partial.name}`;
    if (!opened.has(name)) calls.push(name);
    opened.add(name);
  };
  const hidden = (partial: PartialModel, prompt: Tensor) => {
    const draw = random(7, `hidden ${partial.name}`);
    return Float64Array.from({ length: prompt.data.length }, () => draw.uniform(-1, 1));
  };
  const distance = (partial: PartialModel, prompt: Tensor) => {
    const target = hidden(partial, prompt);
    return prompt.data.reduce((sum, p, n) => sum + (p - target[n]!) ** 2, 0) / Math.max(1, target.length);
  };
  const difficulty = (row: EncodedRow) => 0.3 + 30 * ((hash(row.input) % 1000) / 1000) ** 4;
  return {
    calls,
    passes,
    checkpoint: {
      folder: "fake",
      name: "fake",
      config: fakeConfig,
      sha256: async () => options.sha256 ?? "0".repeat(64),
      // of the size of T5's vectors
      readRows: async (_: string, { length }: readonly number[]) => ({
        shape: [length, fakeConfig.width],
        data: new Float32Array(length * fakeConfig.width).fill(1),
      }),
    } as unknown as Engine["checkpoint"],
    method: promptTuning,
    left: async () => ({ run: async () => ({}) }),
    texts: null,
    readTexts: async () => {},
    options: {
      threads: 0,
      device: "cpu",
      lowMemory: false,
      plainOps: false,
      eightBit: null,
      blocks: null,
      textCache: null,
      profile: null,
      ...options.options,
    },
    train: async (partial = fullModel(fakeConfig)) => {
      open("train", partial);
      return {
        run: async (parameters, batch, weights) => {
          const prompt = (parameters as Parameters).prompt!;
          await options.before?.("train");
          passes.push(batch.size);
          const target = hidden(partial, prompt);
          const N = size(prompt.shape);
          const loss = new Float32Array(batch.size);
          const tokens = new Int32Array(batch.size);
          const gradient = new Float32Array(batch.size * N);
          for (let b = 0; b < batch.size; b++) {
            const own = batch.inputIds.subarray(b * batch.inputLength, (b + 1) * batch.inputLength);
            const shift = ((hash(own.filter((id) => id !== 0)) % 200) - 100) / 1000;
            tokens[b] = batch.targetMask
              .subarray(b * batch.targetLength, (b + 1) * batch.targetLength)
              .reduce((a, m) => a + m, 0);
            let sum = 0;
            for (let n = 0; n < N; n++) {
              const off = prompt.data[n]! - target[n]! - shift;
              sum += off * off;
              if (!options.deaf) gradient[b * N + n] = (weights[b]! * tokens[b]! * off) / N;
            }
            loss[b] = (0.5 * tokens[b]! * sum) / N;
          }
          const poison = options.poison?.(batch.ids) ?? null;
          if (poison === "loss") loss[0] = Number.POSITIVE_INFINITY;
          if (poison === "gradient") gradient[0] = Number.NaN;
          return { loss, tokens, gradients: { prompt: { shape: [batch.size, ...prompt.shape], data: gradient } } };
        },
      };
    },
    score: async (partial = fullModel(fakeConfig)) => {
      open("score", partial);
      return {
        run: async (given, rows) => {
          await options.before?.("score");
          const d = distance(partial, (given as Parameters).prompt!);
          return rows.map((row) =>
            Float64Array.from(row.choices!, (_, c) => (c === row.gold ? -d * difficulty(row) : -0.3 - 0.01 * c)),
          );
        },
      };
    },
    generate: async (partial = fullModel(fakeConfig)) => {
      open("generate", partial);
      return {
        stream: () => {
          throw new Error("not an engine that streams");
        },
        run: async (given, rows) => {
          await options.before?.("generate");
          const d = distance(partial, (given as Parameters).prompt!);
          return rows.map((row) => (d * difficulty(row) < 0.3 ? [...row.target.slice(0, -1)] : [35, 35]));
        },
      };
    },
    activations: () => Promise.reject(new Error("the fake engine has no neurons")),
    layers: () => Promise.reject(new Error("the fake engine has no layers")),
    close: async () => {},
    forward: () => Promise.reject(new Error("the fake engine has no logits")),
    release: async (partial) => {
      calls.push(`release ${partial.name}`);
      for (const name of opened) if (name.endsWith(` ${partial.name}`)) opened.delete(name);
    },
    dispose: async () => {},
  };
}

/** One id per character, 32 less than its code; so "0" is 16. */
export const fakeTokenizer: Tokenizer = {
  encode: (text) => [...text].map((c) => c.charCodeAt(0)),
  decode: (ids) => String.fromCharCode(...ids.filter((id) => id > 31)),
  piece: (id) => String.fromCharCode(id),
  openDecoder: () => {
    throw new Error("not a tokenizer that streams");
  },
  padId: 0,
  eosIds: [1],
  unkId: 2,
  frame: { before: [], after: [1] },
  controls: new Map(),
  size: 256,
  sha256: "1".repeat(64),
};

export const fakeTask: Task = {
  name: "parabola",
  template: "{text}",
  verbalizer: { no: "False", yes: "True" },
  metrics: ["accuracy"],
  maxTargetTokens: 10,
  targetPrefix: "",
};

/** Rows of varied length, about two thirds "yes". */
export function fakeRows(count: number, name = "train.jsonl"): Row[] {
  const draw = random(3, name);
  return Array.from({ length: count }, (_, n) => {
    const label = draw.next() < 2 / 3 ? "yes" : "no";
    const target = fakeTask.verbalizer![label]!;
    const input = `${name} row ${n} ${"x".repeat(draw.integer(30))}`;
    return { id: `${name}:${n + 1}`, input, target, label, references: [target] };
  });
}

function hash(ids: Int32Array): number {
  let h = 17;
  for (const id of ids) h = (Math.imul(h, 31) + id) | 0;
  return Math.abs(h);
}
