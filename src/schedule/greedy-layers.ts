/**
 * @file Which layers a model can do without: drops the one without which the loss on training rows rises least, again and again.
 *
 * In: an engine, a dataset, how many layers to drop of each stack. Out: the layers in the order of their dropping, and what finding them cost.
 * The loss is that of the frozen model alone, without virtual tokens, so the choice is the same for every method. Layer 0 stays: every choice of layers
 * keeps it. The hidden states below the lowest layer that may go are equal for all candidates above it, so each is computed once
 * (Engine.layers): a round over n layers costs n²/2 layers, not n². Each drop is kept on disk by what it was made from.
 */
import { join } from "node:path";
import { interrupted, SoftpromptError } from "../base/errors.js";
import { sha256 } from "../base/files.js";
import { kept } from "../base/kept.js";
import { random } from "../base/random.js";
import { withoutColumns } from "../data/define.js";
import type { Dataset, Row } from "../data/row.js";
import type { Engine, LayerSite, LayerState, LayersProgram } from "../engine/engine.js";
import { layerFlops, lossFlops } from "../engine/flops.js";
import { architectureOf } from "../model/architectures.js";
import type { LayerOrder } from "../model/partial.js";
import { roundingFacts } from "../model/quantise.js";
import { evaluationOrder } from "../text/batch.js";
import { encodeRows } from "../text/rows.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { NeuronScoreOptions } from "./neuron-options.js";
import type { ScoringCost } from "./neuron-scores.js";

export interface GreedyInput extends Pick<NeuronScoreOptions, "layerRows" | "scoreBatchSize"> {
  readonly seed: number;
  readonly maxInputTokens: number;
  /** Where drops are kept; null keeps nothing. */
  readonly folder: string | null;
  /** Checked between candidates; what was dropped so far is kept. */
  readonly signal?: AbortSignal | undefined;
}

/** One drop. */
export interface Drop {
  readonly layer: number;
  /** Mean negative log-likelihood of a target token without each of the layers that could have gone. */
  readonly losses: readonly { readonly layer: number; readonly loss: number }[];
  readonly flops: number;
  readonly seconds: number;
}

/** The drops of each stack in their order. */
export type Drops = Readonly<Record<string, readonly Drop[]>>;

/**
 * @param wanted how many layers to drop of each stack; a stack that is not named stays whole, and each stack is shortened with the others whole.
 * @throws SoftpromptError(data) without training rows; (numeric) for a loss that is not finite; (interrupted).
 */
export async function greedyDrops(
  engine: Engine,
  tokenizer: Tokenizer,
  { task, train }: Pick<Dataset, "task" | "train">,
  wanted: Readonly<Record<string, number>>,
  input: GreedyInput,
): Promise<{ readonly drops: Drops; readonly order: LayerOrder; readonly cost: ScoringCost }> {
  const { config } = engine.checkpoint;
  const rows = chosenRows(train, input);
  if (rows.length === 0)
    throw new SoftpromptError("data", "there are no rows to choose layers on", {
      where: task.name,
      expected: "at least one training row",
    });
  const encoded = encodeRows(task, rows, tokenizer, input.maxInputTokens);
  const batches = evaluationOrder(encoded, input.scoreBatchSize).map((numbers) => numbers.map((n) => encoded[n]!));
  const all = architectureOf(config)
    .stacks(config)
    .flatMap(({ name, layers }) => Array.from({ length: layers }, (_, layer): LayerSite => ({ stack: name, layer })));
  const made = {
    version: 1,
    model: await engine.checkpoint.sha256(),
    config,
    tokenizer: tokenizer.sha256,
    task: withoutColumns(task),
    rows,
    maxInputTokens: input.maxInputTokens,
    // it decides the last digits
    batchSize: input.scoreBatchSize,
    ...roundingFacts(engine),
  };
  const tokens = encoded.reduce((sum, { target }) => sum + target.length, 0);
  const drops: Record<string, Drop[]> = {};
  try {
    for (const [stack, count] of Object.entries(wanted)) {
      const gone: Drop[] = [];
      for (let n = 0; n < count; n++) {
        const left = all.filter((site) => site.stack !== stack || !gone.some(({ layer }) => layer === site.layer));
        const key = sha256(JSON.stringify({ ...made, stack, gone: gone.map(({ layer }) => layer) }));
        const path = input.folder === null ? null : join(input.folder, `layer-drop-${key.slice(0, 16)}.json`);
        const form = { read: (body: unknown) => (isDrop(body, left, stack) ? body : null) };
        const { value } = await kept(path, key, form, () =>
          dropOne(engine, batches, left, stack, tokens, input.signal),
        );
        gone.push(value);
      }
      drops[stack] = gone;
    }
  } finally {
    await engine.close("layers");
  }
  const each = Object.values(drops).flat();
  return {
    drops,
    order: Object.fromEntries(Object.entries(drops).map(([stack, own]) => [stack, own.map(({ layer }) => layer)])),
    cost: {
      flops: each.reduce((sum, { flops }) => sum + flops, 0),
      seconds: each.reduce((sum, { seconds }) => sum + seconds, 0),
      examples: rows.length,
    },
  };
}

/** The first so many training rows of a seeded shuffle. */
function chosenRows(rows: readonly Row[], { layerRows, seed }: GreedyInput): Row[] {
  const drawn = random(seed, "greedy-layers/rows").sample(rows.length, Math.min(layerRows, rows.length));
  return Array.from(drawn, (i) => rows[i]!);
}

/** Tries to leave out each layer of the stack but its first. @param left the layers that are still there, in their order */
async function dropOne(
  engine: Engine,
  batches: readonly Parameters<LayersProgram["enter"]>[0][],
  left: readonly LayerSite[],
  stack: string,
  tokens: number,
  signal: AbortSignal | undefined,
): Promise<Drop> {
  const { config } = engine.checkpoint;
  const program = await engine.layers();
  const started = performance.now();
  let flops = 0;
  const through = async (state: LayerState, sites: readonly LayerSite[]) => {
    let now = state;
    for (const site of sites) {
      flops += layerFlops(config, site, state.shape).total;
      now = await program.through(now, site);
    }
    return now;
  };
  const candidates = [...left.keys()].filter((at) => left[at]!.stack === stack && left[at]!.layer !== 0);
  const sums = new Map(candidates.map((at) => [at, 0]));
  for (const batch of batches) {
    let [below, done] = [await program.enter(batch), 0];
    for (const at of candidates) {
      if (signal?.aborted)
        throw interrupted(signal, "stopped while layers were chosen", {
          where: "layer choice greedy",
          hint: "what was dropped so far is kept where the run has a folder",
        });
      below = await through(below, left.slice(done, at));
      done = at;
      const whole = await through(below, left.slice(at + 1));
      flops += lossFlops(config, whole.shape).total;
      sums.set(at, sums.get(at)! + (await program.loss(whole)));
    }
  }
  const losses = candidates.map((at) => ({ layer: left[at]!.layer, loss: sums.get(at)! / tokens }));
  const wrong = losses.find(({ loss }) => !Number.isFinite(loss));
  if (wrong !== undefined)
    throw new SoftpromptError("numeric", "the loss without a layer is not finite", {
      where: `layer ${wrong.layer} of the ${stack}`,
      expected: "a finite loss of the frozen model on training rows",
      got: wrong.loss,
    });
  const { layer } = losses.reduce((least, other) => (other.loss < least.loss ? other : least));
  return { layer, losses, flops, seconds: (performance.now() - started) / 1000 };
}

/** Whether the value is a drop from these layers. */
function isDrop(body: unknown, left: readonly LayerSite[], stack: string): body is Drop {
  const { layer, losses, flops, seconds } = (body ?? {}) as Partial<Drop>;
  return (
    [flops, seconds].every((amount) => typeof amount === "number") &&
    Array.isArray(losses) &&
    losses.every((entry) => typeof entry?.layer === "number" && typeof entry.loss === "number") &&
    left.some((site) => site.stack === stack && site.layer === layer && layer !== 0)
  );
}
