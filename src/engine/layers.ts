/**
 * @file The frozen model run layer by layer, so that hidden states can be kept and layers left out at will.
 *
 * In: encoded rows. Out: their hidden states after any list of layers, and the loss of their targets. A session per layer is opened once,
 * at its first use; together they hold as much as one model.
 */
import type { Feed, Feeds } from "../base/tensor.js";
import type { Graph } from "../graph/graph.js";
import { architectureOf } from "../model/architectures.js";
import { openSession, type SessionOptions } from "../runtime/session.js";
import { type EncodedRow, makeBatch, pad, textIds } from "../text/batch.js";
import { atNeed } from "./at-need.js";
import { checkIds, checkWindow, float, int, positionsOf, shiftedIds, textFeeds } from "./feeds.js";
import type { ModelSource } from "./graphs.js";
import {
  enterGraph,
  enterSecondGraph,
  firstStackGraph,
  type LayerSite,
  lossGraph,
  oneLayer,
  secondStackGraph,
} from "./layer-graphs.js";
import type { LayerState, LayersProgram } from "./types.js";

/** Opens the program. @param source of the full model */
export async function openLayers(
  source: ModelSource,
  options: SessionOptions,
): Promise<LayersProgram & { dispose(): Promise<void> }> {
  const { config } = source;
  const architecture = architectureOf(config);
  const stacks = architecture.stacks(config);
  /** By the session's name. */
  const graphs = new Map<string, Graph>();
  const sessions = atNeed("layers of the frozen model", (key: string) => openSession(key, graphs.get(key)!, options));
  const run = async (
    kind: (source: ModelSource) => Graph,
    site: LayerSite | null,
    feeds: Feeds,
  ): Promise<Readonly<Record<string, Feed>>> => {
    const key = `${kind.name} ${site?.stack} ${site?.layer}`;
    const graph = graphs.get(key) ?? kind({ ...source, partial: oneLayer(config, site) });
    graphs.set(key, graph);
    const session = await sessions.get(key);
    // a family's feeds are those of whole halves
    return session.run(Object.fromEntries(graph.inputs.map(({ name }) => [name, feeds[name]!])));
  };
  /** The state before the first layer of a stack, where it is not there yet. */
  const at = async (state: LayerState, stack: string): Promise<LayerState> => {
    if (state.stack === stack) return state;
    const { next } = await run(enterSecondGraph, null, state.feeds);
    return { ...state, stack, hidden: next!, read: state.hidden };
  };
  return {
    async enter(rows) {
      const { feeds, shape } = stacks.length === 1 ? asOne(source, rows) : asTwo(source, rows);
      const { next } = await run(enterGraph, null, feeds);
      return { stack: stacks[0].name, hidden: next!, read: null, feeds, shape };
    },
    async through(given, site) {
      const state = await at(given, site.stack);
      const feeds = { ...state.feeds, hidden: state.hidden, ...(state.read && { read: state.read }) };
      const { next } = await run(state.read ? secondStackGraph : firstStackGraph, site, feeds);
      return { ...state, hidden: next! };
    },
    async loss(given) {
      const state = await at(given, stacks.at(-1)!.name);
      const { nll } = await run(lossGraph, null, { ...state.feeds, hidden: state.hidden });
      const counts = state.feeds.targetMask!.data;
      let sum = 0;
      for (const [i, value] of nll!.data.entries()) if (counts[i]) sum += value;
      return sum;
    },
    dispose: () => sessions.dispose(),
  };
}

/** Feeds of a model with two stacks: the text in the one, the target in the other. Virtual tokens there are none, so their place is moot. */
function asTwo({ config }: ModelSource, rows: readonly EncodedRow[]): Pick<LayerState, "feeds" | "shape"> {
  const architecture = architectureOf(config);
  const batch = makeBatch(rows.map(({ promptAt: _, promptBefore: __, ...row }) => row));
  const { size: B, inputLength: T, targetLength: U, targetIds, targetMask } = batch;
  const positions = positionsOf(nothingFed, batch);
  const start = architecture.startId(config)!;
  return {
    feeds: {
      ...textFeeds(batch, config),
      ...architecture.prefillFeeds(config, positions),
      ...architecture.decodeFeeds(config, positions, { length: U, past: 0 }),
      ...shiftedIds(targetIds, [B], U, config, () => start),
      targetIds: int([B, U], targetIds),
      targetMask: int([B, U], targetMask),
    },
    shape: { batch: B, prompt: 0, input: T, target: U },
  };
}

/** Feeds of a model with one stack: text and target as one sequence. */
function asOne({ config }: ModelSource, rows: readonly EncodedRow[]): Pick<LayerState, "feeds" | "shape"> {
  const texts = rows.map(textIds);
  const all = pad(
    rows.map(({ target }, b) => Int32Array.from([...texts[b]!, ...target.subarray(0, -1)])),
    config.padId,
  );
  const target = pad(rows.map((row) => row.target));
  const [B, T, U] = [rows.length, all.length, target.length];
  checkIds("target", target.ids, config.vocabulary);
  const batch = { size: B, inputIds: all.ids, inputMask: all.mask, inputLength: T };
  const positions = positionsOf(nothingFed, batch);
  checkWindow(config, positions, () => 0);
  const picks = new Float32Array(B * U * T);
  for (const [b, text] of texts.entries())
    for (let u = 0; u < rows[b]!.target.length; u++) picks[(b * U + u) * T + text.length - 1 + u] = 1;
  return {
    feeds: {
      ...textFeeds(batch, config),
      ...architectureOf(config).prefillFeeds(config, positions),
      picks: float([B, U, T], picks),
      targetIds: int([B, U], target.ids),
      targetMask: int([B, U], target.mask),
    },
    shape: { batch: B, prompt: 0, input: T, target: U },
  };
}

const nothingFed = { feeds: {}, tokens: 0, lengths: null, keys: {} };
