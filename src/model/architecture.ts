/**
 * @file The description of a family of models in one object: its config, its tensors, its forward pass and what the host feeds to it.
 *
 * Every family runs the same two halves. `prefill` reads prompt and text once and gives its memory: keys and values per layer. `decode` runs
 * tokens over that memory. For T5, prefill is the encoder and the memory is the cross attention's. For a decoder-only model both halves are
 * the one stack, and the memory is its self attention's. No other part of the project depends on a family.
 */
import type { JsonObject } from "../base/json.js";
import type { DType, Feeds } from "../base/tensor.js";
import type { Dim, Graph, Shape, Stored, Value } from "../graph/graph.js";
import type { BlockWeight, EightBitMatrix, EightBitWeight } from "../graph/ops.js";
import type { ExpectedTensor } from "./tensors.js";

/** Added to the score of a position that must not be seen: exp of it is exactly 0 in float32, and it stays finite. */
export const hiddenScore = -1e9;

/** What the project needs to know of any model; each family adds its own fields. */
export interface ModelConfig {
  /** Name of the architecture. */
  readonly family: string;
  /** D */
  readonly width: number;
  /** K */
  readonly headWidth: number;
  /** H */
  readonly heads: number;
  /** F */
  readonly feedForwardWidth: number;
  /** The feed-forward block has two input matrices, whose results are multiplied; a plain block has one. */
  readonly gated: boolean;
  /** V, rows of the embedding (may be padded beyond the tokenizer). */
  readonly vocabulary: number;
  readonly padId: number;
  readonly eosId: number;
  /** Longest sequence in positions, virtual tokens counted; undefined where the model knows no limit (T5). */
  readonly maxPositions?: number;
  /** Layers whose queries see `size` positions, their own included; absent or null where all see everything. */
  readonly window?: { readonly size: number; readonly layers: readonly number[] } | null;
}

/** A stack of equal blocks: T5 has two (encoder and decoder), a decoder-only model has one. */
export interface Stack {
  readonly name: string;
  readonly layers: number;
}

/** Keys and values of one attention: [B, G, S, K] each, G the key/value heads. */
export interface KeyValue {
  readonly key: Value;
  readonly value: Value;
}

/** What one stack keeps. Indices are of the full model, ascending. */
export interface PartialStack {
  readonly layers: readonly number[];
  /** Kept neurons per kept layer (same order as `layers`), or null for all. */
  readonly neurons: readonly Int32Array[] | null;
}

/** A smaller model over the same weight file. */
export interface PartialModel {
  /** By the stack's name. */
  readonly stacks: Readonly<Record<string, PartialStack>>;
  /**
   * Stable name for caches, logs and checkpoints: layers and neurons of each stack, then a hash of the exact choice
   * where the counts alone do not determine it. "full", "e6d24", "e24w704d24-5f0c21aa".
   */
  readonly name: string;
}

/** The frozen tensors of a model, by name. */
export interface Weights {
  /** Layers are kept in blocks, to save memory. Default false. */
  readonly inBlocks?: boolean;
  has(name: string): boolean;
  /** Which way round a linear layer's matrix lies. */
  stored(name: string): Stored;
  /** Declares the tensor of that name in a graph, cut to what the partial model keeps. */
  declare(graph: Graph, name: string): Value;
  /**
   * The same for a linear layer's matrix in 8 bits, for the forward and the backward pass; absent or null where it is computed in float32.
   */
  eightBit?(graph: Graph, name: string): EightBitWeight | null;
  /** The matrix of a layer in 8 bits for the backward pass alone; absent or null where both passes are alike. */
  eightBitBack?(graph: Graph, name: string): EightBitMatrix | null;
  /**
   * The same for a linear layer's matrix [out, in] in blocks. Where a partial model keeps some of its neurons, the float32 matrix of those.
   */
  blocks?(graph: Graph, name: string): { readonly whole: BlockWeight } | { readonly part: Value } | null;
}

/** Which attention keys and values belong to. */
export interface AttentionSite {
  readonly stack: string;
  /** Layer number in the full model. */
  readonly layer: number;
  readonly attention: "self" | "cross";
}

/** A model being written into a graph. */
export interface Builder {
  readonly graph: Graph;
  /** What is kept of the model. */
  readonly kept: PartialModel;
  /** A tensor fed at each run, declared at its first use. */
  feed(name: string, dtype: DType, shape: Shape): Value;
  /** A frozen tensor in its stored type, by its full name. */
  weight(name: string): Value;
  /** A frozen vector as float32: norms, biases. */
  vector(name: string): Value;
  /** x·Wᵀ (+ bias) with the frozen linear layer of that name (without ".weight"). Models multiply by weights only through this function. */
  linear(x: Value, name: string): Value;
  /** Embeddings of the text [B, T, D] → those of prompt and text [B, P + T, D]; of a late prompt, hidden states in place of embeddings. */
  embeddings(x: Value): Value;
  /** A prompt that enters later: before which block of the first stack `embeddings` puts its tokens. null: before all. */
  readonly late: { readonly layer: number; readonly tokens: Dim } | null;
  /** Keys and values of one attention over prompt and text, or over the tokens decoded so far. Those that the method adds come first. */
  keyValues(computed: KeyValue, site: AttentionSite): KeyValue;
  /** How many keys the method adds before them. */
  before(site: Omit<AttentionSite, "layer">): number;
}

/** Which ends of a stack a graph contains. The layers between are those that the partial model keeps; there may be none. */
export interface Ends {
  /** `x` are embeddings: what a family adds to them is added. Otherwise `x` is what an earlier layer gave. */
  readonly first: boolean;
  /** The final norm follows. Otherwise the last kept layer's own result is given. */
  readonly last: boolean;
}

/** The whole stack. */
export const bothEnds: Ends = { first: true, last: true };

/** Per stack and kept layer the input of the feed-forward block's last matrix: […, F] (fpt.md §3.3). */
export type Activations = Readonly<Record<string, readonly Value[]>>;

export interface Prefilled {
  /** Per kept layer of the decoding stack. */
  readonly memory: readonly KeyValue[];
  /** Last hidden states [B, S, D], after the final norm. */
  readonly hidden: Value;
  readonly activations: Activations;
}

export interface Decoded {
  /** […, U, D], after the final norm. */
  readonly hidden: Value;
  /** Self-attention's keys and values of the decoded tokens per kept layer, earlier ones included. */
  readonly present: readonly KeyValue[];
  readonly activations: Activations;
}

/** Which positions of prompt and text count, [B, S] of 1 and 0. Padding stands left of a prompt and right of a text. */
export interface Positions {
  readonly batch: number;
  readonly length: number;
  readonly on: Uint8Array;
  /**
   * Keys that the method puts before those of an attention, by "STACK.self" and "STACK.cross": they always count, and they come before all
   * positions.
   */
  readonly keys?: Readonly<Record<string, number>>;
}

/** The tokens that are decoded: `length` per row (and choice), after `past` earlier ones. */
export interface DecodeShape {
  readonly length: number;
  readonly past: number;
  /** C, where each row has choices side by side. Default 1. */
  readonly choices?: number;
  /**
   * The tokens that come before those of all choices and are decoded with them: virtual tokens behind a text, and the rest of the text
   * after them.
   */
  readonly lead?: Lead;
  /** The first of the past tokens, where some of them may be padding (a prompt on the decoder's side). */
  readonly pastLead?: Lead;
}

/** How tokens are decoded. */
export interface Decoding {
  /** The `present` of earlier tokens (generation), per kept layer. */
  readonly past?: readonly KeyValue[];
  /** Virtual tokens are among those that are decoded (a family that has an encoder; in others they always may be). Default false. */
  readonly led?: boolean;
  /** Default both. */
  readonly ends?: Ends;
}

/** Positions of each row, `on` [B, length] of 1 and 0: padding may be at either end. */
export interface Lead {
  readonly length: number;
  readonly on: Uint8Array;
}

/** A family. Methods are pure; graphs are written through the Builder alone. */
export interface Architecture<C extends ModelConfig = ModelConfig> {
  readonly name: C["family"];
  /** `model_type` values of config.json that this family reads. */
  readonly modelTypes: readonly string[];
  /** PEFT's word for what the model does. */
  readonly taskType: "SEQ_2_SEQ_LM" | "CAUSAL_LM";
  /** Name of the token embedding [V, D]. */
  readonly embedding: string;
  /**
   * Reads config.json's object. @param where the file's name, for errors.
   * @throws SoftpromptError("checkpoint") for anything that the graph cannot run.
   */
  readConfig(raw: JsonObject, where: string): C;
  /** The first stack reads the prompt: it is the one that a partial model always shrinks. */
  stacks(config: C): readonly [Stack, ...Stack[]];
  /** Every tensor of the model, in the order of the forward pass. */
  tensors(config: C): readonly ExpectedTensor[];
  /** Tensors that checkpoints of this family contain although no model uses them. They give no warning. */
  leftOver(name: string): boolean;
  /** One phrase for `inspect`: layers, width, heads, feed-forward. */
  describe(config: C): string;
  /** Attention heads as PEFT's config records them, and layers likewise. */
  peftShape(config: C): { readonly layers: number; readonly heads: number; readonly submodules: number };
  /** Token embeddings as float32: ids […] → […, D]. */
  embed(b: Builder, config: C, ids: Value): Value;
  /**
   * @param x [B, S, D] embeddings of prompt and text
   * @param ends default both; without the last one the memory of a family with two stacks is empty
   */
  prefill(b: Builder, config: C, x: Value, ends?: Ends): Prefilled;
  /**
   * @param x [B, U, D] embeddings, or [B, C, U, D] for C choices per row over the row's one memory
   */
  decode(b: Builder, config: C, x: Value, memory: readonly KeyValue[], how?: Decoding): Decoded;
  /** Logits […, V] of hidden states […, D]. */
  logits(b: Builder, config: C, hidden: Value): Value;
  /** What `prefill` declares besides its embeddings. */
  prefillFeeds(config: C, positions: Positions): Feeds;
  /** What `decode` declares besides its embeddings and memory. */
  decodeFeeds(config: C, positions: Positions, shape: DecodeShape): Feeds;
  /** Shape of one layer's memory and past keys: heads and width of a head. */
  keys(config: C): { readonly heads: number; readonly headWidth: number };
  /**
   * The id before the first target token where a row names none (T5's start token); undefined where each row must name one (a decoder-only
   * model continues from the text's last token).
   */
  startId(config: C): number | undefined;
  /** Ids that end a generated text. */
  stopIds(config: C): readonly number[];
}
