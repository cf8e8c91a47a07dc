/**
 * @file Which tensors a T5 checkpoint must hold: Hugging Face names and shapes, derived from the config.
 *
 * Source: module tree of transformers `models/t5/modeling_t5.py`; Linear weights are stored [out, in].
 */
import type { ExpectedTensor } from "../tensors.js";
import type { T5Config } from "./config.js";

/** Every tensor of the model, in the order of the forward pass. */
export function t5Tensors(c: T5Config): readonly ExpectedTensor[] {
  const { width: D, feedForwardWidth: F, vocabulary: V } = c;
  const inner = c.heads * c.headWidth;
  const tensors: ExpectedTensor[] = [];
  const add = (part: string, name: string, shape: number[], more: Partial<ExpectedTensor> = {}) =>
    tensors.push({ name, shape, part, ...more });
  const copies = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"];

  add("embedding", "shared.weight", [V, D], { aliases: c.tiedHead ? [...copies, "lm_head.weight"] : copies });
  for (const stack of ["encoder", "decoder"] as const) {
    const layers = stack === "encoder" ? c.encoderLayers : c.decoderLayers;
    const attentions = stack === "encoder" ? ["SelfAttention"] : ["SelfAttention", "EncDecAttention"];
    for (let block = 0; block < layers; block++) {
      const at = (layer: number, rest: string) => `${stack}.block.${block}.layer.${layer}.${rest}.weight`;
      const of = (more: Partial<ExpectedTensor> = {}) => ({ layer: block, ...more });
      for (const [layer, attention] of attentions.entries()) {
        for (const x of ["q", "k", "v"]) add(stack, at(layer, `${attention}.${x}`), [inner, D], of());
        add(stack, at(layer, `${attention}.o`), [D, inner], of());
        // the first block owns the position bias of the whole stack; cross-attention has none
        if (block === 0 && layer === 0)
          add(stack, at(layer, `${attention}.relative_attention_bias`), [c.relativeBuckets, c.heads]);
        add(stack, at(layer, "layer_norm"), [D], of());
      }
      const last = attentions.length;
      // neuron j is row j of wi (wi_0, wi_1) and column j of wo
      const neurons = (axis: 0 | 1) => of({ neurons: { axis } });
      for (const wi of c.gated ? ["wi_0", "wi_1"] : ["wi"])
        add(stack, at(last, `DenseReluDense.${wi}`), [F, D], neurons(0));
      add(stack, at(last, "DenseReluDense.wo"), [D, F], neurons(1));
      add(stack, at(last, "layer_norm"), [D], of());
    }
    add(stack, `${stack}.final_layer_norm.weight`, [D]);
  }
  if (!c.tiedHead)
    add("head", "lm_head.weight", [V, D], { standIns: c.headMayShareEmbedding ? ["shared.weight", ...copies] : [] });
  return tensors;
}

/** Left in T5's first checkpoints by an early bug; transformers ignores it too. */
export const t5LeftOvers: ReadonlySet<string> = new Set([
  "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
]);
