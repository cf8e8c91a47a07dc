/** @file Which tensors a decoder-only checkpoint must hold: Hugging Face names and shapes, derived from the config. */
import type { ExpectedTensor } from "../tensors.js";
import type { CausalConfig } from "./config.js";
import { embeddingOf, families, type Layout, nameOf } from "./families.js";

/** Every tensor of the model, in the order of the forward pass. */
export function causalTensors(c: CausalConfig): readonly ExpectedTensor[] {
  const family = families[c.family];
  const { layout, norm, transposed } = family;
  const { width: D, feedForwardWidth: F, headWidth: K, vocabulary: V } = c;
  const [queries, keys] = [c.heads * K, c.keyHeads * K];
  const heads = layout.head.map((name) => `${name}.weight`);
  const tensors: ExpectedTensor[] = [];

  /** @param more.aliases are added to the name without its prefix, which some files lack */
  const add = (name: string, shape: readonly number[], more: Omit<ExpectedTensor, "name" | "shape">) => {
    const bare = name.startsWith(`${layout.root}.`) ? [name.slice(layout.root.length + 1)] : [];
    tensors.push({ name, shape, ...more, aliases: [...bare, ...(more.aliases ?? [])] });
  };
  type Place = Pick<ExpectedTensor, "part" | "layer">;
  const addNorm = (name: string, size: number, place: Place, kind: "rms" | "layer" = norm) => {
    add(`${name}.weight`, [size], place);
    if (kind === "layer") add(`${name}.bias`, [size], place);
  };
  /** @param neurons which side of the layer holds the feed-forward neurons */
  const addLinear = (
    name: string,
    [out, into]: readonly [number, number],
    bias: boolean,
    place: Place,
    neurons?: "out" | "in",
  ) => {
    const shape = transposed ? [into, out] : [out, into];
    const axis = neurons && ((neurons === "out") === transposed ? 1 : 0);
    const kept = axis === undefined ? {} : { neurons: { axis } as const };
    add(`${name}.weight`, shape, { ...place, ...kept, ...(transposed ? { transposed } : {}) });
    if (bias) add(`${name}.bias`, [out], { ...place, ...(neurons === "out" ? { neurons: { axis: 0 } } : {}) });
  };

  add(`${embeddingOf(family)}.weight`, [V, D], {
    part: "embedding",
    ...(c.tiedHead ? { aliases: heads } : {}),
  });
  if (layout.positions) add(`${nameOf(layout, layout.positions)}.weight`, [c.maxPositions!, D], { part: "embedding" });
  for (let layer = 0; layer < c.layers; layer++) {
    const place = { part: stackName, layer };
    const at = (name: string) => nameOf(layout, name, layer);
    addNorm(at(layout.attentionNorm), D, place);
    for (const [name, out] of projections(layout, queries, keys)) addLinear(at(name), [out, D], c.biases.qkv, place);
    if (family.headNorms) for (const name of headNorms) addNorm(at(name), K, place, "rms");
    addLinear(at(layout.out), [D, queries], c.biases.out, place);
    addNorm(at(layout.feedForwardNorm), D, place);
    for (const name of layout.up) addLinear(at(name), [F, D], c.biases.feedForward, place, "out");
    addLinear(at(layout.down), [D, F], c.biases.feedForward, place, "in");
  }
  addNorm(nameOf(layout, layout.finalNorm), D, { part: stackName });
  if (!c.tiedHead) add(heads[0]!, [V, D], { part: "head", aliases: heads.slice(1) });
  return tensors;
}

/** The one stack's name. */
export const stackName = "decoder";

/** Norms of each head's queries and keys (Qwen 3). */
export const headNorms = ["self_attn.q_norm", "self_attn.k_norm"] as const;

function projections({ attention }: Layout, queries: number, keys: number): readonly (readonly [string, number])[] {
  if (attention.kind !== "apart") return [[attention.qkv, queries + 2 * keys]];
  return [
    [attention.q, queries],
    [attention.k, keys],
    [attention.v, keys],
  ];
}

/** Masks and frequencies that older versions of transformers wrote as buffers. */
export function causalLeftOver(name: string): boolean {
  return /(^|\.)((attn|attention)\.(bias|masked_bias)|rotary_emb\.inv_freq)$/.test(name);
}
