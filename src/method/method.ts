/**
 * @file What a method of tuning says of itself: which parameters it trains and where they enter the frozen model.
 *
 * A method wraps the Builder's functions that it needs (model/builder.ts) and leaves the rest; the engine makes the gradients and the
 * trainer moves the parameters without knowing which method it is.
 */
import type { Shape, Value } from "../graph/graph.js";
import type { ModelConfig } from "../model/architecture.js";
import type { Builder } from "../model/builder.js";

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

/** A method of tuning: its parameters, and where they enter the frozen model. */
export interface Method {
  readonly name: string;
  parameters(config: ModelConfig): readonly ParameterSpec[];
  /** @param values the graph's values of the parameters, by name */
  attach(b: Builder, values: Readonly<Record<string, Value>>): Builder;
  /** Whether nothing before its virtual tokens is read otherwise than by the frozen model alone: they may stand behind a text. */
  readonly behind?: boolean;
  /** Positions that the method puts before the text, and keys that it adds to every attention. */
  adds(parameters: Readonly<Record<string, { readonly shape: readonly number[] }>>): {
    readonly tokens: number;
    readonly keys: number;
  };
}
