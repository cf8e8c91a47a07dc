/**
 * @file P-tuning: an encoder computes the prompt from trained vectors. The encoder is trained too and discarded at the end. Either three
 * layers, prompt = W₃·relu(W₂·relu(W₁·x + b₁) + b₂) + b₃, or an LSTM over the vectors in both directions and two layers.
 * Source: Liu et al. 2021, arXiv:2103.10385; layers as PEFT's PromptEncoder with its MLP or its LSTM of one layer.
 */
import type { OptionValues } from "../base/options.js";
import type { Graph, Value } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import { linearBias, linearWeight, uniform } from "./draws.js";
import type { Method, Values } from "./method.js";
import type { pTuningOptions } from "./options.js";
import { reparametrised } from "./prompt.js";

type Settings = OptionValues<typeof pTuningOptions> & { readonly virtualTokens: number };

export function pTuning({ pTuningHidden, pTuningEncoder, virtualTokens: P }: Settings): Method {
  const lstm = pTuningEncoder === "lstm";
  const hidden = (D: number) => pTuningHidden ?? D;
  /** Linear layers, [out, in]. */
  const sizes = (D: number): readonly (readonly [number, number])[] => {
    const h = hidden(D);
    if (!lstm)
      return [
        [h, D],
        [h, h],
        [D, h],
      ];
    return [
      [2 * h, 2 * h],
      [D, 2 * h],
    ];
  };
  /** An LSTM's tensors in both directions. */
  const recurrent = (D: number) => (lstm ? directions.flatMap((way) => lstmShapes(way, D, hidden(D))) : []);
  return reparametrised({
    name: "p-tuning",
    key: `p-tuning ${JSON.stringify([pTuningHidden, P, ...(lstm ? [pTuningEncoder] : [])])}`,
    tokens: P,
    parameters: ({ width: D }) => [
      { name: "vectors", shape: [P, D] },
      ...recurrent(D),
      ...sizes(D).flatMap(([out, from], i) => [
        { name: `encoder.${i}.weight`, shape: [out, from] },
        { name: `encoder.${i}.bias`, shape: [out] },
      ]),
    ],
    prompt: ({ graph: g }, v, { width: D }) => {
      const read = lstm
        ? ops.concat(
            g,
            directions.map((way) => lstmOver(g, v, way, P)),
            1,
          )
        : v.vectors!;
      const last = sizes(D).length - 1;
      return sizes(D).reduce<Value>((x, _, i) => {
        const y = ops.linear(g, x, v[`encoder.${i}.weight`]!, { bias: v[`encoder.${i}.bias`]! });
        return i < last ? ops.relu(g, y) : y;
      }, read);
    },
    start: async ({ checkpoint, prompt, random }) => {
      const D = checkpoint.config.width;
      return {
        vectors: await prompt(),
        // as PyTorch draws an LSTM
        ...Object.fromEntries(
          recurrent(D).map(({ name, shape }) => [name, uniform(random, shape, 1 / Math.sqrt(hidden(D)))]),
        ),
        ...Object.fromEntries(
          sizes(D).flatMap(([out, from], i) => [
            [`encoder.${i}.weight`, linearWeight(random, out, from)],
            [`encoder.${i}.bias`, linearBias(random, out, from)],
          ]),
        ),
      };
    },
  });
}

const directions = ["forward", "backward"] as const;
type Direction = (typeof directions)[number];

/** Input, forget, cell and output gate one below the other, as PyTorch has them. */
const lstmShapes = (way: Direction, D: number, h: number): { name: string; shape: number[] }[] => [
  { name: `lstm.${way}.input.weight`, shape: [4 * h, D] },
  { name: `lstm.${way}.hidden.weight`, shape: [4 * h, h] },
  { name: `lstm.${way}.input.bias`, shape: [4 * h] },
  { name: `lstm.${way}.hidden.bias`, shape: [4 * h] },
];

/**
 * The outputs [P, h] of an LSTM over the vectors [P, D] in one direction, one cell after the other:
 * c ← σ(f)·c + σ(i)·tanh(g), output = σ(o)·tanh(c), where i, f, g, o = W·x + U·output + biases.
 */
function lstmOver(g: Graph, v: Values, way: Direction, P: number): Value {
  const of = (part: string) => v[`lstm.${way}.${part}`]!;
  const read = ops.add(g, ops.linear(g, v.vectors!, of("input.weight"), { bias: of("input.bias") }), of("hidden.bias"));
  const parts = P > 1 ? [...ops.split(g, read, 0, P)] : [read];
  if (way === "backward") parts.reverse();
  let output: Value | null = null;
  let cell: Value | null = null;
  const outputs = parts.map((part) => {
    const all: Value = output === null ? part : ops.add(g, part, ops.linear(g, output, of("hidden.weight")));
    const [i, f, c, o] = ops.split(g, all, 1, 4) as [Value, Value, Value, Value];
    const fresh: Value = ops.mul(g, ops.sigmoid(g, i), ops.tanh(g, c));
    cell = cell === null ? fresh : ops.add(g, ops.mul(g, ops.sigmoid(g, f), cell), fresh);
    output = ops.mul(g, ops.sigmoid(g, o), ops.tanh(g, cell));
    return output;
  });
  if (way === "backward") outputs.reverse();
  return P > 1 ? ops.concat(g, outputs, 0) : outputs[0]!;
}
