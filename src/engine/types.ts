/**
 * @file The engine's interface: options, programs and their results. Re-exported by `engine.ts`.
 */
import type { Feed, Feeds, Parameters, Tensor } from "../base/tensor.js";
import type { Method } from "../method/method.js";
import type { Checkpoint } from "../model/checkpoint.js";
import type { PartialModel } from "../model/partial.js";
import type { Batch, EncodedRow } from "../text/batch.js";
import type { Place } from "./graphs.js";
import type { LayerSite } from "./layer-graphs.js";
import type { Pick } from "./sampling.js";
import type { KeepTexts, TextCacheSettings, TextStore, TextToRead } from "./text-store.js";

export type { Place } from "./graphs.js";
export type { LayerSite } from "./layer-graphs.js";
export type { KeepTexts, KeptText, TextCacheSettings, TextStore, TextToRead } from "./text-store.js";

/** Settings of the runtime in which an engine runs its programs. */
export interface EngineOptions {
  /** Threads inside one operator; 0 lets ONNX Runtime choose. Default 0. */
  threads?: number;
  /** Trade speed for memory: no pre-packed weights, 16-bit weights widened per use instead of kept. Default false. */
  lowMemory?: boolean;
  /** Execution provider. Default "cpu". */
  device?: "cpu" | "webgpu" | "cuda";
  /** Lower com.microsoft operators to plain ONNX. Default false. */
  plainOps?: boolean;
  /**
   * Compute linear layers in 8 bits if the checkpoint has them so (model/eight-bit.ts). The number is the one that they
   * were made with: the largest integer that signed products bear here (largestEightBit).
   * Default null: float32.
   */
  eightBit?: number | null;
  /** Keep linear layers in blocks if the checkpoint has them so (model/block-weights.ts). Default null: as the checkpoint has them. */
  blocks?: "stored" | "int4" | null;
  /**
   * How texts that stand before virtual tokens are kept once they are read; null reads each whenever it is asked for. `openModel` brings the
   * store that keeps them; an engine that is opened without one (`openTexts`) reads each every time. Default null.
   */
  textCache?: TextCacheSettings | null;
  /** Prefix of the files into which ONNX Runtime writes the times of its operators, one for each session, when it is closed. Default null. */
  profile?: string | null;
}

/** Parameters for all rows, or one set per row (several adapters in one batch; prompts may differ in length). */
export type GivenParameters = Parameters | readonly Parameters[];

/** Loss and gradients of one batch. */
export interface StepResult {
  /** [B] negative log-likelihood of the target, summed over its tokens. */
  readonly loss: Float32Array;
  /** [B] number of target tokens that count. */
  readonly tokens: Int32Array;
  /**
   * d (Σ_b weight_b · loss_b) / d parameter. A method whose parameters enter each row by themselves (`perRow`: a prompt, a prefix) has gradients
   * [B, …], one set given or many: rows stay separate, and their sum is the gradient of what they share. Others have the parameter's own shape.
   */
  readonly gradients: Parameters;
}

/** Loss and gradients in one pass. */
export interface TrainProgram {
  /**
   * @param weights [B] factor of each row's summed loss; 1/(tokens of the whole batch) gives the token-mean loss.
   * @throws SoftpromptError "engine" where they are not as many as rows
   */
  run(parameters: GivenParameters, batch: Batch, weights: Float32Array): Promise<StepResult>;
}

/** Label ranking: read prompt and text once, score each choice. */
export interface ScoreProgram {
  /** @returns one array per row: log-probability (summed over tokens, natural log) of each of the row's choices. */
  run(parameters: GivenParameters, rows: readonly EncodedRow[]): Promise<Float64Array[]>;
}

/** How tokens are chosen, and when a row is done. */
export interface WritingOptions {
  /** Which id comes next. Default the likeliest (greedy). */
  readonly pick?: Pick;
  /** Ids that end a text, besides the model's own. */
  readonly ends?: readonly number[];
  /** Called before each further token of a row; true ends the row for another reason. */
  readonly done?: (row: number) => boolean;
}

/** Decoding with a key/value cache. */
export interface GenerateProgram {
  /**
   * @param maxTokens the most ids of a row, 0 or more; Infinity writes until every row has ended
   * @param options afterToken: called, and waited for, after each token of the rows: other work gets its turn there
   * @returns one id array per row, without start, end and padding ids.
   */
  run(
    parameters: GivenParameters,
    rows: readonly EncodedRow[],
    maxTokens: number,
    options?: WritingOptions & { readonly afterToken?: (() => Promise<void>) | undefined },
  ): Promise<number[][]>;
  /** The same, one token of every row at a time: an id, or why the row has no further one. */
  stream(
    parameters: GivenParameters,
    rows: readonly EncodedRow[],
    maxTokens: number,
    options?: WritingOptions,
  ): AsyncGenerator<readonly (number | RowEnd)[], void, undefined>;
}

/** Why a row has no further token: the model wrote an end token, the caller ended the row, or the model's last position is reached. */
export type RowEnd = "end" | "done" | "window";

/** Feed-forward activations for neuron scores (fpt.md §3.3): full model, teacher-forced. */
export interface ActivationProgram {
  /** @returns by stack, per row the mean over the stack's valid positions of |activation|: [B, L, F]. */
  run(parameters: GivenParameters, batch: Batch): Promise<Readonly<Record<string, Float32Array>>>;
}

/** Last hidden states and logits, for parity tests and analysis. */
export interface ForwardProgram {
  /** @returns prefill [B, P+T, D] (nothing of it behind a text, which was read before), decode [B, U, D] (both after the final norm), logits [B, U, V]; teacher-forced. */
  run(parameters: GivenParameters, batch: Batch): Promise<{ prefill: Tensor; decode: Tensor; logits: Tensor }>;
}

/** Computes a method's final parameters, if they differ from the trained ones (Method.leaves). */
export interface LeftProgram {
  /** @returns the parameters of the method that `leaves` names; none where the method leaves its own. */
  run(parameters: Parameters): Promise<Parameters>;
}

/** A batch of rows on its way through the frozen model. */
export interface LayerState {
  /** The stack that the batch is in. */
  readonly stack: string;
  readonly hidden: Feed;
  /** In a second stack: what the first one's last layer gave. */
  readonly read: Feed | null;
  readonly feeds: Feeds;
  /** Sizes of the batch, padded: rows, tokens of a text (one stack: with its target), tokens of a target. */
  readonly shape: { readonly batch: number; readonly prompt: 0; readonly input: number; readonly target: number };
}

/** The frozen model alone, one layer at a time, teacher-forced. */
export interface LayersProgram {
  /** The rows before the first layer. */
  enter(rows: readonly EncodedRow[]): Promise<LayerState>;
  /** The rows after one more layer. States stay valid: one may be continued in several ways. */
  through(state: LayerState, site: LayerSite): Promise<LayerState>;
  /** Negative log-likelihood of the targets, summed over their tokens, as if no further layer followed. */
  loss(state: LayerState): Promise<number>;
}

/** Every kind of program an engine makes, by name. */
export interface ProgramKinds {
  train: TrainProgram;
  score: ScoreProgram;
  generate: GenerateProgram;
  activations: ActivationProgram;
  forward: ForwardProgram;
  left: LeftProgram;
  layers: LayersProgram;
}

/**
 * Programs over one frozen checkpoint and one method. Programs are made on first use and cached per (kind, partial.name, place); `place` is
 * where the virtual tokens of the rows stand (placeOf), default before the text.
 */
export interface Engine {
  readonly checkpoint: Checkpoint;
  readonly method: Method;
  /** As opened, defaults filled in; workers open theirs with the same. */
  readonly options: Readonly<Required<EngineOptions>>;
  train(partial?: PartialModel, place?: Place): Promise<TrainProgram>;
  score(partial?: PartialModel, place?: Place): Promise<ScoreProgram>;
  generate(partial?: PartialModel, place?: Place): Promise<GenerateProgram>;
  activations(place?: Place): Promise<ActivationProgram>;
  forward(partial?: PartialModel, place?: Place): Promise<ForwardProgram>;
  left(): Promise<LeftProgram>;
  layers(): Promise<LayersProgram>;
  /** Frees the programs of one kind; the next caller opens it again. */
  close(kind: keyof ProgramKinds): Promise<void>;
  /** The store of texts; null if each text is read every time. */
  readonly texts: TextStore | null;
  /**
   * Reads texts that stand before virtual tokens into the store, if there is a store: those that are not in it, of like length together, the
   * longest first.
   */
  readTexts(texts: readonly TextToRead[], partial?: PartialModel, how?: KeepTexts): Promise<void>;
  /** Frees the programs of one partial model (FPT after growth). */
  release(partial: PartialModel): Promise<void>;
  /** Frees everything. Idempotent. */
  dispose(): Promise<void>;
}
