/**
 * @file A graph made runnable: named tensors in, named tensors out, checked before ONNX Runtime sees them.
 *
 * In: a Graph. Out: a Session. Symbols ("B", "P+T") must agree among the feeds of one run; an error about a wrong feed gives its name and
 * shape. The caller that opened a session disposes it.
 */
import { SoftpromptError } from "../base/errors.js";
import { type Feed, type Feeds, shapeText, size } from "../base/tensor.js";
import type { Dim, Graph, Op, Value } from "../graph/graph.js";
import { lower } from "../onnx/lower.js";
import { nodeRuntime } from "./node.js";
import { type Device, firstLine, type Runtime } from "./runtime.js";

/** How a graph is lowered and opened. */
export interface SessionOptions {
  readonly threads: number;
  readonly device: Device;
  readonly lowMemory: boolean;
  readonly plainOps: boolean;
  /**
   * Keep a packed copy of each product's weights. It saves time where a product has few rows. Default true unless lowMemory.
   */
  readonly packWeights?: boolean;
  /**
   * One token of each row at a time, with a model whose linear layers are in blocks: float32 copies of its 16-bit weights are kept, above all of
   * the head, and products with blocks of 8 bits round their inputs to 8 bits as well, block by block, as llama.cpp does. For one row, widening such
   * a matrix takes fifty times as long as multiplying with it (docs/log.md, 2026-11-27). With lowMemory nothing changes. Default false.
   */
  readonly tokenwise?: boolean;
  /**
   * Let the runtime keep the memory that it once took. Default true unless lowMemory. The C library may keep more: its heap has gaps where
   * matrices were, between what lives longer.
   */
  readonly arena?: boolean;
  /** Prefix of ONNX Runtime's profile file, for the bench. */
  readonly profile?: string | null;
}

/** A graph that is ready to run: named tensors in, named tensors out. */
export interface Session {
  /**
   * Runs the whole graph. Refuses missing, unknown or ill-shaped feeds.
   * @param outputs which outputs are returned; the others are not copied. Default all.
   */
  run(feeds: Feeds, outputs?: readonly string[]): Promise<Record<string, Feed>>;
  /** Frees the native session. Idempotent. */
  dispose(): Promise<void>;
}

/** The error of whoever uses a session after its end. */
export function sessionClosed(where: string): SoftpromptError {
  return new SoftpromptError("engine", "the session is closed", {
    where,
    hint: "the model or engine was disposed while it was in use, or this partial model was released; dispose it when its work has ended, and open it again to go on",
  });
}

/** Lowers a graph and opens a session on it. */
export async function openSession(
  name: string,
  graph: Graph,
  options: SessionOptions,
  runtime: Runtime = nodeRuntime,
): Promise<Session> {
  const has = (op: Op) => graph.nodes.some((node) => node.op === op);
  // weights in blocks are there to save memory: a wide copy that was kept would undo it
  const inBlocks = has("linearBlocks") || has("widenBlocks");
  const lowMemory = options.lowMemory || inBlocks;
  const tokenwise = options.tokenwise === true && inBlocks && !options.lowMemory;
  const model = lower(graph, {
    plain: options.plainOps,
    widenPerUse: lowMemory,
    roundInputs: tokenwise,
    device: options.device,
  });
  const raw = await runtime.open(model.bytes, model, {
    threads: options.threads,
    device: options.device,
    // folding a cast keeps its result; blocks that are widened are not folded
    lowMemory: lowMemory && !tokenwise,
    arena: options.arena ?? !lowMemory,
    // blocks of 4 bits are packed in place of the first copy, not beside it; where they are widened, there is nothing to pack
    packWeights: inBlocks ? !has("widenBlocks") : (options.packWeights ?? !lowMemory),
    profile: options.profile ?? null,
  });
  let closing: Promise<void> | null = null;
  /** Runs that have begun and not ended: the session is freed behind them. */
  const running = new Set<Promise<unknown>>();
  async function close() {
    await Promise.allSettled(running);
    if (options.profile) raw.endProfiling();
    await raw.release();
  }
  return {
    async run(feeds, outputs) {
      if (closing !== null) throw sessionClosed(name);
      checkFeeds(name, graph.inputs, feeds);
      const run = raw.run(feeds, outputs);
      running.add(run);
      try {
        return await run;
      } catch (cause) {
        throw new SoftpromptError("engine", "ONNX Runtime failed in a run", {
          where: `${name} with ${feedText(feeds)}`,
          got: firstLine(cause),
          hint: /alloc|memory/i.test(String(cause))
            ? "use a smaller micro-batch, shorter inputs or lowMemory"
            : undefined,
          cause,
        });
      } finally {
        running.delete(run);
      }
    },
    dispose() {
      closing ??= close();
      return closing;
    },
  };
}

/** Throws unless the feeds are exactly the graph's inputs, with fitting types and consistent symbols. */
export function checkFeeds(where: string, inputs: readonly Value[], feeds: Feeds): void {
  const refuse = (problem: string, expected: string, got?: string) =>
    new SoftpromptError("engine", problem, { where, expected, got });
  const unknown = Object.keys(feeds).find((name) => !inputs.some((v) => v.name === name));
  if (unknown !== undefined)
    throw refuse(`feed ${unknown} is not an input`, inputs.map((v) => v.name).join(", "), unknown);
  const symbols = new Map<string, number>();
  for (const { name, dtype, shape, once } of inputs) {
    const feed = feeds[name];
    const expected = `${name} ${shapeText(dtype, shape)}`;
    if (!feed) throw refuse(`feed ${name} is missing`, expected);
    const got = `${shapeText(feed.dtype, feed.shape)} with ${feed.data.length} elements`;
    if (feed.dtype !== dtype || feed.shape.length !== shape.length || feed.data.length !== size(feed.shape))
      throw refuse(`feed ${name} does not fit`, expected, got);
    for (const [axis, dim] of shape.entries()) {
      const size = feed.shape[axis]!;
      if (once && axis === 0 && size === 1) continue;
      const known = typeof dim === "number" ? dim : symbols.get(dim);
      if (known !== undefined && known !== size)
        throw refuse(
          `feed ${name} does not fit`,
          `${expected}${typeof dim === "string" ? ` with ${dim} = ${known}` : ""}`,
          got,
        );
      if (typeof dim === "string") symbols.set(dim, size);
    }
  }
  for (const [symbol, size] of symbols) {
    const total = sumOf(symbol, symbols);
    if (total !== undefined && total !== size)
      throw refuse(`the feeds disagree on ${symbol}`, `${symbol} = ${total}`, String(size));
  }
}

/** The value of "P+T" or "N+1" where its parts are known. */
function sumOf(symbol: Dim, symbols: ReadonlyMap<string, number>): number | undefined {
  const parts = String(symbol).split("+");
  if (parts.length < 2) return undefined;
  const values = parts.map((p) => symbols.get(p) ?? (Number.isInteger(Number(p)) ? Number(p) : undefined));
  return values.some((v) => v === undefined) ? undefined : (values as number[]).reduce((a, b) => a + b, 0);
}

function feedText(feeds: Feeds): string {
  return Object.entries(feeds)
    .map(([name, { dtype, shape }]) => `${name} ${shapeText(dtype, shape)}`)
    .join(", ");
}
