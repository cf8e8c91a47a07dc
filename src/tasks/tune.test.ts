/** @file One tuning on the fake engine: the frozen weights are looked at again, signals are obeyed, costs are added up. */
import { appendFileSync, cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { fakeConfig, fakeEngine, fakeRows, fakeTask, fakeTokenizer } from "../../test/helpers/fake-engine.js";
import { scratch } from "../../test/helpers/job.js";
import { adapterBase, saveAdapter } from "../adapter/adapter.js";
import type { Dataset } from "../data/row.js";
import { evaluationFlops, prepareEvaluation } from "../evaluate/evaluate.js";
import { type Checkpoint, openCheckpoint } from "../model/checkpoint.js";
import { fullModel } from "../model/partial.js";
import type { Model } from "./model.js";
import { predict } from "./predict.js";
import { type TuneEvent, tune } from "./tune.js";

const root = scratch("tune");
afterAll(() => rmSync(root, { recursive: true, force: true }));
const tiny = fileURLToPath(new URL("../../test/fixtures/tiny-t5-v11", import.meta.url));
const drawn = Float32Array.from({ length: 32 }, (_, n) => Math.sin(n));
const prompt = { shape: [4, 8], data: drawn };
const data: Dataset = {
  task: fakeTask,
  train: fakeRows(16),
  validation: fakeRows(20, "validation.jsonl"),
  test: [],
  files: [],
  skipped: 0,
};
const options = { virtualTokens: 4, steps: 6, batchSize: 8, microBatchSize: 2, evalEvery: 3, baselines: false };

const modelOf = (checkpoint: Partial<Checkpoint>, engine = fakeEngine()): Model => ({
  checkpoint: { ...engine.checkpoint, parameters: 1000, ...checkpoint },
  tokenizer: fakeTokenizer,
  engine,
  device: "cpu",
  dispose: async () => {},
});

test("weights that change on disk during the training are found out, though their digest was taken before", async () => {
  const folder = join(root, "base");
  cpSync(tiny, folder, { recursive: true });
  const real = await openCheckpoint(folder);
  // its digest is that of real files; all else is the engine's, which is no model
  const { readRows } = modelOf({}).checkpoint;
  const model = modelOf({ ...real, config: fakeConfig, readRows });
  const change = (event: { kind: string; step?: number }) => {
    if (event.kind === "step" && event.step === 4) appendFileSync(join(folder, "model.safetensors"), "x");
  };
  await expect(tune(model, data, { ...options, prompt, onEvent: change })).rejects.toMatchObject({
    kind: "checkpoint",
    problem: expect.stringContaining("changed during the run"),
  });
});

describe("what options alone make impossible is refused before anything is scored, and claims no folder", () => {
  test.each<[string, object, RegExp]>([
    ["a custom schedule without sizes", { schedule: "custom" }, /needs the sizes of its stages/],
    ["a size the model has not", { schedule: "custom", depths: [9] }, /cannot keep 9 of 4 layers/],
    ["stages of more than all steps", { schedule: "fpt-ld", stageFractions: [0.5, 0.5, 0.5] }, /add up/],
    ["a budget that cannot be met", { schedule: "fpt-cr", budget: 0.01 }, /cannot spend so little/],
    ["text to start from that is not given", { init: "text" }, /init text needs initText/],
  ])("%s", async (name, more, message) => {
    const output = join(root, name.replaceAll(" ", "-"));
    const told: string[] = [];
    const observe = ({ kind }: { kind: string }) => told.push(kind);
    const start = (given: object) =>
      tune(modelOf({}), data, { ...options, init: "uniform", ...given, output, onEvent: observe });
    await expect(start({ baselines: true, ...more })).rejects.toMatchObject({
      kind: "usage",
      message: expect.stringMatching(message),
    });
    expect(told).toEqual([]);
    expect(existsSync(output)).toBe(false);
    expect((await start({})).result.run.steps).toBe(6);
  });
});

test.each([
  [{ resume: true }, /nothing to resume.*output, the folder/s],
  [{ further: true, output: join(root, "new") }, /further has no effect.*resume as well/s],
])("a resume that would begin anew is refused: %j", async (more, problem) => {
  await expect(tune(modelOf({}), data, { ...options, ...more, prompt })).rejects.toThrow(problem);
  await expect(tune(modelOf({}), data, { ...options, ...more, prompt })).rejects.toMatchObject({ kind: "usage" });
});

test.each([
  [{ virtualTokens: 5 }, /not as long as virtualTokens says.*5 virtual tokens.*4/s],
  [{ method: "lora" as const }, /no effect here.*starts from a prompt.*method lora/s],
  [{ method: "superpos" as const }, /no effect here.*method superpos/s],
])("a start prompt that would not be used is refused: %j", async (more, problem) => {
  const { virtualTokens: _, ...rest } = options;
  await expect(tune(modelOf({}), data, { ...rest, ...more, prompt })).rejects.toThrow(problem);
});

test("a folder in which nothing was trained yet is begun anew; one step later it holds a run", async () => {
  const output = join(root, "anew");
  const begin = (stopAt: string, more = {}) => {
    const stop = new AbortController();
    const observe = ({ kind }: { kind: string }) => kind === stopAt && stop.abort("SIGINT");
    const configText = JSON.stringify(more);
    return tune(modelOf({}), data, {
      ...options,
      ...more,
      output,
      prompt,
      onEvent: observe,
      signal: stop.signal,
      configText,
    });
  };
  const config = () => readFileSync(join(output, "config.yaml"), "utf8");
  await expect(begin("work", { baselines: true })).rejects.toMatchObject({ kind: "interrupted" });
  expect(config()).toBe('{"baselines":true}');
  expect((await begin("step", { steps: 5 })).result.run.reason).toBe("interrupted");
  expect(config()).toBe('{"steps":5}');
  await expect(begin("never")).rejects.toThrow(/already holds a run/);
  // metrics or snapshots beside a run.json that says nothing are somebody's, whatever it says
  writeFileSync(join(output, "run.json"), '{"format":1,"identity":null}');
  await expect(begin("never")).rejects.toThrow(/already holds a run/);
});

test("a resume takes the frozen model's score from the folder, with its cost; changed options are refused before anything is scored", async () => {
  const output = join(root, "kept-score");
  const given = { ...options, baselines: true, output };
  const told: string[] = [];
  const go = async (resume: boolean, more: object, stopAt?: string) => {
    told.length = 0;
    const stop = new AbortController();
    const observe = (event: TuneEvent) => {
      if (event.kind === "work") told.push(event.what);
      if (event.kind === stopAt) stop.abort("SIGINT");
    };
    return (await tune(modelOf({}), data, { ...given, ...more, prompt, onEvent: observe, signal: stop.signal, resume }))
      .result;
  };
  const scored = (what: string) => told.filter((work) => work.startsWith(`scoring ${what}`)).length;
  expect((await go(false, {}, "step")).run.reason).toBe("interrupted");
  expect(scored("the frozen model")).toBe(1);
  await expect(go(true, { learningRate: 0.1 })).rejects.toThrow(/learningRate/);
  await expect(go(true, { maxInputTokens: 7 })).rejects.toThrow(/maxInputTokens/);
  expect(told).toEqual([]);
  const resumed = await go(true, {});
  expect([scored("the frozen model"), scored("the kept prompt")]).toEqual([0, 1]);
  const whole = await go(false, { output: join(root, "kept-score-whole") });
  expect(scored("the frozen model")).toBe(1);
  expect(resumed.baseline).toEqual(whole.baseline);
  expect(resumed.cost.flops).toBe(whole.cost.flops);
  // a damaged file is no score
  const kept = join(output, "no-prompt.json");
  writeFileSync(kept, readFileSync(kept, "utf8").replace(/"flops":\d/, '"flops":x'));
  expect((await go(true, {})).baseline).toEqual(whole.baseline);
  expect(scored("the frozen model")).toBe(1);
});

describe("a finished run that is made longer", () => {
  const finished = async (name: string) => {
    const output = join(root, name);
    await tune(modelOf({}), data, { ...options, output, prompt, configText: "steps: 6\n" });
    return output;
  };
  const contentOf = (folder: string, names: readonly string[]) =>
    names.map((name) => readFileSync(join(folder, name), "latin1"));
  const begun = ["run.json", "config.yaml", "metrics.jsonl", "result.json", "adapter/adapter_model.safetensors"];

  test("with another input it is refused before anything is written or scored", async () => {
    const output = await finished("longer-changed");
    const before = [contentOf(output, begun), readdirSync(join(output, "snapshots"))];
    const told: string[] = [];
    const further = { ...options, output, prompt, resume: true, further: true, steps: 9, configText: "steps: 9\n" };
    const given = { ...further, baselines: true, onEvent: ({ kind }: TuneEvent) => told.push(kind) };
    await expect(tune(modelOf({}), data, { ...given, learningRate: 9 })).rejects.toThrow(/learningRate/);
    await expect(tune(modelOf({}), data, { ...given, evalEvery: 0 })).rejects.toThrow(/evalEvery/);
    expect(told).not.toContain("work");
    expect([contentOf(output, begun), readdirSync(join(output, "snapshots"))]).toEqual(before);
  });

  test("interrupted, it keeps the adapter that belongs to its result; then it ends as the long run does", async () => {
    const output = await finished("longer-stopped");
    const kept = begun.slice(3);
    const before = contentOf(output, kept);
    const further = { ...options, output, prompt, resume: true, further: true, steps: 9, configText: "steps: 9\n" };
    const stop = new AbortController();
    const observe = (event: TuneEvent) => {
      if (event.kind === "step" && event.step === 8) stop.abort("SIGINT");
    };
    const { result } = await tune(modelOf({}), data, { ...further, signal: stop.signal, onEvent: observe });
    expect(result.run).toMatchObject({ reason: "interrupted", steps: 8 });
    expect(contentOf(output, kept)).toEqual(before);
    expect(readFileSync(join(output, "config.yaml"), "utf8")).toBe("steps: 9\n");
    await tune(modelOf({}), data, { ...options, steps: 9, output, prompt, resume: true });
    const whole = join(root, "longer-whole");
    const { result: long } = await tune(modelOf({}), data, { ...options, steps: 9, output: whole, prompt });
    expect(contentOf(output, kept.slice(1))).toEqual(contentOf(whole, kept.slice(1)));
    expect(long.cost.flops).toBe(JSON.parse(readFileSync(join(output, "result.json"), "utf8")).cost.flops);
  });

  test("where evaluations come once per pass and its end is between two, it goes on and says so", async () => {
    const given = { ...options, evalEvery: 0, steps: 3, prompt, output: join(root, "longer-passes") };
    await tune(modelOf({}), data, given);
    const said: string[] = [];
    const onEvent = (event: { readonly kind: string; readonly message?: string }) => {
      if (event.kind === "warning") said.push(event.message!);
    };
    const { result } = await tune(modelOf({}), data, { ...given, resume: true, further: true, steps: 8, onEvent });
    expect(said.join()).toMatch(/after step 3.*every 2 steps/);
    expect(result.run.steps).toBe(8);
  });
});

test("every evaluation takes passes of four micro-batches, the first and the last as well", async () => {
  const engine = fakeEngine();
  const sizes: number[] = [];
  const score = engine.score;
  engine.score = async (partial) => {
    const { run } = await score(partial);
    return {
      run: (feed, rows) => {
        sizes.push(rows.length);
        return run(feed, rows);
      },
    };
  };
  await tune(modelOf({}, engine), data, { ...options, baselines: true, prompt });
  expect(Math.max(...sizes)).toBe(8);
});

describe("signals", () => {
  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("%s while the frozen model is scored exits with %i, and a resume goes on", async (reason, exitCode) => {
    const output = join(root, reason);
    const stop = new AbortController();
    const told: string[] = [];
    const observe = (event: { kind: string }) => {
      told.push(event.kind);
      if (event.kind === "work") stop.abort(reason);
    };
    const given = { ...options, baselines: true, output };
    await expect(
      tune(modelOf({}), data, { ...given, prompt, signal: stop.signal, onEvent: observe }),
    ).rejects.toMatchObject({
      kind: "interrupted",
      exitCode,
      // rows of a program are in no file that a command could read
      parts: { hint: "the same call with resume: true" },
      cause: reason,
    });
    expect(told).not.toContain("step");
    const { result } = await tune(modelOf({}), data, { ...given, prompt, resume: true });
    expect(result.run).toMatchObject({ reason: "steps", steps: 6 });
    expect(existsSync(join(output, "result.json"))).toBe(true);
  });

  test("predict says which signal it was", async () => {
    const signal = AbortSignal.abort("SIGTERM");
    const { adapter } = await tune(modelOf({}), data, { ...options, prompt });
    await expect(predict(modelOf({}), adapter, ["a"], { signal })).rejects.toMatchObject({
      kind: "interrupted",
      exitCode: 143,
    });
  });
});

test("the total holds training, evaluation and neuron scores", async () => {
  const engine = fakeEngine();
  const { encoderLayers: L, feedForwardWidth: F } = fakeConfig;
  engine.activations = async () => ({
    run: async (_, { size }) => ({
      encoder: Float32Array.from({ length: size * L * F }, (_, n) => n % F),
      decoder: new Float32Array(size * L * F),
    }),
  });
  const given = { ...options, schedule: "fpt-fr", stageSteps: [1, 1, 1] } as const;
  const { cost } = (await tune(modelOf({}, engine), data, { ...given, prompt })).result;
  expect(cost.scoringFlops).toBeGreaterThan(0);
  expect(cost.flops).toBe(cost.trainFlops + cost.evalFlops + cost.scoringFlops);
});

test("a start prompt that is given is planned for and recorded by its own length", async () => {
  const grow = {
    ...options,
    prompt,
    schedule: "fpt-ld",
    budget: 0.8,
    budgetBy: "total",
    steps: 40,
    evalEvery: 4,
  } as const;
  const [own, other] = await Promise.all(
    [4, 20].map((virtualTokens) => tune(modelOf({}), data, { ...grow, virtualTokens })),
  );
  expect(other!.result.run.options.virtualTokens).toBe(4);
  expect(other!.training.history.map(({ step, flops }) => [step, flops])).toEqual(
    own!.training.history.map(({ step, flops }) => [step, flops]),
  );
  expect(other!.result.cost).toMatchObject({ trainFlops: own!.result.cost.trainFlops });
});

test("a cap bounds the baseline, every evaluation and the final one, all are counted, and all tell how far they are", async () => {
  for (const [given, rows, final] of [
    [{ maxEvalRows: 6 }, 6, 6],
    [{ maxEvalRows: 6, finalEvalRows: 0 }, 6, 20],
    [{ maxEvalRows: 6, finalEvalRows: 9 }, 6, 9],
    [{}, 20, 20],
  ] as const) {
    const seen: number[][] = [];
    const observe = (event: TuneEvent) => {
      if (event.kind === "rows" && event.done === event.total) seen.push([event.done, event.total]);
    };
    const engine = fakeEngine();
    let scored = 0;
    const counting = {
      ...engine,
      score: async (...args: Parameters<typeof engine.score>) => {
        const program = await engine.score(...args);
        return {
          run: (...of: Parameters<typeof program.run>) => {
            scored += of[1].length;
            return program.run(...of);
          },
        };
      },
    };
    const { result, predictions, adapter } = await tune(modelOf({}, counting), data, {
      ...options,
      baselines: true,
      ...given,
      prompt,
      onEvent: observe,
    });
    // baseline, two evaluations of six steps, final
    expect(seen).toEqual([final, rows, rows, final].map((n) => [n, n]));
    expect(scored).toBe(2 * final + 2 * rows);
    expect([result.scoredOn.rows, predictions.length, adapter.scores!.rows]).toEqual([final, final, final]);
    const flops = async (count: number, at: typeof prompt | null) => {
      const prepared = prepareEvaluation(fakeTokenizer, fakeTask, data.validation, {
        maxEvalRows: count,
        batchSize: 8,
      });
      return evaluationFlops(fakeConfig, fullModel(fakeConfig), prepared, at === null ? 0 : 4);
    };
    const [bare, between, last] = [await flops(final, null), await flops(rows, prompt), await flops(final, prompt)];
    expect(result.cost.evalFlops).toBe(bare + 2 * between + last);
    expect(result.cost.flops).toBe(result.cost.trainFlops + result.cost.evalFlops);
  }
});

test("how labels are ranked is recorded in the adapter, and prediction goes by it", async () => {
  const engine = fakeEngine();
  // the first label is one token longer than the second
  const scripted = {
    ...engine,
    score: async () => ({
      run: async (_: unknown, rows: readonly unknown[]) =>
        rows.map(() => Float64Array.of(Math.log(0.1), Math.log(0.13))),
    }),
  };
  const told: (string | null)[] = [];
  for (const ranking of [undefined, "mean"] as const) {
    const output = join(root, `ranking-${ranking}`);
    const { predictions } = await tune(modelOf({}, scripted), data, { ...options, ranking, output, prompt });
    const [answer] = await predict(modelOf({}, scripted), join(output, "adapter"), ["a"]);
    expect(new Set(predictions.map(({ label }) => label))).toEqual(new Set([answer!.label]));
    told.push(answer!.label);
    expect((await predict(modelOf({}, scripted), join(output, "adapter"), ["a"], { ranking: "sum" }))[0]!.label).toBe(
      "yes",
    );
  }
  expect(told).toEqual(["yes", "no"]);
});

test("a prompt of another base model is no start, of the same width neither, unless it is said", async () => {
  const earlier = join(root, "earlier");
  const other = modelOf({ sha256: async () => "9".repeat(64) });
  const { adapter } = await tune(other, data, { ...options, prompt });
  saveAdapter(earlier, { ...adapter, base: await adapterBase(other.checkpoint) });
  const given = { init: "fromPrompt", initFrom: earlier, virtualTokens: 4 } as const;
  const start = (more: object) => tune(modelOf({}), data, { ...options, ...given, ...more });
  await expect(start({})).rejects.toMatchObject({
    kind: "adapter",
    parts: { hint: expect.stringContaining("--init-any-base") },
  });
  const { result, adapter: made } = await start({ initAnyBase: true });
  expect(result.run.steps).toBe(6);
  expect(made.training!.settings).toMatchObject({
    init: "fromPrompt",
    initFrom: expect.stringMatching(/^sha256 \w{64}$/),
  });
});

test("equal runs in two folders leave the same adapter, byte for byte, which tells no folder", async () => {
  const made = ["here", "there"].map((name) => join(root, name));
  for (const output of made) await tune(modelOf({}), data, { ...options, output, prompt });
  const [a, b] = made.map((folder) =>
    readdirSync(join(folder, "adapter")).map((name) => [name, readFileSync(join(folder, "adapter", name), "latin1")]),
  );
  expect(a!.length).toBeGreaterThan(2);
  expect(a).toEqual(b);
  expect(JSON.stringify(a)).not.toContain(root);
  expect(JSON.stringify(a)).toContain("learningRate");
});
