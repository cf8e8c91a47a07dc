/**
 * @file T5's cost in closed form, derived by hand from fpt.md §8.2: the authority that counts from graphs are held against.
 *
 * In: T5Config, PartialModel, padded shapes. Out: floating-point operations.
 */

import type { Flops, PassShape } from "../../src/engine/flops.js";
import { fullModel, type PartialModel, type PartialStack } from "../../src/model/partial.js";
import type { T5Config } from "../../src/model/t5/config.js";

/**
 * Forward multiply-accumulates of the Linear layers of one example, in closed form (fpt.md §8.2): E + D + H.
 * @param length S, prompt and text together (the papers: 512)  @param target T of §8.2 (here U)
 */
export function paperMacs(config: T5Config, partial: PartialModel, length: number, target: number): number {
  const size = sizes(config);
  return (
    encoderLinear(size, partial.stacks.encoder!, length) +
    decoderLinear(size, partial.stacks.decoder!, target) +
    crossKeys(size, partial.stacks.decoder!, length) +
    target * size.D * size.V
  );
}

/** One training step: loss and prompt gradient of a batch. */
export function stepFlops(config: T5Config, partial: PartialModel, shape: PassShape): Flops {
  const { batch, prompt, input, target } = shape;
  const forward = forwardMacs(config, partial, prompt + input, target);
  return {
    paper: 2 * batch * paperMacs(config, partial, prompt + input, target),
    total: 2 * batch * (forward + backwardMacs(config, partial, prompt + input, target)),
  };
}

/** One teacher-forced forward pass with logits. */
export function forwardFlops(config: T5Config, partial: PartialModel, shape: PassShape): Flops {
  const { batch, prompt, input, target } = shape;
  return {
    paper: 2 * batch * paperMacs(config, partial, prompt + input, target),
    total: 2 * batch * forwardMacs(config, partial, prompt + input, target),
  };
}

/**
 * Neuron scores of a batch: a forward pass of the full model up to the last decoder layer's activations (no `wo` there,
 * no head), and the product that averages each layer's activations over positions.
 */
export function activationFlops(config: T5Config, shape: PassShape): Flops {
  const { batch, prompt, input, target } = shape;
  const { D, F, V } = sizes(config);
  const { paper, total } = forwardFlops(config, fullModel(config), shape);
  const unused = 2 * batch * target * (D * V + D * F);
  const averages = 2 * batch * F * (config.encoderLayers * (prompt + input) + config.decoderLayers * target);
  return { paper: paper - unused, total: total - unused + averages };
}

/**
 * Label ranking: the rows are encoded once, cross-attention's keys and values are made once, and every choice runs
 * through the decoder teacher-forced.
 * @param choices candidates per row (of one padded length `target`)
 */
export function rankingFlops(config: T5Config, partial: PartialModel, shape: PassShape & { choices: number }): Flops {
  const { batch, prompt, input, target, choices } = shape;
  const S = prompt + input;
  const size = sizes(config);
  const once = encoderLinear(size, partial.stacks.encoder!, S) + crossKeys(size, partial.stacks.decoder!, S);
  const each = decoderLinear(size, partial.stacks.decoder!, target) + target * size.D * size.V;
  const attention =
    encoderAttention(size, partial.stacks.encoder!, S) +
    choices * decoderAttention(size, partial.stacks.decoder!, target, S);
  return { paper: 2 * batch * (once + choices * each), total: 2 * batch * (once + choices * each + attention) };
}

/**
 * Greedy generation with a key/value cache: one encoding, then `target` steps of one token each; step t attends to t
 * earlier tokens and itself.
 */
export function generationFlops(config: T5Config, partial: PartialModel, shape: PassShape): Flops {
  const { batch, prompt, input, target } = shape;
  const S = prompt + input;
  const size = sizes(config);
  const linear = paperMacs(config, partial, S, target);
  const L = partial.stacks.decoder!.layers.length;
  const cached = L * (2 * ((target * (target + 1)) / 2) * size.I + 2 * target * S * size.I);
  return {
    paper: 2 * batch * linear,
    total: 2 * batch * (linear + encoderAttention(size, partial.stacks.encoder!, S) + cached),
  };
}

/** Parameters that a partial model's graph uses, embeddings and head included; for `inspect` and memory checks. */
export function partialParameters(config: T5Config, partial: PartialModel): number {
  const { D, I, V, matrices, F } = sizes(config);
  const stack = ({ layers, neurons }: PartialStack, attentions: number): number =>
    layers.reduce(
      (sum, _, i) => sum + attentions * (4 * D * I + D) + matrices * D * (neurons?.[i]?.length ?? F) + D,
      D,
    );
  return (
    V * D * (config.tiedHead ? 1 : 2) +
    stack(partial.stacks.encoder!, 1) +
    stack(partial.stacks.decoder!, 2) +
    2 * config.relativeBuckets * config.heads
  );
}

interface Sizes {
  readonly D: number;
  /** H·K, the attention's inner width. */
  readonly I: number;
  readonly F: number;
  readonly V: number;
  /** Feed-forward matrices of a layer: 3 gated, 2 plain. */
  readonly matrices: number;
}

function sizes(config: T5Config): Sizes {
  return {
    D: config.width,
    I: config.heads * config.headWidth,
    F: config.feedForwardWidth,
    V: config.vocabulary,
    matrices: config.gated ? 3 : 2,
  };
}

/** Σ over kept layers of the feed-forward products of one position. */
function feedForward({ D, F, matrices }: Sizes, stack: PartialStack): number {
  return stack.layers.reduce((sum, _, i) => sum + matrices * D * (stack.neurons?.[i]?.length ?? F), 0);
}

function encoderLinear(size: Sizes, stack: PartialStack, S: number): number {
  return S * (stack.layers.length * 4 * size.D * size.I + feedForward(size, stack));
}

/** Self-attention's four products, cross-attention's q and o, feed-forward; without the head. */
function decoderLinear(size: Sizes, stack: PartialStack, U: number): number {
  return U * (stack.layers.length * 6 * size.D * size.I + feedForward(size, stack));
}

/** Cross-attention's k and v over the encoder output. */
function crossKeys(size: Sizes, stack: PartialStack, S: number): number {
  return stack.layers.length * S * 2 * size.D * size.I;
}

/** Scores and weighted values of every layer. */
function encoderAttention(size: Sizes, stack: PartialStack, S: number): number {
  return stack.layers.length * 2 * S * S * size.I;
}

function decoderAttention(size: Sizes, stack: PartialStack, U: number, S: number): number {
  return stack.layers.length * 2 * (U * U + U * S) * size.I;
}

function forwardMacs(config: T5Config, partial: PartialModel, S: number, U: number): number {
  const size = sizes(config);
  return (
    paperMacs(config, partial, S, U) +
    encoderAttention(size, partial.stacks.encoder!, S) +
    decoderAttention(size, partial.stacks.decoder!, U, S)
  );
}

/**
 * The backward walks only the cone between prompt and loss and never forms a weight's gradient: one product per Linear
 * layer, two per attention product. The first kept decoder layer's self-attention and its cross-attention's query do not
 * depend on the prompt and are not walked.
 */
function backwardMacs(config: T5Config, partial: PartialModel, S: number, U: number): number {
  const size = sizes(config);
  const { D, I } = size;
  const linear = paperMacs(config, partial, S, U) - U * 5 * D * I;
  const attention =
    2 * (encoderAttention(size, partial.stacks.encoder!, S) + decoderAttention(size, partial.stacks.decoder!, U, S));
  return linear + attention - 4 * U * U * I - U * S * I;
}
