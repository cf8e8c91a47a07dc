/**
 * @file Linear layers of a checkpoint in 8 bits, made once and kept in the cache.
 *
 * In: a Checkpoint, the largest integer that signed products bear, and the largest inputs of its layers. Out: the same Checkpoint with `eightBit`. The
 * file's name has the sha256 of the checkpoint, that number, and the sha256 of the file itself, by which it is checked. What always
 * stays in float32: embeddings, norms, biases, the head.
 *
 * How exactly inputs are rounded is decided by what was measured of them. Some models have a few feed-forward neurons that are a thousand times
 * as large as the others and make the "massive activations" on which their attention rests (Sun et al. 2024, arXiv:2402.17762): there every
 * layer's forward pass rounds in two terms, and the matrices that read such neurons stay in float32. In the others it rounds once, with inputs
 * smoothed by channel, and in two terms before the matrix that leads out of each feed-forward block, whose inputs differ most in size (T5's `wo`;
 * huggingface/transformers#20287, mit-han-lab/smoothquant#42).
 * Only the forward pass stays so: rounding gradients did no harm in any layer (docs/log.md), so every layer's backward pass is in 8 bits.
 */
import { stat } from "node:fs/promises";
import { cacheFor } from "../base/digest.js";
import { floatBytes } from "../base/floats.js";
import type { Tensor } from "../base/tensor.js";
import type { ModelConfig } from "./architecture.js";
import { architectureOf } from "./architectures.js";
import { type Checkpoint, type EightBitLayer, readHeader } from "./checkpoint.js";
import {
  type EightBitProducts,
  productsOf,
  type Rounded,
  roundColumns,
  roundingVersion,
  roundRowsTurned,
  smoothing,
  storedAs,
} from "./quantise.js";
import type { ExpectedTensor } from "./tensors.js";
import { findKept, type KeptContent, keptLayout, keptSha256, type MakingOptions, makeKept } from "./weight-cache.js";

/** Linear layers that read the same input, by the names of their matrices, and the largest size of each channel of it on some text. */
export interface LayerInputs {
  readonly names: readonly string[];
  readonly largest: Float32Array;
}

/** How a checkpoint is brought into 8 bits. */
export interface EightBitOptions extends MakingOptions {
  /**
   * Largest integer that is safe in products of signed numbers: 127, or 64 on processors where they saturate (largestEightBit). Weights stay
   * below it; in a model with very large neurons they go to 127 all the same and are stored as unsigned numbers, because with 64 the prompt's
   * gradient of SmolLM2 has a cosine of 0.87 to float32's (docs/log.md, 2026-11-27).
   */
  readonly most: number;
  /** Measures the inputs of all these layers. It is asked only where the cache has no weights yet. */
  readonly inputs: (layers: readonly string[]) => Promise<readonly LayerInputs[]>;
  /** Folder that holds them. Default `cacheFolder()/int8`. */
  readonly cache?: string;
}

/** How many times as large as the median neuron the largest may be where inputs are rounded once. Measured: T5 22, SmolLM2 7,707. */
const mostUneven = 100;

/** A linear layer that reads the neurons of a feed-forward block. */
const readsNeurons = ({ neurons, transposed = false }: ExpectedTensor) =>
  neurons !== undefined && (neurons.axis === 1) !== transposed;

/** The linear layers of the blocks: those that may be computed in 8 bits. */
export function blockLayers(config: ModelConfig): readonly ExpectedTensor[] {
  return architectureOf(config)
    .tensors(config)
    .filter(({ name, shape, layer }) => layer !== undefined && shape.length === 2 && name.endsWith(".weight"));
}

/** Those whose inputs are rounded once where no neuron is very large: all but the matrix that leads out of each feed-forward block. */
export function eightBitLayers(config: ModelConfig): readonly ExpectedTensor[] {
  return blockLayers(config).filter((layer) => !readsNeurons(layer));
}

/**
 * The checkpoint with its linear layers in 8 bits; made where the cache has none.
 * @throws SoftpromptError "io" (room, rights), "numeric" (a weight that is no number), "interrupted".
 */
export async function withEightBit(checkpoint: Checkpoint, options: EightBitOptions): Promise<Checkpoint> {
  const layers = blockLayers(checkpoint.config);
  const folder = options.cache ?? cacheFor("int8", "8-bit weights");
  const start = `${await checkpoint.sha256()}-${options.most}-v${roundingVersion}-`;
  const path = (await findKept(folder, start)) ?? (await make(checkpoint, layers, folder, start, options));
  const plan = await readPlan(path, layers);
  const { spans } = keptLayout(contentOf(plan, options.most), path);
  const of = (name: string) => ({ matrix: spans.get(name)!, scale: spans.get(`${name}.scale`)! });
  const eightBit = new Map<string, EightBitLayer>(
    plan.groups.flatMap((group) => {
      const smoothing = spans.get(smoothingOf(group)) ?? null;
      return group.layers.map(({ name }) => [
        name,
        { forward: of(`${name}/forward`), back: of(`${name}/back`), smoothing, terms: group.terms },
      ]);
    }),
  );
  const eightBitBack = new Map(plan.backOnly.map(({ name }) => [name, of(`${name}/back`)]));
  return { ...checkpoint, eightBit, eightBitBack, eightBitSha256: keptSha256(path) };
}

/** Layers that are computed in 8 bits, and how often their inputs are rounded. */
export type EightBitPlan = ReadonlyMap<string, Pick<EightBitLayer, "terms">>;

/** What withEightBit would compute in 8 bits. @param inputs as its option. Nothing is written. */
export async function planEightBit(
  { config }: Pick<Checkpoint, "config">,
  inputs: EightBitOptions["inputs"],
): Promise<EightBitPlan> {
  const { groups } = await measuredPlan(blockLayers(config), inputs);
  return new Map(groups.flatMap(({ layers, terms }) => layers.map(({ name }) => [name, { terms }])));
}

/** Which layers of a checkpoint are computed in 8 bits, how their inputs are rounded, and why, in one sentence. */
export function eightBitText({
  config,
  eightBit,
}: Pick<Checkpoint, "config"> & { readonly eightBit?: EightBitPlan }): string {
  const all = blockLayers(config).map(({ name }) => name);
  const exact = all.filter((name) => !eightBit?.has(name));
  const shown = exact.slice(0, 6).map((name) => name.replace(/\.weight$/, ""));
  const more = exact.length > shown.length ? ` and ${exact.length - shown.length} more` : "";
  const rounded = `${all.length - exact.length} of ${all.length} linear layers of the blocks are computed in 8 bits, with inputs in`;
  return exact.length === 0
    ? `${rounded} one term, smoothed by channel, and in two where they are the neurons of a feed-forward block, whose sizes differ most`
    : `${rounded} two terms, because some neurons are very large; in float32 stay, forwards, ${shown.join(", ")}${more}, ` +
        `whose inputs have neurons more than ${mostUneven} times as large as the median`;
}

/** What is written for a layer's forward pass. */
function forwardTensors(layer: ExpectedTensor, dtype: EightBitProducts["dtype"]) {
  const [out, into] = sizesOf(layer);
  return [
    { name: `${layer.name}/forward`, dtype, shape: [into, out] },
    { name: `${layer.name}/forward.scale`, dtype: "float32", shape: [out] },
  ] as const;
}

/** The same for the backward pass. */
function backTensors(layer: ExpectedTensor, dtype: EightBitProducts["dtype"]) {
  const [out, into] = sizesOf(layer);
  return [
    { name: `${layer.name}/back`, dtype, shape: [out, into] },
    { name: `${layer.name}/back.scale`, dtype: "float32", shape: [into] },
  ] as const;
}

const sizesOf = ({ shape, transposed = false }: ExpectedTensor) =>
  (transposed ? shape.toReversed() : shape) as [out: number, into: number];

/** Layers that read the same input. */
interface Group {
  readonly layers: readonly ExpectedTensor[];
  readonly largest: Float32Array;
}

/** A group whose forward pass is in 8 bits. One term is smoothed by channel. */
interface RoundedGroup extends Group {
  readonly terms: 1 | 2;
}

/** What a file contains. */
interface Plan {
  readonly groups: readonly RoundedGroup[];
  /** All other layers: rounding gradients does no harm there either. */
  readonly backOnly: readonly ExpectedTensor[];
}

/** The name of a group's smoothing. */
const smoothingOf = ({ layers }: Group) => `${layers[0]!.name}/smoothing`;

/** What the file of a plan contains. @param most EightBitOptions.most */
function contentOf({ groups, backOnly }: Plan, most: number): KeptContent {
  const { dtype } = productsOf(groups, most);
  return {
    tensors: [
      ...groups.flatMap((group) => [
        ...(group.terms === 1
          ? [{ name: smoothingOf(group), dtype: "float32" as const, shape: [group.largest.length] }]
          : []),
        ...group.layers.flatMap((layer) => [...forwardTensors(layer, dtype), ...backTensors(layer, dtype)]),
      ]),
      ...backOnly.flatMap((layer) => backTensors(layer, dtype)),
    ],
    metadata: {
      terms: JSON.stringify(groups.map(({ terms }) => terms)),
      groups: JSON.stringify(groups.map(({ layers }) => layers.map(({ name }) => name))),
    },
  };
}

/** The plan of a file, as its header has it. */
async function readPlan(path: string, layers: readonly ExpectedTensor[]): Promise<Plan> {
  const byName = new Map(layers.map((layer) => [layer.name, layer]));
  const { metadata, entries } = await readHeader(path, (await stat(path)).size);
  // the file is the one that was written: its sha256 is in its name
  const groups = JSON.parse(metadata.get("groups")!) as string[][];
  const terms = JSON.parse(metadata.get("terms")!) as (1 | 2)[];
  return {
    groups: groups.map((names, i) => ({
      layers: names.map((name) => byName.get(name)!),
      terms: terms[i]!,
      largest: new Float32Array(entries.get(`${names[0]}/smoothing`)?.shape[0] ?? 0),
    })),
    backOnly: others(layers, groups.flat()),
  };
}

/** Decides by the largest inputs what is computed in 8 bits, and how exactly. */
function planOf(measured: readonly Group[]): readonly RoundedGroup[] {
  const outOfBlock = ({ layers }: Group) => readsNeurons(layers[0]!);
  const uneven = new Set(
    measured.filter((group) => {
      // neurons that were silent on the text have no size: with ReLU they may be most of them
      const sizes = group.largest.filter((size) => size > 0).sort();
      return outOfBlock(group) && sizes.length > 0 && sizes.at(-1)! > mostUneven * sizes[sizes.length >> 1]!;
    }),
  );
  return measured
    .filter((group) => !uneven.has(group))
    .map((group) => ({ ...group, terms: uneven.size > 0 || outOfBlock(group) ? 2 : 1 }));
}

async function measuredPlan(layers: readonly ExpectedTensor[], inputs: EightBitOptions["inputs"]): Promise<Plan> {
  const byName = new Map(layers.map((layer) => [layer.name, layer]));
  const measured = await inputs([...byName.keys()]);
  const groups = planOf(
    measured.map(({ names, largest }) => ({ layers: names.map((name) => byName.get(name)!), largest })),
  );
  const names = groups.flatMap((group) => group.layers.map(({ name }) => name));
  return { groups, backOnly: others(layers, names) };
}

/** Layers that are not among these. */
function others(layers: readonly ExpectedTensor[], names: readonly string[]): readonly ExpectedTensor[] {
  const known = new Set(names);
  return layers.filter(({ name }) => !known.has(name));
}

async function make(
  checkpoint: Checkpoint,
  wanted: readonly ExpectedTensor[],
  folder: string,
  start: string,
  { most, inputs, cache: _, ...rest }: EightBitOptions,
): Promise<string> {
  const plan = await measuredPlan(wanted, inputs);
  const { largest, dtype } = productsOf(plan.groups, most);
  const about = { ...rest, what: "8-bit weights", where: checkpoint.name };
  return makeKept(folder, start, contentOf(plan, most), about, async (put) => {
    const write = async (name: string, { values, scale }: Rounded) => {
      await put(name, new Uint8Array(storedAs(dtype, values).buffer));
      await put(`${name}.scale`, floatBytes(scale));
    };
    /** Writes a layer's matrix for the backward pass. @returns its numbers */
    const writeBack = async ({ name, transposed = false }: ExpectedTensor) => {
      const { data, shape } = await checkpoint.read(name);
      const columns = shape[1]!;
      const round = transposed ? roundRowsTurned : roundColumns;
      await write(`${name}/back`, round(data, columns, largest));
      return { data, columns };
    };
    for (const group of plan.groups) {
      const factors = group.terms === 1 ? await factorsOf(checkpoint, group) : null;
      if (factors) await put(smoothingOf(group), floatBytes(factors));
      for (const layer of group.layers) {
        const { name, transposed = false } = layer;
        const { data, columns } = await writeBack(layer);
        if (factors) divideInputs(data, columns, transposed, factors);
        const round = transposed ? roundColumns : roundRowsTurned;
        await write(`${name}/forward`, round(data, columns, largest));
      }
    }
    for (const layer of plan.backOnly) await writeBack(layer);
  });
}

async function factorsOf(checkpoint: Checkpoint, { layers, largest }: Group): Promise<Float32Array<ArrayBuffer>> {
  const weights = new Float32Array(largest.length);
  for (const { name, transposed = false } of layers) largestInputs(await checkpoint.read(name), transposed, weights);
  return smoothing(largest, weights);
}

/** Raises `largest` to the largest weight of each input of a layer. */
function largestInputs({ data, shape }: Tensor, transposed: boolean, largest: Float32Array): void {
  const columns = shape[1]!;
  for (let i = 0, r = 0, c = 0; i < data.length; i++) {
    const [at, size] = [transposed ? r : c, Math.abs(data[i]!)];
    if (size > largest[at]!) largest[at] = size;
    if (++c === columns) {
      c = 0;
      r++;
    }
  }
}

/** Divides each input's weights by its factor, so that the matrix takes inputs that were multiplied by it. */
function divideInputs(data: Float32Array, columns: number, transposed: boolean, factors: Float32Array): void {
  for (let i = 0, r = 0, c = 0; i < data.length; i++) {
    data[i]! /= factors[transposed ? r : c]!;
    if (++c === columns) {
      c = 0;
      r++;
    }
  }
}
