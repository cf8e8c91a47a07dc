/**
 * @file `--precision auto`: products of a model's own shapes are timed here in float32 and in 8 bits, and what is faster is taken.
 *
 * In: a config. Out: times, a choice, and the reason in one sentence. The matrices are made up, since times do not depend on their numbers:
 * nothing is read, and no 8-bit weights need to be there.
 */
import { constant, emptyGraph, input, output, type Value } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import type { ModelConfig } from "../model/architecture.js";
import { eightBitLayers } from "../model/eight-bit.js";
import { type EightBitProducts, storedAs } from "../model/quantise.js";
import { openSession, type Session, type SessionOptions } from "../runtime/session.js";
import { disposeAll } from "./at-need.js";
import { float } from "./feeds.js";

/** How linear layers are computed. */
export type Precision = "float32" | "int8";

/** Milliseconds of the products of a model's linear layers, forwards and back, each layer once. */
export type ProductTimes = Readonly<Record<Precision, number>>;

/** What is timed. */
export interface TimingOptions
  extends Pick<SessionOptions, "threads" | "plainOps">,
    Partial<Pick<EightBitProducts, "terms" | "dtype">> {}

/** 8 bits must be this many times as fast: they round, and the products are only a part of a step. Our choice. */
const leastGain = 1.25;

/** Rows of a product where matrices are small, and the most and least work of one product: some milliseconds each. */
const [mostRows, leastRows, mostWork] = [256, 32, 2 ** 29] as const;
/** Larger matrices are timed by a part of their outputs. */
const mostElements = 2 ** 24;
const rounds = 4;

/** Layers of one shape. */
interface Layers {
  readonly out: number;
  readonly into: number;
  readonly layers: number;
}

/** The layers of a model that may be computed in 8 bits, by shape. */
function layersOf(config: ModelConfig): readonly Layers[] {
  const counts = new Map<string, Layers>();
  for (const { shape, transposed = false } of eightBitLayers(config)) {
    const [out, into] = (transposed ? shape.toReversed() : shape) as [number, number];
    const layers = (counts.get(`${out} ${into}`)?.layers ?? 0) + 1;
    counts.set(`${out} ${into}`, { out, into, layers });
  }
  return [...counts.values()];
}

/** Times the products of a model, or of layers of given shapes, on this machine. */
export async function timeProducts(
  source: ModelConfig | readonly Layers[],
  options: TimingOptions,
): Promise<ProductTimes> {
  const total = { float32: 0, int8: 0 };
  for (const { out, into, layers } of "family" in source ? layersOf(source) : source) {
    const part = Math.min(out, Math.max(1, Math.floor(mostElements / into)));
    const times = await timeLayer(part, into, options);
    for (const way of ["float32", "int8"] as const) total[way] += times[way] * layers * (out / part);
  }
  return total;
}

/** The faster way, and why. */
export function choosePrecision({ float32, int8 }: ProductTimes): {
  readonly precision: Precision;
  readonly why: string;
} {
  const precision = float32 >= leastGain * int8 ? "int8" : "float32";
  const told = `this model's products are ${(float32 / int8).toFixed(1)} times as fast in 8 bits here (${milliseconds(float32)} in float32, ${milliseconds(int8)} in 8 bits)`;
  return { precision, why: precision === "int8" ? told : `${told}, and ${leastGain} is wanted` };
}

const milliseconds = (ms: number) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

/** One layer, forwards and back, both ways in turn; the fastest round of each counts, so that a moment of load does not decide. */
async function timeLayer(
  out: number,
  into: number,
  { threads, plainOps, terms = 1, dtype = "int8" }: TimingOptions,
): Promise<ProductTimes> {
  const rows = Math.min(mostRows, Math.max(leastRows, Math.floor(mostWork / (out * into))));
  const options = { threads, plainOps, device: "cpu", lowMemory: false } as const;
  const x = float(
    [rows, into],
    Float32Array.from({ length: rows * into }, (_, i) => Math.sin(i)),
  );
  const exact = await openSession("products in float32", float32Layer(out, into), options);
  const best = { float32: Number.POSITIVE_INFINITY, int8: Number.POSITIVE_INFINITY };
  const open: Session[] = [exact];
  try {
    const rounded = await openSession("products in 8 bits", eightBitLayer(out, into, { terms, dtype }), options);
    open.push(rounded);
    for (let round = 0; round < rounds; round++)
      for (const [way, session] of [
        ["float32", exact],
        ["int8", rounded],
      ] as const) {
        const from = performance.now();
        await session.run({ x });
        // the first round also packs and allocates
        if (round > 0) best[way] = Math.min(best[way], performance.now() - from);
      }
  } finally {
    await disposeAll(open);
  }
  return best;
}

const numbers = (length: number) => Int8Array.from({ length }, (_, i) => ((i * 7919) % 129) - 64);

function float32Layer(out: number, into: number) {
  const g = emptyGraph();
  const x = input(g, "x", "float32", ["M", into]);
  const w = constant(
    g,
    [out, into],
    Float32Array.from(numbers(out * into), (v) => v / 64),
  );
  const y = ops.linear(g, x, w);
  return summed(g, ops.apply(g, "linear", [y, w], { back: true, stored: "out,in" })[0]!);
}

function eightBitLayer(out: number, into: number, { terms, dtype }: Pick<EightBitProducts, "terms" | "dtype">) {
  const g = emptyGraph();
  const x = input(g, "x", "float32", ["M", into]);
  const matrix = (rows: number, columns: number) =>
    constant(g, [rows, columns], storedAs(dtype, numbers(rows * columns)));
  const scale = (columns: number) => constant(g, [columns], new Float32Array(columns).fill(1 / 64));
  const forward = { matrix: matrix(into, out), scale: scale(out) };
  const back = { matrix: matrix(out, into), scale: scale(into) };
  const y = ops.linear8(g, x, { forward, back, terms });
  const inputs = [y, back.matrix, back.scale, forward.matrix, forward.scale];
  return summed(g, ops.apply(g, "linear8", inputs, { back: true, terms })[0]!);
}

/** A graph that gives one number, so that copying results takes no time. */
function summed(g: ReturnType<typeof emptyGraph>, value: Value) {
  output(g, "sum", ops.sum(g, value, [0, 1]));
  return g;
}
