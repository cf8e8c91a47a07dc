/**
 * @file Events of calls as an iterable: the same as a listener's, in order, and typed without being told whose they are (`npm run check`
 * refuses this file otherwise).
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { type OpenModel, openModel } from "../tasks/model.js";
import { type Tuned, type TuneEvent, tune } from "../tasks/tune.js";
import { compare } from "./call.js";
import { eventsOf } from "./events.js";

let model: OpenModel;
beforeAll(async () => {
  model = await openModel("t5-nano");
});
afterAll(() => model.dispose());

const tiny = { virtualTokens: 2, steps: 2, batchSize: 2, evalEvery: 2, evaluateBy: "ranking" } as const;
const bare = { ...tiny, baselines: false } as const;
const rows = [
  { text: "fine food", label: "positive" },
  { text: "cold food", label: "negative" },
  { text: "warm room", label: "positive" },
  { text: "dull room", label: "negative" },
];
const own = {
  rows,
  validationRows: rows,
  template: "sentence: {text}",
  verbalizer: { negative: "negative", positive: "positive" },
};

test("all of them, in order, then the result", async () => {
  const called: string[] = [];
  await tune(model, own, { ...bare, onEvent: ({ kind }) => called.push(kind) });
  const running = eventsOf<TuneEvent, Tuned>((watch) => tune(model, own, { ...bare, ...watch }));
  const kinds: string[] = [];
  for await (const { kind } of running) kinds.push(kind);
  expect(kinds).toEqual(called);
  await expect(running.result).resolves.toMatchObject({ folder: null });
});

test("without types given, an event's kind says what it has, and the result is the call's", async () => {
  const running = eventsOf((watch) => tune(model, own, { ...bare, ...watch }));
  const told: number[] = [];
  for await (const event of running) if (event.kind === "eval") told.push(event.scores.accuracy!);
  expect(told).toEqual([(await running.result).result.scores.accuracy]);
  const comparing = eventsOf((watch) => compare(model, [own], { ...tiny, seeds: [0], variants: [], ...watch }));
  const labels: string[] = [];
  for await (const event of comparing) if (event.kind === "run") labels.push(event.label);
  expect(labels).toEqual(["PT"]);
});

test("leaving the loop aborts the work; an error of the work ends the loop with it", async () => {
  const running = eventsOf((watch) => tune(model, own, { ...bare, steps: 5000, ...watch }));
  for await (const event of running) if (event.kind === "step") break;
  const { result } = await running.result;
  expect(result.run.reason).toBe("interrupted");
  const failing = eventsOf(async () => {
    throw new Error("no");
  });
  await expect(
    (async () => {
      for await (const _ of failing) throw new Error("an event came");
    })(),
  ).rejects.toThrow("no");
});

test("many events that are read late come in order, however many wait", async () => {
  // an array's shift takes minutes for so many
  const count = 400_000;
  const running = eventsOf<number, void>(async ({ onEvent }) => {
    for (let n = 0; n < count; n++) onEvent(n);
  });
  await running.result;
  let read = 0;
  for await (const event of running) {
    if (event !== read) throw new Error(`event ${event} came as the ${read}th`);
    read++;
  }
  expect(read).toBe(count);
});
