/**
 * @file A model file while it is made: its graph, its callers' inputs, and how a method's parameters become part of the frozen model.
 */

import type { Parameters } from "../base/tensor.js";
import { constant, type Graph, type Value } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import type { Method } from "../method/method.js";
import type { ModelConfig } from "../model/architecture.js";
import type { Builder } from "../model/builder.js";
import type { Outside } from "../onnx/lower.js";
import type { ExportWeights } from "./weights.js";

/** What goes into the files. `method: null` if the weights already contain its effect, or nothing was tuned. */
export interface Baking {
  readonly weights: ExportWeights;
  readonly method: Method | null;
  readonly parameters: Parameters;
}

/** One model file. */
export interface Draft {
  /** Its name, without ".onnx". */
  readonly file: string;
  readonly graph: Graph;
  readonly outside: Outside;
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
