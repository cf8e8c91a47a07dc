/** @file The training loop on a fake engine: what it asks for, in which order, and what it must never do. */
import { describe, expect, test } from "vitest";
import { fakeConfig, fakeEngine, fakeRows, fakeTask, fakeTokenizer } from "../../test/helpers/fake-engine.js";
import { defaults } from "../base/options.js";
import { random } from "../base/random.js";
import type { Tensor } from "../base/tensor.js";
import { recomputedFlops, stepFlops } from "../engine/flops.js";
import { entryMask, fullMask, maskFromScores } from "../method/mask.js";
import { fullModel, partialModel } from "../model/partial.js";
import { checkIdentity, identityOf } from "./identity.js";
import { prepare } from "./job.js";
import { trainOptions } from "./options.js";
import type { Schedule } from "./stage.js";
import { train } from "./trainer.js";
import type { TrainEvent, TrainInput } from "./types.js";
import { applyUpdate } from "./update.js";

const full = fullModel(fakeConfig);
const half = partialModel(fakeConfig, { depth: 0.5 });
const draw = random(1, "prompt");
const prompt: Tensor = { shape: [4, 8], data: Float32Array.from({ length: 32 }, () => draw.uniform(-0.5, 0.5)) };
const schedule = (stages: Schedule["stages"], more: Partial<Schedule> = {}): Schedule => ({
  name: "test",
  stages,
  resetOptimizerOnGrow: false,
  plateau: null,
  ...more,
});
const settings = { ...defaults(trainOptions), batchSize: 8, microBatchSize: 8, evalEvery: 10, learningRate: 0.1 };

function input(more: Partial<TrainInput> = {}): TrainInput & {
  events: TrainEvent[];
  of: <K extends TrainEvent["kind"]>(kind: K) => Extract<TrainEvent, { kind: K }>[];
} {
  const events: TrainEvent[] = [];
  return {
    engine: fakeEngine(),
    tokenizer: fakeTokenizer,
    task: fakeTask,
    train: fakeRows(32),
    validation: fakeRows(40, "validation.jsonl"),
    parameters: { prompt },
    mask: null,
    schedule: schedule([{ partial: full, steps: 40 }]),
    settings,
    run: null,
    observe: (event) => events.push(event),
    ...more,
    events,
    of: (kind) => events.filter((e) => e.kind === kind) as never,
  };
}

test("a stage's rate multiplies the schedule's, and a run of other rates is not gone on with", async () => {
  const linear = { ...settings, learningRateSchedule: "linear" as const };
  const rates = async (first: number | undefined) => {
    const stages: Schedule["stages"] = [
      { partial: half, steps: 4, ...(first !== undefined && { rate: first }) },
      { partial: full, steps: 4, rate: 0.25 },
    ];
    const job = input({ settings: linear, schedule: schedule(stages) });
    await train(job);
    return { rates: job.of("step").map(({ learningRate }) => learningRate), facts: await identityOf(job) };
  };
  const two = await rates(2);
  const falling = Array.from({ length: 8 }, (_, n) => 0.1 * (1 - n / 8));
  for (const [n, rate] of two.rates.entries()) expect(rate).toBeCloseTo(falling[n]! * (n < 4 ? 2 : 0.25), 12);
  const one = await rates(undefined);
  expect(one.rates[0]).toBeCloseTo(0.1, 12);
  expect(() => checkIdentity(one.facts, two.facts, "here")).toThrow(/stage 1\.rate/);
  expect(one.facts).not.toHaveProperty(["schedule.stage 1.rate"]);
});

test("a stage of no steps is passed over: its model is not trained on", async () => {
  const steps = async (...counts: number[]) => {
    const [first, ...rest] = counts.map((steps, i) => ({ partial: i === counts.length - 1 ? full : half, steps }));
    const result = await train(input({ schedule: schedule([first!, ...rest]) }));
    return result.cost.perStage.map((stage) => stage.steps);
  };
  expect(await steps(0, 0, 6)).toEqual([0, 0, 6]);
  expect(await steps(3, 0, 3)).toEqual([3, 0, 3]);
  expect(await steps(3, 0)).toEqual([3]);
});

test.each<[string, Partial<TrainInput>, RegExp]>([
  ["no rows in a batch", { settings: { ...settings, batchSize: -1 } }, /batchSize.*\n.*at least 1.*\n.*-1/],
  ["no rows in a pass", { settings: { ...settings, microBatchSize: 0 } }, /microBatchSize/],
  ["a rate that is no number", { settings: { ...settings, learningRate: Number.NaN } }, /learningRate/],
  [
    "a setting left out",
    { settings: { ...settings, evalEvery: undefined as unknown as number } },
    /evalEvery is missing/,
  ],
  ["steps that are no number", { schedule: schedule([{ partial: full, steps: Number.NaN }]) }, /stage 1: .*\n.*steps/],
  ["half a step", { schedule: schedule([{ partial: full, steps: 2.5 }]) }, /2\.5/],
  ["fewer steps than none", { schedule: schedule([{ partial: full, steps: -3 }]) }, /-3/],
  ["no stage", { schedule: schedule([] as unknown as Schedule["stages"]) }, /one stage or more/],
  ["a rate below 0", { schedule: schedule([{ partial: full, steps: 3, rate: -1 }]) }, /a rate of 0 or more/],
  [
    "a plateau that is over at once",
    { schedule: schedule([{ partial: full, steps: 3 }], { plateau: { patience: 0, minDelta: 0 } }) },
    /patience of 1/,
  ],
])("refused before the first step: %s", async (_, more, problem) => {
  const job = input(more);
  await expect(train(job)).rejects.toMatchObject({ kind: "usage", message: expect.stringMatching(problem) });
  expect(job.events).toEqual([]);
});

test("the kept prompt is chosen by the first metric, or by the mean of all where the task says so", async () => {
  const labels = [..."nnnnnnyyyy"].map((c) => (c === "n" ? "no" : "yes"));
  const validation = fakeRows(10, "validation.jsonl").map((row, n) => {
    const target = fakeTask.verbalizer![labels[n]!]!;
    return { ...row, label: labels[n]!, target, references: [target] };
  });
  // accuracy and F1 of always no: 0.6 and 0; of always yes: 0.4 and 4/7
  let evaluations = 0;
  const engine = {
    ...fakeEngine(),
    score: async () => {
      const yes = evaluations === 1;
      return {
        run: async (_: unknown, rows: readonly unknown[]) =>
          rows.map(() => Float64Array.of(yes ? -2 : -1, yes ? -1 : -2)),
      };
    },
  };
  const task = { ...fakeTask, metrics: ["accuracy", "f1"] as const };
  const stages: Schedule["stages"] = [{ partial: full, steps: 20 }];
  const chosen = async (selectBy: "first" | "mean") => {
    evaluations = 0;
    const more = { engine, validation, schedule: schedule(stages), settings: { ...settings, microBatchSize: 8 } };
    const observe = (event: TrainEvent) => {
      if (event.kind === "eval") evaluations++;
    };
    const { best, bestOnFull } = await train(input({ ...more, task: { ...task, selectBy }, observe }));
    expect(bestOnFull).toEqual(best);
    return best;
  };
  expect(await chosen("first")).toMatchObject({ step: 10, scores: { accuracy: 0.6, f1: 0 } });
  expect(await chosen("mean")).toMatchObject({ step: 20, scores: { accuracy: 0.4 } });
});

test("dead entries are exactly zero even under an optimizer that moves every entry, and their gradient counts for nothing", () => {
  const tensor = (...data: number[]): Tensor => ({ shape: [1, 4], data: Float32Array.from(data) });
  const state = { step: 0, tensors: {} };
  const seen: Tensor[] = [];
  const restless = {
    name: "restless",
    init: () => state,
    update: (parameters: Tensor, gradient: Tensor) => {
      seen.push(gradient);
      return { parameters: { shape: parameters.shape, data: parameters.data.map((v) => v + 1) }, state };
    },
  };
  const step = { learningRate: 1, clip: 0, live: Float32Array.of(1, 0, 1, 0) };
  const found = applyUpdate(
    { gradients: { prompt: tensor(3, 50, 4, 50) }, loss: 1 },
    { prompt: tensor(1, 0, 2, 0) },
    state,
    restless,
    step,
  );
  expect(found).toMatchObject({ parameters: { prompt: tensor(2, 0, 3, 0) }, norm: 5 });
  expect(seen).toEqual([tensor(3, 0, 4, 0)]);
});

test("a capped evaluation scores the same rows whatever the seed", () => {
  const scored = (seed: number) =>
    prepare(input({ settings: { ...settings, maxEvalRows: 7, seed } })).validation.rows.map(({ id }) => id);
  expect(scored(0).length).toBe(7);
  for (const seed of [1, 2, 3]) expect(scored(seed)).toEqual(scored(0));
});

describe("vanilla", () => {
  test("learns: the loss falls, the score rises, the best is an evaluation of the full model", async () => {
    const job = input();
    const result = await train(job);
    const losses = job.of("step").map((e) => e.loss);
    expect(losses.length).toBe(40);
    expect(losses.at(-1)!).toBeLessThan(losses[0]! / 10);
    expect(job.of("eval").map((e) => e.step)).toEqual([10, 20, 30, 40]);
    expect(result.best.scores.accuracy).toBeGreaterThan(job.of("eval")[0]!.scores.accuracy!);
    expect(result.bestOnFull).toEqual(result.best);
    expect(result.reason).toBe("steps");
    expect(result.steps).toBe(40);
    expect(job.events[0]).toMatchObject({ kind: "start", totalSteps: 40, step: 0, stages: 1 });
    expect(job.events.at(-1)).toMatchObject({ kind: "end", reason: "steps", step: 40 });
  });

  test("the start prompt is not written to, and one seed gives the same bytes twice", async () => {
    const before = prompt.data.slice();
    const one = await train(input());
    const two = await train(input());
    expect(prompt.data).toEqual(before);
    expect(two.last).toEqual(one.last);
    expect((await train(input({ settings: { ...settings, seed: 1 } }))).last).not.toEqual(one.last);
  });

  test.each([1, 3, 5])("micro-batches of %i give the update of the whole batch", async (microBatchSize) => {
    const whole = await train(input());
    const job = input({ settings: { ...settings, microBatchSize } });
    const parts = await train(job);
    expect(Math.max(...(job.engine as ReturnType<typeof fakeEngine>).passes)).toBe(microBatchSize);
    // rows are summed in float64: only the fake engine's own float32 losses differ in order
    const worst = Math.max(...parts.last.prompt!.data.map((v, n) => Math.abs(v - whole.last.prompt!.data[n]!)));
    expect(worst).toBeLessThan(1e-6);
    expect(parts.history.map((h) => h.scores)).toEqual(whole.history.map((h) => h.scores));
  });

  test("ties take the later step as best (new best if ≥); patience wants strictly better", async () => {
    const flat = { ...fakeTask, metrics: ["accuracy"] as const };
    const engine = fakeEngine();
    const never = {
      ...engine,
      score: async () => ({
        run: async (_: unknown, rows: readonly unknown[]) => rows.map(() => Float64Array.of(-1, -2)),
      }),
    };
    const job = input({ engine: never, task: flat, settings: { ...settings, patience: 2 } });
    const result = await train(job);
    expect(result.reason).toBe("patience");
    expect(result.steps).toBe(30);
    expect(result.best.step).toBe(30);
    expect(job.of("eval").every((e) => e.best)).toBe(true);
  });

  test("evalEvery 0 evaluates once per pass over the rows, and at the end", async () => {
    const job = input({ settings: { ...settings, evalEvery: 0 }, schedule: schedule([{ partial: full, steps: 10 }]) });
    await train(job);
    expect(job.of("eval").map((e) => e.step)).toEqual([4, 8, 10]);
  });

  test("the best is scored on the model it was trained on; the last word of the full model is kept apart", async () => {
    const engine = fakeEngine();
    // on the full model everything is right, on the partial one nothing
    engine.score = async (partial = full) => ({
      run: async (_, rows) => {
        const gold = partial.name === "full" ? 0 : -2;
        return rows.map((row) => Float64Array.from(row.choices!, (_, c) => (c === row.gold ? gold : -1)));
      },
    });
    const { best, bestOnFull } = await train(input({ engine, schedule: schedule([{ partial: half, steps: 20 }]) }));
    expect(bestOnFull).toMatchObject({ step: 20, scores: { accuracy: 1 } });
    expect(best).toMatchObject({ step: 20, scores: { accuracy: 0 } });
  });

  test("without validation rows the last prompt is the best", async () => {
    const result = await train(input({ validation: [] }));
    expect(result.best).toEqual({ parameters: result.last, step: 40, scores: {} });
    expect(result.bestOnFull).toBeNull();
  });

  test("prompts of asked steps are kept, the start among them", async () => {
    const result = await train(input({ keep: [0, 7, 40] }));
    expect([...result.kept.keys()]).toEqual([0, 7, 40]);
    expect(result.kept.get(0)).toEqual({ prompt });
    expect(result.kept.get(40)).toEqual(result.last);
  });

  test("costs: FLOPs are those of the padded passes, stages add up", async () => {
    const job = input({ train: fakeRows(8), schedule: schedule([{ partial: full, steps: 3 }]) });
    const { cost } = await train(job);
    const T = Math.max(...job.train.map((row) => row.input.length)) + 1;
    const each = stepFlops(fakeConfig, full, { batch: 8, prompt: 4, input: T, target: 6 });
    expect(cost.trainFlops).toBe(3 * each.total);
    expect(cost.paperFlops).toBe(3 * each.paper);
    expect(cost.evalFlops).toBeGreaterThan(0);
    expect(cost.flops).toBe(cost.trainFlops + cost.evalFlops);
    expect(cost.perStage).toMatchObject([{ partial: "full", steps: 3, flops: cost.trainFlops }]);
    expect(cost.recomputedFlops).toBeUndefined();
    // with little memory it costs the same, and what is computed again stands beside it
    const engine = fakeEngine({ options: { lowMemory: true } });
    const again = await train(input({ ...job, engine }));
    expect(again.cost).toMatchObject({ trainFlops: cost.trainFlops, paperFlops: cost.paperFlops });
    const shape = { batch: 8, prompt: 4, input: T, target: 6 };
    expect(again.cost.recomputedFlops).toBe(3 * recomputedFlops(fakeConfig, full, shape));
    expect(again.cost.perStage[0]!.recomputedFlops).toBe(again.cost.recomputedFlops);
  });
});

describe("schedules", () => {
  const two = schedule([
    { partial: half, steps: 15 },
    { partial: full, steps: 25 },
  ]);

  test("growth: stages in order, the old partial released, evaluations with the current model and at each stage's end", async () => {
    const job = input({ schedule: two });
    const result = await train(job);
    expect(job.of("stage").map(({ step, stage, partial }) => [step, stage, partial])).toEqual([
      [0, 0, half.name],
      [15, 1, "full"],
    ]);
    expect(job.of("eval").map(({ step, partial }) => [step, partial])).toEqual([
      [10, half.name],
      [15, half.name],
      [20, "full"],
      [30, "full"],
      [40, "full"],
    ]);
    expect((job.engine as ReturnType<typeof fakeEngine>).calls).toEqual([
      `train ${half.name}`,
      `score ${half.name}`,
      `release ${half.name}`,
      "train full",
      "score full",
    ]);
    expect(result.cost.perStage.map(({ partial, steps }) => [partial, steps])).toEqual([
      [half.name, 15],
      ["full", 25],
    ]);
    expect(result.bestOnFull!.step).toBeGreaterThan(15);
  });

  test("growth leaves prompt and optimizer state untouched: two stages of one model are one stage, bit for bit", async () => {
    const one = await train(input());
    const cut = await train(
      input({
        schedule: schedule([
          { partial: full, steps: 15 },
          { partial: full, steps: 25 },
        ]),
      }),
    );
    expect(cut.last).toEqual(one.last);
    const reset = await train(
      input({
        schedule: schedule(
          [
            { partial: full, steps: 15 },
            { partial: full, steps: 25 },
          ],
          { resetOptimizerOnGrow: true },
        ),
      }),
    );
    expect(reset.last).not.toEqual(one.last);
  });

  test("a partial model alone is evaluated on the full model at the end", async () => {
    const result = await train(input({ schedule: schedule([{ partial: half, steps: 10 }]) }));
    expect(result.history.map(({ step, partial }) => [step, partial])).toEqual([
      [10, half.name],
      [10, "full"],
    ]);
    expect(result.bestOnFull!.step).toBe(10);
  });

  test("plateau: grows when the score has been flat for `patience` evaluations, the last stage takes what is left", async () => {
    const engine = fakeEngine();
    const flatOnHalf: TrainInput["engine"] = {
      ...engine,
      score: async (partial) =>
        partial?.name === half.name
          ? { run: async (_, rows) => rows.map(() => Float64Array.of(-1, -2)) }
          : engine.score(partial),
    };
    const job = input({
      engine: flatOnHalf,
      settings: { ...settings, evalEvery: 5 },
      schedule: schedule(
        [
          { partial: half, steps: 30 },
          { partial: full, steps: 10 },
        ],
        { plateau: { patience: 2, minDelta: 0.01 } },
      ),
    });
    const result = await train(job);
    expect(job.of("stage").map((e) => e.step)).toEqual([0, 15]);
    expect(result.steps).toBe(40);
    expect(result.cost.perStage.map((s) => s.steps)).toEqual([15, 25]);
  });
});

describe("masks", () => {
  const scores = { tokens: [4, 3, 2, 1], pieces: Float32Array.from({ length: 16 }, (_, n) => n % 5) };
  const mask = maskFromScores(scores, { tokensPruned: 1, piecesPruned: 2 });

  test.each(["adafactor", "adamw", "sgd"] as const)(
    "%s: pruned entries are exactly +0 from first to last, live ones move",
    async (optimizer) => {
      const learningRate = optimizer === "adafactor" ? 0.1 : 0.5;
      const keep = Array.from({ length: 41 }, (_, n) => n);
      const { kept, best } = await train(
        input({
          mask,
          keep: keep.slice(1),
          settings: { ...settings, optimizer, learningRate, weightDecay: 0.1, momentum: 0.9 },
        }),
      );
      const live = entryMask(mask, 8);
      expect(live.includes(0)).toBe(true);
      for (const { data } of [...kept.values(), best.parameters].map((p) => p.prompt!))
        expect(data.every((v, n) => (live[n] ? v !== prompt.data[n] && v !== 0 : Object.is(v, 0)))).toBe(true);
    },
  );

  test("all ones and no mask give the same bytes", async () => {
    const one = await train(input());
    const two = await train(input({ mask: fullMask(4, 4) }));
    expect(two.last).toEqual(one.last);
    expect(two.history.map((h) => [h.loss, h.scores])).toEqual(one.history.map((h) => [h.loss, h.scores]));
  });

  test("dead entries do not count in the norm that is clipped", async () => {
    const job = input({ mask, schedule: schedule([{ partial: full, steps: 1 }]) });
    await train(job);
    const whole = input({ schedule: schedule([{ partial: full, steps: 1 }]) });
    await train(whole);
    expect(job.of("step")[0]!.gradientNorm).toBeLessThan(whole.of("step")[0]!.gradientNorm);
  });

  test("a mask that leaves nothing is refused", async () => {
    const empty = { ...mask, tokens: new Uint8Array(4) };
    await expect(train(input({ mask: empty }))).rejects.toMatchObject({ kind: "usage" });
  });
});

describe("numbers that go wrong", () => {
  test.each(["loss", "gradient"] as const)(
    "a %s that is not finite skips the step and is counted; the prompt stays",
    async (what) => {
      let passes = 0;
      const engine = fakeEngine({ poison: () => (++passes === 5 || passes === 9 ? what : null) });
      const job = input({ engine, keep: [4, 5] });
      const result = await train(job);
      expect(result.skipped).toBe(2);
      expect(result.steps).toBe(40);
      expect(job.of("skip").map((e) => e.step)).toEqual([5, 9]);
      expect(job.of("skip")[0]!.rows.length).toBe(8);
      expect(job.of("step").length).toBe(38);
      expect(result.kept.get(4)).toBeDefined();
    },
  );

  test("three in a row stop the run and name the rows", async () => {
    let passes = 0;
    const engine = fakeEngine({ poison: () => (++passes >= 5 ? "gradient" : null) });
    const job = input({ engine });
    await expect(train(job)).rejects.toMatchObject({ kind: "numeric", exitCode: 8 });
    expect(job.of("skip").map((e) => e.step)).toEqual([5, 6, 7]);
    await expect(train(input({ engine }))).rejects.toThrow(job.of("skip")[2]!.rows[0]!.split(":")[0]!);
  });

  test("a training that changes nothing stops at the first step", async () => {
    await expect(train(input({ engine: fakeEngine({ deaf: true }) }))).rejects.toThrow(/nothing is being learnt/);
    await expect(train(input({ settings: { ...settings, learningRate: 0 } }))).rejects.toMatchObject({
      kind: "numeric",
    });
  });

  test("a prompt of another width, no training rows, a label that is none: refused", async () => {
    await expect(
      train(input({ parameters: { prompt: { shape: [4, 6], data: new Float32Array(24) } } })),
    ).rejects.toThrow(/\[tokens, 8\]/);
    await expect(train(input({ train: [] }))).rejects.toMatchObject({ kind: "data" });
    const rows = [{ ...fakeRows(1)[0]!, label: "maybe" }];
    await expect(train(input({ train: rows }))).rejects.toThrow(/train\.jsonl:1[\s\S]*no, yes/);
  });
});

describe("interruption in memory", () => {
  test("finishes the step and returns", async () => {
    const abort = new AbortController();
    let passes = 0;
    const engine = fakeEngine({ before: () => void (++passes === 7 && abort.abort()) });
    const result = await train(input({ engine, signal: abort.signal }));
    expect(result).toMatchObject({ reason: "interrupted", steps: 7 });
  });
});
