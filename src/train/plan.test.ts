/** @file What a plan makes of a task: label tasks keep the decoder whole (fpt.md §3.1), also where each row brings its own answers. */
import { expect, test } from "vitest";
import { fakeEngine, fakeRows, fakeTask, fakeTokenizer } from "../../test/helpers/fake-engine.js";
import { defaults } from "../base/options.js";
import type { Row, Task } from "../data/row.js";
import { neuronScoreOptions } from "./neuron-scores.js";
import { trainOptions } from "./options.js";
import { planSchedule } from "./plan.js";
import { scheduleOptions } from "./schedule-options.js";

const wordless: Task = { ...fakeTask, verbalizer: null };
const choosing = (rows: readonly Row[]) => rows.map((row) => ({ ...row, choices: { no: "False", yes: "True" } }));

test.each<[string, Task, readonly Row[], number]>([
  ["label words", fakeTask, fakeRows(8), 4],
  ["answers of each row's own (COPA)", wordless, choosing(fakeRows(8)), 4],
  ["free text", wordless, fakeRows(8), 2],
])("%s: half the depth leaves the decoder so many layers", async (_, task, train, layers) => {
  const options = {
    ...{ ...defaults(trainOptions), ...defaults(neuronScoreOptions), ...defaults(scheduleOptions) },
    ...{ schedule: "custom" as const, depths: [0.5], stageFractions: [0.5], steps: 10 },
  };
  const where = { promptLength: 4, folder: null };
  const { schedule } = await planSchedule(
    fakeEngine(),
    fakeTokenizer,
    { task, train, validation: train },
    options,
    where,
  );
  expect(schedule.stages[0].partial.decoder.layers.length).toBe(layers);
  expect(schedule.stages[0].partial.encoder.layers.length).toBe(2);
});
