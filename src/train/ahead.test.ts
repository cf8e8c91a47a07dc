import { expect, test } from "vitest";
import type { KeepTexts, TextToRead } from "../engine/types.js";
import type { EncodedRow } from "../text/batch.js";
import { openReadAhead } from "./ahead.js";
import type { Job } from "./job.js";
import type { TrainState } from "./state.js";
import type { TrainEvent } from "./types.js";

/** 300 rows, the last two with one text; steps of eight rows in the order of the rows, the first partial model for ten of them. */
const encoded = Array.from({ length: 300 }, (_, n): EncodedRow => {
  const input = Int32Array.of(1, Math.min(n, 298) + 2);
  const rest = { target: Int32Array.of(3), choices: null, gold: -1, truncated: false };
  return { id: `${n}`, input, first: 7, promptAt: 3, ...rest };
});
const rowsOf = (step: number) => Array.from({ length: 8 }, (_, i) => (step * 8 + i) % 300);
const stages = [
  { partial: { name: "half" }, steps: 10 },
  { partial: { name: "full" }, steps: 90 },
];

function opened({
  place = "behind",
  store = {},
  signal,
}: {
  place?: string;
  store?: object | null;
  signal?: AbortSignal;
} = {}) {
  const reads: [name: string, texts: number[]][] = [];
  const engine = {
    texts: store,
    async readTexts(texts: readonly TextToRead[], { name }: { name: string }, { onKept }: KeepTexts) {
      reads.push([name, texts.map(({ ids }) => ids[1]!)]);
      onKept!(texts.slice(0, 5));
      onKept!(texts.slice(5));
    },
  };
  const input = { engine, signal, schedule: { stages }, settings: { batchSize: 8 } };
  const readAhead = openReadAhead({ encoded, rowsOf, place, input, totalSteps: 100 } as unknown as Job);
  const events: TrainEvent[] = [];
  const before = (step: number, stage: number) =>
    readAhead({ step, stage, stageStart: stage === 0 ? 0 : 10 } as TrainState, (event) => events.push(event));
  return { before, reads, events };
}
const from = (first: number, count: number) => Array.from({ length: count }, (_, i) => first + 2 + i);

test("a step reads what it and the next ones need, as far as its stage goes, and each text once on each model", async () => {
  const { before, reads } = opened();
  for (let step = 0; step < 10; step++) await before(step, 0);
  expect(reads).toEqual([["half", from(0, 80)]]);
  for (let step = 10; step < 100; step++) await before(step, 1);
  expect(reads.slice(1)).toEqual([
    ["full", from(80, 128)],
    // 208 to 299, where two have one text, and what an epoch begins with
    ["full", [...from(208, 91), ...from(0, 36)]],
    ["full", from(36, 44)],
  ]);
});

test("a run that goes on reads nothing that only earlier steps needed", async () => {
  const { before, reads } = opened();
  await before(98, 1);
  expect(reads).toEqual([["full", from(184, 16)]]);
});

test("it says how much of the stage's texts it has read", async () => {
  const { before, events } = opened();
  await before(0, 0);
  const rows = { kind: "rows", what: "texts", total: 80 };
  expect(events).toEqual([0, 5, 80].map((done) => ({ ...rows, done })));
});

test("what was not read because of an abort is not taken for read", async () => {
  const stop = new AbortController();
  const { before, reads } = opened({ signal: stop.signal });
  stop.abort();
  await before(0, 0);
  await before(0, 0);
  expect(reads.length).toBe(2);
});

test("nothing is read where no text stands before the virtual tokens, or none is kept", async () => {
  for (const other of [opened({ place: "start" }), opened({ store: null })]) {
    await other.before(0, 0);
    expect([other.reads, other.events]).toEqual([[], []]);
  }
});
