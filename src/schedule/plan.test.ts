/** @file What a plan makes of a task: label tasks keep the decoder whole (fpt.md §3.1), also where each row brings its own answers. */
import { expect, test } from "vitest";
import { fakeConfig, fakeEngine, fakeRows, fakeTask, fakeTokenizer } from "../../test/helpers/fake-engine.js";
import { defaults } from "../base/options.js";
import { declaredTask } from "../data/dataset.js";
import type { Row, Task } from "../data/row.js";
import { stepFlops } from "../engine/flops.js";
import { openMethod } from "../method/methods.js";
import { methodOptions } from "../method/options.js";
import { fullModel, type PartialModel } from "../model/partial.js";
import { trainOptions } from "../train/options.js";
import type { Schedule } from "../train/stage.js";
import { neuronScoreOptions } from "./neuron-options.js";
import { scheduleOptions } from "./options.js";
import { outlineSchedule, planSchedule, scoringBeside, typicalShape } from "./plan.js";

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
  const where = { virtualTokens: 4, folder: null };
  const { schedule } = await planSchedule(
    fakeEngine(),
    fakeTokenizer,
    { task, train, validation: train },
    options,
    where,
  );
  expect(schedule.stages[0].partial.stacks.decoder!.layers.length).toBe(layers);
  expect(schedule.stages[0].partial.stacks.encoder!.layers.length).toBe(2);
});

test.each([
  // spec §3.1: WITH_DECODER of the papers' scripts
  ["mnli", "no", 4],
  ["qqp", "no", 4],
  ["squad2", "yes", 2],
  ["record", "yes", 2],
  ["xsum", "yes", 2],
] as const)("FPT's %s shrinks its decoder: %s", (name, _, layers) => {
  const task = declaredTask(name);
  // rows as each task's files give them: ReCoRD's bring the entities to choose from
  const rows = fakeRows(8).map((row) => (name === "record" ? { ...row, choices: { a: "False", b: "True" } } : row));
  const train =
    task.verbalizer === null ? rows : rows.map((row) => ({ ...row, label: Object.keys(task.verbalizer!)[0]! }));
  const options = {
    ...{ ...defaults(trainOptions), ...defaults(neuronScoreOptions), ...defaults(scheduleOptions) },
    ...{ schedule: "fpt-ld" as const, steps: 10 },
  };
  const dataset = { task, train, validation: train };
  const [first] = outlineSchedule(
    fakeConfig,
    fakeTokenizer,
    dataset,
    { ...options, depths: [0.5] as const, stageFractions: [0.5] },
    4,
  ).stages;
  expect(first.partial.stacks.encoder!.layers.length).toBe(2);
  expect(first.partial.stacks.decoder!.layers.length).toBe(layers);
});

const scored = (more: object) => ({
  ...{ ...defaults(trainOptions), ...defaults(neuronScoreOptions), ...defaults(scheduleOptions) },
  ...{ schedule: "fpt-cr" as const, layerChoice: "score" as const, steps: 40 },
  ...more,
});
const data = { task: fakeTask, train: fakeRows(24), validation: fakeRows(8) };

test("the outline has the steps and sizes of the schedule that scores will fill", async () => {
  const { encoderLayers: L, feedForwardWidth: F } = fakeConfig;
  const engine = fakeEngine();
  engine.activations = async () => ({
    run: async (_, { size }) => ({
      encoder: Float32Array.from({ length: size * L * F }, (_, n) => (n * 7) % F),
      decoder: new Float32Array(size * L * F),
    }),
  });
  const sizes = (schedule: Schedule) =>
    schedule.stages.map(({ partial, steps }) => [
      steps,
      partial.stacks.encoder!.layers.length,
      partial.stacks.encoder!.neurons?.map((kept) => kept.length),
    ]);
  for (const budget of [undefined, 0.8]) {
    const options = scored({ budget });
    const { schedule, scoring, measured } = await planSchedule(engine, fakeTokenizer, data, options, {
      virtualTokens: 4,
      folder: null,
    });
    expect(scoring?.flops).toBeGreaterThan(0);
    expect(measured).toEqual([{ name: "neurons", flops: scoring!.flops, seconds: scoring!.seconds }]);
    expect(sizes(outlineSchedule(fakeConfig, fakeTokenizer, data, options, 4))).toEqual(sizes(schedule));
  }
});

test("a second plan pays for what the first has not measured", () => {
  const of = (...names: string[]) => ({ measured: names.map((name, n) => ({ name, flops: 10 ** n, seconds: n })) });
  const nothing = { flops: 0, seconds: 0 };
  expect(scoringBeside(of("neurons"), of("neurons"))).toEqual(nothing);
  expect(scoringBeside(of(), of("neurons"))).toEqual(nothing);
  // layers are chosen by other passes than neurons are
  expect(scoringBeside(of("neurons"), of("encoder layer 0"))).toEqual({ flops: 1, seconds: 0 });
  // fewer layers than the first plan left: the first drop is read back
  expect(scoringBeside(of("encoder layer 0", "encoder layer 1"), of("encoder layer 0"))).toEqual({
    flops: 10,
    seconds: 1,
  });
});

test.each<[string, object, object]>([
  ["a budget that cannot be met", scored({ budget: 0.01 }), data],
  ["no rows to score on", scored({}), { ...data, validation: [] }],
])("%s: refused before a neuron is scored", async (_, options, rows) => {
  const engine = fakeEngine();
  engine.activations = () => Promise.reject(new Error("the model was run"));
  const plan = planSchedule(engine, fakeTokenizer, rows as typeof data, options as ReturnType<typeof scored>, {
    virtualTokens: 4,
    folder: null,
  });
  await expect(plan).rejects.toMatchObject({ name: "SoftpromptError" });
});

test("a budget is kept in FLOPs of the method that trains, not of a prompt", () => {
  const method = openMethod({ ...defaults(methodOptions), method: "full", virtualTokens: 4, seed: 0 });
  const options = {
    ...{ ...defaults(trainOptions), ...defaults(neuronScoreOptions), ...defaults(scheduleOptions) },
    ...{ schedule: "fpt-cr" as const, neuronChoice: "first" as const, layerChoice: "first" as const },
    ...{ steps: 1000, budget: 0.8, batchSize: 4 },
  };
  const spent = (of: typeof method | undefined) => {
    const { stages } = outlineSchedule(fakeConfig, fakeTokenizer, data, { ...options, trains: of }, 4);
    const shape = typicalShape(fakeConfig, fakeTokenizer, data, options, 0);
    const cost = (partial: PartialModel) => stepFlops(fakeConfig, partial, shape, method)[options.budgetBy];
    const all = stages.reduce((sum, { partial, steps }) => sum + steps * cost(partial), 0);
    return all / (1000 * cost(fullModel(fakeConfig)));
  };
  expect(spent(method)).toBeCloseTo(0.8, 2);
  expect(Math.abs(spent(undefined) - 0.8)).toBeGreaterThan(0.0005);
});
