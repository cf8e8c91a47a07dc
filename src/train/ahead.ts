/**
 * @file Reads the texts of the next steps together, where they stand before the virtual tokens and are kept. In: Job, TrainState. Out: a
 * full store.
 *
 * A step would read its own texts one by one, because few of them have a like length. All texts of a training at once would keep its first
 * step waiting, and its first score.
 */
import { readsBefore } from "../engine/place.js";
import type { TextToRead } from "../engine/types.js";
import { textsBefore } from "../text/batch.js";
import { type Job, rowsRead, stageEnd, stageModel } from "./job.js";
import type { TrainState } from "./state.js";
import type { TrainEvent } from "./types.js";

/** Rows that are read together, or those of one step where these are more. */
const rowsAhead = 128;

/** Called before a step: reads what it and the next ones need, unless that was read on this model before. */
export type ReadAhead = (state: TrainState, tell: (event: TrainEvent) => void) => Promise<void>;

/** One for a whole training; it knows what was read. */
export function openReadAhead(job: Job): ReadAhead {
  const { encoded, rowsOf, place, input } = job;
  const { engine, settings, signal } = input;
  if (engine.texts === null || !readsBefore(place)) return async () => {};
  const read = new Map<string, Set<number>>();
  // of a model and the stage's end: what its steps read in all is the same at each of them
  const totals = new Map<string, number>();
  return async (state, tell) => {
    const partial = stageModel(job, state);
    const known = read.get(partial.name) ?? new Set<number>();
    if (rowsOf(state.step).every((n) => known.has(n))) return;
    const end = stageEnd(job, state);
    const now = new Set<number>();
    for (let step = state.step; step < end && now.size < rowsAhead && known.size + now.size < encoded.length; step++)
      for (const n of rowsOf(step)) if (!known.has(n)) now.add(n);
    const texts: TextToRead[] = textsBefore([...now].map((n) => encoded[n]!));
    const key = `${partial.name} ${end}`;
    const total =
      totals.get(key) ??
      new Set([...known, ...rowsRead(rowsOf, encoded.length, settings.batchSize, [{ from: state.step, to: end }])])
        .size;
    totals.set(key, total);
    let kept = 0;
    // rows are counted: several may have one text
    const say = (share: number) =>
      tell({ kind: "rows", done: known.size + Math.floor(share * now.size), total, what: "texts" });
    say(0);
    await engine.readTexts(texts, partial, {
      signal,
      onKept: (some) => {
        kept += some.length;
        say(kept / texts.length);
      },
    });
    if (!signal?.aborted) read.set(partial.name, new Set([...known, ...now]));
  };
}
