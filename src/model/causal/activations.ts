/** @file Activations of decoder-only models: names of config.json, and the graph's ops. */
import type { Graph, Value } from "../../graph/graph.js";
import { gelu, geluExact, relu, silu } from "../../graph/ops.js";

export const ops = { silu, gelu: geluExact, tanhGelu: gelu, relu } as const satisfies Record<
  string,
  (g: Graph, x: Value) => Value
>;

/** `hidden_act` and `activation_function`, as transformers' ACT2FN reads them: "gelu" alone is the exact form. */
export const activationNames = {
  silu: "silu",
  swish: "silu",
  gelu: "gelu",
  gelu_new: "tanhGelu",
  gelu_fast: "tanhGelu",
  gelu_pytorch_tanh: "tanhGelu",
  relu: "relu",
} as const satisfies Record<string, keyof typeof ops>;
