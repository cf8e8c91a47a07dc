/**
 * @file The machine's own product speed: every frozen linear layer of a model's blocks, forward and backward, as products alone, chained so
 * that none can be left out. In: a checkpoint. Out: what runs them once, and their FLOPs.
 */
import { bindWeights, fullModel, openSession } from "softprompt/engine";
import { apply, emptyGraph, input, output } from "softprompt/graph";

/**
 * Names of a block's linear layers in an order in which each takes what the one before gave; "back" is the way of the gradient.
 * @type {Record<string, (layer: number) => [name: string, back: boolean][]>}
 */
const chains = {
  t5: (layer) => {
    const at = `encoder.block.${layer}.layer`;
    return chainOf((name) =>
      name.startsWith("w") ? `${at}.1.DenseReluDense.${name}.weight` : `${at}.0.SelfAttention.${name}.weight`,
    )(["q", "k", "v", "o", "wi_0", "wi_1", "wo"]);
  },
  llama: (layer) => {
    const at = `model.layers.${layer}`;
    return chainOf((name) =>
      /^[qkvo]$/.test(name) ? `${at}.self_attn.${name}_proj.weight` : `${at}.mlp.${name}_proj.weight`,
    )(["q", "k", "v", "o", "gate", "up", "down"]);
  },
};

const chainOf =
  (nameOf) =>
  ([q, k, v, o, gate, up, down]) =>
    [
      // o maps H·K to D; q's way back brings D again
      ...[
        [k, false],
        [k, true],
        [v, false],
        [v, true],
        [q, false],
        [o, false],
        [o, true],
        [q, true],
      ],
      ...[
        [gate, false],
        [down, false],
        [up, false],
        [up, true],
        [down, true],
        [gate, true],
      ],
    ].map(([name, back]) => [nameOf(name), back]);

/** @param rows of one product @param session options of the session */
export async function openCeiling(checkpoint, rows, session) {
  const { config } = checkpoint;
  const weights = bindWeights(checkpoint, fullModel(config));
  const graph = emptyGraph();
  let x = input(graph, "x", "float32", ["N", config.width]);
  let perRow = 0;
  for (let layer = 0; layer < (config.encoderLayers ?? config.layers); layer++)
    for (const [name, back] of chains[config.family](layer)) {
      const w = weights.declare(graph, name);
      perRow += 2 * w.shape[0] * w.shape[1];
      x = apply(graph, "linear", [x, w], { back, stored: "out,in" })[0];
    }
  output(graph, "y", x);
  const opened = await openSession("ceiling", graph, session);
  const feed = {
    dtype: "float32",
    shape: [rows, config.width],
    data: Float32Array.from({ length: rows * config.width }, (_, i) => Math.sin(i)),
  };
  return { flops: perRow * rows, run: () => opened.run({ x: feed }), dispose: opened.dispose };
}
