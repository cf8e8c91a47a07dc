/**
 * @file LoRA: chosen linear layers compute y = W·x + (α/r)·B·A·x, with A [r, in] and B [out, r] trained and W frozen.
 *
 * In: rank, α, which linears. Out: a Method. B starts as zeros, so the tuned model starts as the frozen one; A starts as PyTorch draws a
 * linear layer, uniform in ±1/√in. Under FPT the factors of layers that a partial model leaves out are not trained. If the model keeps only
 * some neurons of a feed-forward matrix, the same rows of B or columns of A are used. Source: Hu et al. 2021, arXiv:2106.09685; PEFT's
 * LoRA.
 */
import { SoftpromptError } from "../base/errors.js";
import type { OptionValues } from "../base/options.js";
import type { Tensor } from "../base/tensor.js";
import { constant, scalar, type Value } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import type { ModelConfig } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import { keptNeurons } from "../model/bindings.js";
import type { ExpectedTensor } from "../model/tensors.js";
import type { Method } from "./method.js";
import type { loraOptions } from "./options.js";

export type LoraSettings = OptionValues<typeof loraOptions>;

/** PEFT's choice for the families it knows (TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING): queries and values. */
const usual = ["q", "v", "q_proj", "v_proj", "c_attn", "query_key_value"];

export function lora({ loraRank: r, loraAlpha: alpha, loraTargets }: LoraSettings): Method {
  return {
    name: "lora",
    key: `lora ${JSON.stringify([r, alpha, loraTargets])}`,
    prunable: false,
    perRow: false,
    parameters: (config) =>
      loraLinears(config, loraTargets).flatMap(({ name, from, to }) => [
        { name: `${name}.A`, shape: [r, from], perRow: false },
        { name: `${name}.B`, shape: [to, r], perRow: false },
      ]),
    attach: (b, values, config) => {
      const { graph: g } = b;
      const linears = new Map(loraLinears(config, loraTargets).map((linear) => [linear.name, linear]));
      /** The part of a factor that belongs to the kept neurons, if the neurons are on that side of the product. */
      const cut = (factor: Value, tensor: ExpectedTensor, side: "in" | "out") => {
        const kept = keptNeurons(tensor, b.kept);
        if (kept === null || kept.side !== side) return factor;
        const indices = constant(g, [kept.indices.length], kept.indices);
        return ops.gather(g, factor, indices, side === "out" ? 0 : 1);
      };
      return {
        ...b,
        linear: (x, name) => {
          const y = b.linear(x, name);
          const linear = linears.get(name);
          if (linear === undefined) return y;
          const down = ops.linear(g, x, cut(values[`${name}.A`]!, linear.tensor, "in"));
          const up = ops.linear(g, down, cut(values[`${name}.B`]!, linear.tensor, "out"));
          return ops.add(g, y, ops.mul(g, up, scalar(g, alpha / r)));
        },
      };
    },
    folded: (config, parameters) => {
      const linears = new Map(loraLinears(config, loraTargets).map((linear) => [`${linear.name}.weight`, linear]));
      return (name, frozen) => {
        const linear = linears.get(name);
        if (linear === undefined) return frozen;
        const [A, B] = [parameters[`${linear.name}.A`]!, parameters[`${linear.name}.B`]!];
        return { shape: frozen.shape, data: merged(frozen.data, linear, A.data, B.data, alpha / r) };
      };
    },
    adds: () => ({ tokens: 0, keys: {} }),
    start: async ({ checkpoint: { config }, random }) =>
      Object.fromEntries(
        loraLinears(config, loraTargets).flatMap(({ name, from, to }): [string, Tensor][] => {
          const range = 1 / Math.sqrt(from);
          const a = Float32Array.from({ length: r * from }, () => random.uniform(-range, range));
          return [
            [`${name}.A`, { shape: [r, from], data: a }],
            [`${name}.B`, { shape: [to, r], data: new Float32Array(to * r) }],
          ];
        }),
      ),
  };
}

/** W + scale·B·A, however W is stored. */
function merged(
  frozen: Float32Array,
  { from, to, tensor }: Linear,
  A: Float32Array,
  B: Float32Array,
  scale: number,
): Float32Array {
  const r = B.length / to;
  const data = frozen.slice();
  for (let o = 0; o < to; o++)
    for (let i = 0; i < from; i++) {
      let product = 0;
      for (let k = 0; k < r; k++) product += B[o * r + k]! * A[k * from + i]!;
      data[tensor.transposed ? i * to + o : o * from + i]! += scale * product;
    }
  return data;
}

/** A linear layer of a block: its name without ".weight", and its sizes. */
export interface Linear {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  readonly tensor: ExpectedTensor;
}

/**
 * The linear layers of the model's blocks whose names end with one of `targets`.
 * @throws SoftpromptError "usage" for a target that no linear layer has, with the names there are.
 */
export function loraLinears(config: ModelConfig, targets: readonly string[] | undefined): readonly Linear[] {
  const all = architectureOf(config)
    .tensors(config)
    .filter(({ name, shape, layer }) => shape.length === 2 && layer !== undefined && name.endsWith(".weight"))
    .map((tensor): Linear => {
      const [rows, columns] = tensor.shape as [number, number];
      const [to, from] = tensor.transposed ? [columns, rows] : [rows, columns];
      return { name: tensor.name.slice(0, -".weight".length), from, to, tensor };
    });
  const has = (name: string, target: string) => name === target || name.endsWith(`.${target}`);
  const unknown = targets?.find((target) => !all.some(({ name }) => has(name, target)));
  if (unknown !== undefined || targets?.length === 0)
    throw new SoftpromptError("usage", "no linear layer of the model has this name", {
      where: "loraTargets",
      expected: `one or more of ${[...new Set(all.map(({ name }) => name.split(".").at(-1)))].join(", ")}`,
      got: unknown ?? "none",
    });
  return all.filter(({ name }) => (targets ?? usual).some((target) => has(name, target)));
}
