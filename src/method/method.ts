/**
 * @file The interface of a tuning method: which parameters it trains, where they start and where they enter the frozen model.
 *
 * A method wraps the Builder's functions that it needs (model/builder.ts) and leaves the rest; the engine makes the gradients and the
 * trainer moves the parameters without knowing which method it is. Other modules ask for properties of a method, never for its name.
 */
import type { Random } from "../base/random.js";
import type { Parameters, Tensor } from "../base/tensor.js";
import type { Shape, Value } from "../graph/graph.js";
import type { ModelConfig, PartialModel } from "../model/architecture.js";
import type { Weights } from "../model/bindings.js";
import type { Builder } from "../model/builder.js";
import type { Checkpoint } from "../model/checkpoint.js";

/** One trained tensor. */
export interface ParameterSpec {
  readonly name: string;
  /** With symbols where a size is free: ["P", D]. */
  readonly shape: Shape;
  /**
   * Fed once per row of a batch, [B, …shape], so that each row may have its own and its gradient stays apart (XPrompt's importance);
   * otherwise fed once, and the graph sums the gradient over the batch.
   */
  readonly perRow: boolean;
}

/** The graph's values of the parameters, by name. */
export type Values = Readonly<Record<string, Value>>;

/** How many tokens a method puts before the text, and how many keys before those of attentions, by "STACK.self" and "STACK.cross". */
export interface Added {
  readonly tokens: number;
  readonly keys: Readonly<Record<string, number>>;
}

/** What a method may start its parameters from. */
export interface StartInput {
  readonly checkpoint: Pick<Checkpoint, "config" | "read" | "readRows">;
  /** The method's own random stream. */
  readonly random: Random;
  /** The prompt [P, D] that the options ask for; drawn from a stream of its own, so that every method starts from the same. */
  readonly prompt: () => Promise<Tensor>;
}

/**
 * The vectors of a method that trains them in several matrices, as the rows of one: what masks and importance are of. A row holds all that
 * is trained for one virtual token.
 */
export interface VectorRows {
  /** Trains the same numbers as one parameter `prompt` [N, width], fed per row. It is prunable. */
  readonly method: Method;
  readonly width: number;
  join(parameters: Parameters): Tensor;
  part(prompt: Tensor): Parameters;
}

/** A method with its settings. */
export interface Method {
  readonly name: string;
  /** Name and settings as far as they decide what its graphs compute: equal keys, equal graphs. */
  readonly key: string;
  /** Masks fit what it trains as it is: a matrix `prompt` [P, D] of vectors. */
  readonly prunable: boolean;
  /** Its vectors as such a matrix, where it trains them in another layout. */
  rows?(config: ModelConfig): VectorRows;
  /** Every parameter is fed per row, so that rows of one batch may have parameters of several adapters. */
  readonly perRow: boolean;
  parameters(config: ModelConfig): readonly ParameterSpec[];
  attach(b: Builder, values: Values, config: ModelConfig): Builder;
  /** The model's weights with some of them replaced by parameters; absent where every weight stays frozen. */
  weights?(frozen: Weights, values: Values, config: ModelConfig, partial: PartialModel): Weights;
  /** Whether the text before its virtual tokens is read exactly as by the frozen model. Only then may they stand behind a text. */
  readonly behind?: boolean;
  /** Whether what it adds can stand before the text only. */
  readonly before?: boolean;
  /**
   * A frozen tensor with the changes of these parameters, for export to files that know no methods; the same tensor if it is not changed.
   * Absent if the method does more than change weights.
   */
  folded?(config: ModelConfig, parameters: Parameters): (name: string, frozen: Tensor) => Tensor;
  adds(parameters: Readonly<Record<string, { readonly shape: readonly number[] }>>): Added;
  /** Parameters before the first step. */
  start(from: StartInput): Promise<Parameters>;
  /**
   * For methods whose trained parameters are not the final result: the method that is kept at the end, and its parameters computed from
   * this one's. Absent if the parameters themselves are kept.
   */
  readonly leaves?: {
    readonly method: Method;
    /** Settings of the other method, if they differ from this one's. */
    readonly settings?: Readonly<Record<string, unknown>>;
    values(b: Builder, values: Values, config: ModelConfig): Values;
  };
}
