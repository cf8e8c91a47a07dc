/**
 * @file A model file while it is made: its graph, its callers' inputs, and how a method's parameters become part of the frozen model.
 */

import type { Parameters } from "../base/tensor.js";
import { constant, type Graph, input, type Value } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import type { Method } from "../method/method.js";
import { promptTuning } from "../method/prompt.js";
import type { ModelConfig } from "../model/architecture.js";
import type { Builder } from "../model/builder.js";
import type { Outside } from "../onnx/lower.js";
import type { ExportWeights } from "./weights.js";

/** What goes into the files. `method: null` if the weights already contain its effect, or nothing was tuned. */
export interface Baking {
  readonly weights: ExportWeights;
  readonly method: Method | null;
  readonly parameters: Parameters;
  /** No method, but inputs that callers may give a prompt by. */
  readonly promptInput: boolean;
}

/** Inputs of a prompt that callers may give: vectors before an encoder's text, or keys and values of a decoder-only model. */
export const promptInputs = { vectors: "soft_prompt", keys: "soft_prompt_keys", values: "soft_prompt_values" } as const;

/** One model file. */
export interface Draft {
  /** Its name, without ".onnx". */
  readonly file: string;
  readonly graph: Graph;
  readonly outside: Outside;
}

export function promptInputsOf(graph: Graph): Value[] {
  const names: readonly string[] = Object.values(promptInputs);
  return graph.inputs.filter(({ name }) => names.includes(name));
}

/** The builder with a prompt that callers may give, [P, D]. @param rows a value whose first axis is the batch */
export function openToPrompt(b: Builder, config: ModelConfig, rows: Value): Builder {
  const prompt = ops.unsqueeze(b.graph, input(b.graph, promptInputs.vectors, "float32", ["P", config.width]), 0);
  return promptTuning.attach(b, { prompt: ops.broadcastLike(b.graph, prompt, rows) }, config);
}

/** The builder with a method whose parameters are constants. @param rows a value whose first axis is the batch */
export function attached(
  b: Builder,
  config: ModelConfig,
  method: Method | null,
  parameters: Parameters,
  rows: Value,
): Builder {
  if (method === null) return b;
  const values = Object.fromEntries(
    method.parameters(config).map(({ name, perRow }) => {
      const { shape, data } = parameters[name]!;
      const value = constant(b.graph, perRow ? [1, ...shape] : shape, data);
      return [name, perRow ? ops.broadcastLike(b.graph, value, rows) : value];
    }),
  );
  return method.attach(b, values, config);
}
