/**
 * @file XPrompt's studies on an engine without a model: every one runs, says what it claims to say, and repeats nothing.
 */
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { fakeEngine, fakeRows, fakeTask, fakeTokenizer } from "../../test/helpers/fake-engine.js";
import { maskWithin } from "../../test/helpers/masks.js";
import { memoryFolder } from "../../test/helpers/memory-folder.js";
import { SoftpromptError } from "../base/errors.js";
import { defaults } from "../base/options.js";
import type { Tensor } from "../base/tensor.js";
import type { Scores } from "../data/metrics.js";
import type { Dataset } from "../data/row.js";
import { evaluate } from "../evaluate/evaluate.js";
import { complementMask, maskCounts } from "../method/mask.js";
import { fullModel } from "../model/partial.js";
import { type PruneOptions, pruneOptions } from "../prune/options.js";
import type { Search } from "../prune/search.js";
import { neuronScoreOptions } from "../schedule/neuron-options.js";
import { scheduleOptions } from "../schedule/options.js";
import { tensorHash } from "../train/identity.js";
import { trainOptions } from "../train/options.js";
import type { Spread } from "./study.js";
import { type XPromptStudyName, xpromptStudies } from "./xprompt.js";
import { forEachSearch, outcomes } from "./xprompt-runs.js";
import { histogram } from "./xprompt-saliency.js";
import { linesOf, scoreTable } from "./xprompt-tables.js";
import type { Outcome, XPromptStudyInput } from "./xprompt-types.js";
import { pick, rankings, variants } from "./xprompt-variants.js";

const root = memoryFolder("softprompt-studies-");
afterAll(() => rmSync(root, { recursive: true, force: true }));

const dataset = (name: string): Dataset => ({
  task: { ...fakeTask, name },
  train: fakeRows(40, `${name}/train`),
  validation: fakeRows(30, `${name}/validation`),
  test: [],
  files: [],
  skipped: 0,
});

function input(more: Partial<XPromptStudyInput> = {}) {
  const seen = { steps: 0, passes: 0 };
  const watch = { pass: (_count: number) => {} };
  const fake = fakeEngine({ before: () => watch.pass(++seen.passes) });
  const readRows = async (_: string, ids: readonly number[]) => ({
    shape: [ids.length, 8],
    data: Float32Array.from({ length: ids.length * 8 }, (_, n) => Math.sin(ids[n >> 3]! + n)),
  });
  const engine = { ...fake, checkpoint: { ...fake.checkpoint, readRows } };
  const base: XPromptStudyInput = {
    engine,
    tokenizer: fakeTokenizer,
    tasks: [dataset("one"), dataset("two")],
    seeds: [0, 1],
    settings: {
      ...defaults(trainOptions),
      batchSize: 8,
      microBatchSize: 8,
      evalEvery: 4,
      learningRate: 0.05,
      snapshotSeconds: 0,
    },
    schedule: { ...defaults(scheduleOptions), steps: 6, depths: [0.5], stageFractions: [0.5], schedule: "custom" },
    virtualTokens: 4,
    init: { kind: "uniform", range: 0.5 },
    scoring: defaults(neuronScoreOptions),
    prune: {
      ...defaults(pruneOptions),
      pieces: 4,
      tokensPruned: [1, 2],
      piecesPruned: [1, 2],
      workers: 1,
      halvingMinSteps: 2,
      halvingBudget: 0.8,
    },
    folder: null,
    observe: (event) => {
      if (event.kind === "search" && (event.event.kind === "tune" || event.event.kind === "candidate"))
        if (event.event.event.kind === "step") seen.steps++;
    },
    ...more,
  };
  return { input: base, seen, watch };
}
const vanilla = { ...defaults(scheduleOptions), steps: 6 };

describe.each(Object.keys(xpromptStudies) as XPromptStudyName[])("%s", (name) => {
  test("gives rectangular tables of finite numbers, and its notes", async () => {
    const schedule = name === "fpt-xprompt" ? input().input.schedule : vanilla;
    const open: number[] = [];
    const result = await xpromptStudies[name].run(
      input({
        schedule,
        seeds: [0],
        observe: (event) => {
          if (event.kind === "case") open.push(event.left.runs - (event.total - event.index));
        },
      }).input,
    );
    expect(result.study).toBe(name);
    // at the begin of a case it and those behind it are left
    expect(open.length).toBeGreaterThan(0);
    expect(new Set(open)).toEqual(new Set([0]));
    expect(result.tables.length).toBeGreaterThan(0);
    expect(result.notes.length).toBeGreaterThan(0);
    for (const table of result.tables) {
      expect(table.rows.length).toBeGreaterThan(0);
      for (const row of table.rows) {
        expect(row.length).toBe(table.columns.length);
        for (const cell of row) {
          if (typeof cell === "number") expect(Number.isFinite(cell)).toBe(true);
          if (cell !== null && typeof cell === "object") expect(Number.isFinite(cell.mean)).toBe(true);
        }
      }
    }
    for (const chart of result.charts)
      for (const { points } of chart.series) expect(points.flat().every(Number.isFinite)).toBe(true);
    for (const { values, columns } of result.matrices)
      for (const row of values) expect(row.length).toBe(columns.length);
  });
});

test.each<[XPromptStudyName, Partial<PruneOptions>, RegExp]>([
  // the table asks for each level alone too, and two counts are too few there (the next test has both together)
  ["granularity", { search: "halving", halvingBudget: 0.6 }, /even two/],
  ["fpt-xprompt", { rewindTo: "step:99" }, /no such point/],
  ["length", { tokensPruned: [15] }, /nothing would survive/],
])("%s with %j is refused before the first case is trained", async (name, prune, message) => {
  const folder = join(root, `refused-${name}`);
  const { input: given, seen } = input({ folder, schedule: vanilla });
  await expect(xpromptStudies[name].run({ ...given, prune: { ...given.prune, ...prune } })).rejects.toMatchObject({
    kind: "usage",
    message: expect.stringMatching(message),
  });
  expect(seen.passes).toBe(0);
  expect(existsSync(folder)).toBe(false);
});

test("how to search: where halving does not fit the counts, linear and grid are run and the notes say so", async () => {
  const given = input({ schedule: vanilla, seeds: [0], tasks: [dataset("one")] }).input;
  const { tables, notes } = await xpromptStudies.search.run({
    ...given,
    prune: { ...given.prune, halvingBudget: 0.1 },
  });
  expect(tables[0]!.rows.map((row) => row[0])).toEqual([
    "linear: XPrompt",
    "linear: XPrompt, mean of candidates",
    "grid: XPrompt",
    "grid: XPrompt, mean of candidates",
  ]);
  expect(notes.join("\n")).toMatch(/Halving is left out: .*even two candidates/);
  // whatever else cannot be is refused as ever
  const wrong = { ...given, prune: { ...given.prune, tokensPruned: [99] } };
  await expect(xpromptStudies.search.run(wrong)).rejects.toThrow(/nothing would survive/);
});

test("what is impossible at one level alone is no hindrance to a table that does not ask for it", async () => {
  const given = input({ schedule: vanilla, seeds: [0], tasks: [dataset("one")] }).input;
  const prune: PruneOptions = { ...given.prune, search: "halving", halvingBudget: 0.6 };
  const result = await xpromptStudies.parameters.run({ ...given, prune });
  expect(result.tables.length).toBe(2);
});

test.each(Object.keys(xpromptStudies) as XPromptStudyName[])("%s refuses a seed given twice, or none", async (name) => {
  const { input: given, seen } = input({ schedule: vanilla });
  for (const seeds of [[1, 1], []])
    await expect(xpromptStudies[name].run({ ...given, seeds })).rejects.toMatchObject({
      kind: "usage",
      parts: { where: "seeds", got: seeds },
    });
  expect(seen.passes).toBe(0);
});

test.each(Object.keys(xpromptStudies) as XPromptStudyName[])("%s refuses two tasks of one name", async (name) => {
  const { input: given, seen } = input({ schedule: vanilla });
  await expect(xpromptStudies[name].run({ ...given, tasks: [dataset("two"), dataset("two")] })).rejects.toMatchObject({
    kind: "usage",
    parts: { where: "tasks", got: "two" },
  });
  expect(seen.passes).toBe(0);
});

test("few-shot with fewer than 32 training rows is refused before the first run, and says how many there are", async () => {
  const small = { ...dataset("two"), train: fakeRows(31, "two/train") };
  const { input: given, seen } = input({ schedule: vanilla, tasks: [dataset("one"), small] });
  await expect(xpromptStudies["few-shot"].run(given)).rejects.toMatchObject({
    kind: "data",
    message: expect.stringMatching(/two.*at least 32.*got: 31/s),
  });
  expect(seen.passes).toBe(0);
});

test("the share held out is said as it was given", async () => {
  const given = input({ schedule: vanilla, seeds: [0], tasks: [dataset("one")] }).input;
  const { notes } = await xpromptStudies.parameters.run({ ...given, prune: { ...given.prune, holdout: 0.28 } });
  expect(notes.join("\n")).toContain("chosen on 28 % of the training rows");
});

test("a study that is stopped says that the same command goes on", async () => {
  const stop = new AbortController();
  const { input: given, watch } = input({ folder: join(root, "stopped"), schedule: vanilla, signal: stop.signal });
  watch.pass = (count) => count === 9 && stop.abort("SIGINT");
  await expect(xpromptStudies.search.run(given)).rejects.toMatchObject({
    kind: "interrupted",
    exitCode: 130,
    parts: { hint: "run the same command again: finished work is kept" },
  });
});

test("a repeated study trains nothing and says the same", async () => {
  const folder = join(root, "repeat");
  const first = input({ folder, schedule: vanilla, seeds: [0] });
  const answer = await xpromptStudies["sub-prompts"].run(first.input);
  expect(first.seen.steps).toBeGreaterThan(0);
  const again = input({ folder, schedule: vanilla, seeds: [0] });
  expect(await xpromptStudies["sub-prompts"].run(again.input)).toEqual(answer);
  expect(again.seen).toEqual({ steps: 0, passes: 0 });
  // granularity asks for candidates that the first study has already trained
  await xpromptStudies.granularity.run(again.input);
  expect(again.seen).toEqual({ steps: 0, passes: 0 });
});

test("what each variant is: counts, costs, controls", async () => {
  const found = await outcomes(
    input({ schedule: vanilla, tasks: [dataset("one")], seeds: [0] }).input,
    [{ label: "" }],
    [
      ...(["pt", "control", "tokens", "pieces", "xprompt", "mean", "reversed", "reversedMean"] as const),
      ...(["losing", "losingMean", "random", "randomMean", "length"] as const),
    ],
  );
  const of = Object.fromEntries(found.map((o) => [o.variant, o]));
  const [D, P, k] = [8, 4, 4];
  expect(of.pt!.counts.parameters).toBe(P * D);
  expect(of.control!.counts.parameters).toBe(P * D);
  expect(of.tokens!.counts.pieces).toBe(of.tokens!.counts.tokens * k);
  expect(of.pieces!.counts.tokens).toBe(P);
  // every ranking is the best of as many tries at the same steps, and its mean is of those
  for (const name of ["reversed", "losing", "random"]) {
    expect([of[name]!.candidates, of[name]!.steps]).toEqual([of.xprompt!.candidates, of.xprompt!.steps]);
    expect(of[`${name}Mean`]!.score).toBeLessThanOrEqual(of[name]!.score);
    expect(of[`${name}Mean`]!.candidates).toBe(of.xprompt!.candidates);
  }
  // random scores need no importance pass
  expect(of.random!.flops).toBeLessThan(of.losing!.flops);
  // tuned as XPrompt's and trained on as a candidate, with the search that gave its length counted
  expect([of.length!.steps, of.length!.candidates]).toEqual([12, 1]);
  expect(of.length!.flops).toBeGreaterThan(of.xprompt!.flops);
  expect(of.length!.prompt.shape).toEqual([of.xprompt!.counts.tokens, D]);
  expect(of.xprompt!.score).toBeGreaterThanOrEqual(of.tokens!.score);
  expect(of.mean!.score).toBeLessThanOrEqual(of.xprompt!.score);
  expect([of.pt, of.control, of.tokens, of.pieces, of.xprompt].map((o) => o!.steps)).toEqual([6, 12, 18, 18, 30]);
  expect(of.pt!.flops).toBeLessThan(of.control!.flops);
  expect(of.xprompt!.candidates).toBe(4);
});

test("rows that only report change no choice, and every score is measured on them", async () => {
  const { input: base } = input({ schedule: vanilla, tasks: [dataset("one")], seeds: [0] });
  const others = fakeRows(17, "one/reports");
  const wanted = ["pt", "control", "xprompt", "mean"] as const;
  const chosen = await outcomes(base, [{ label: "" }], wanted);
  const found = await outcomes({ ...base, reportOn: () => others }, [{ label: "" }], wanted);
  expect(found.map(({ prompt }) => tensorHash(prompt))).toEqual(chosen.map(({ prompt }) => tensorHash(prompt)));
  const full = fullModel(base.engine.checkpoint.config);
  for (const { variant, prompt, score, flops } of found) {
    const { scores } = await evaluate(base.engine, full, base.tokenizer, dataset("one").task, others, { prompt });
    if (variant !== "mean") expect(score).toBe(scores.accuracy);
    expect(flops).toBeGreaterThan(chosen.find((other) => other.variant === variant)!.flops);
  }
  expect(found.map(({ score }) => score)).not.toEqual(chosen.map(({ score }) => score));
});

test("dropped prompts are as large as zeroed ones, whatever the variant; pieces scored again are used by all", async () => {
  const of = async (prune: Partial<PruneOptions>) => {
    const base = input({ schedule: vanilla, tasks: [dataset("one")], seeds: [0] }).input;
    const found = await outcomes(
      { ...base, prune: { ...base.prune, ...prune, search: "grid" } },
      [{ label: "" }],
      [...(["tokens", "pieces", "xprompt", "reversed", "losing", "random", "length"] as const)],
    );
    return Object.fromEntries(found.map((o) => [o.variant, o]));
  };
  const only = { tokensPruned: [2], piecesPruned: [1] };
  const [zero, drop] = [await of(only), await of({ ...only, prunedTokens: "drop" })];
  for (const [variant, { counts }] of Object.entries(zero))
    expect([variant, drop[variant]!.counts]).toEqual([variant, counts]);
  expect(drop.xprompt!.prompt.shape).toEqual([2, 8]);
  expect(zero.xprompt!.counts).toEqual({ tokens: 2, pieces: 6, parameters: 12, fraction: 12 / 32 });
  expect(zero.length!.counts).toEqual({ tokens: 2, pieces: 8, parameters: 16, fraction: 0.5 });
});

test("Reversed and the losing ticket follow the scores, those made again too; Random follows none, and nests", async () => {
  const base = input().input;
  const prune = { ...base.prune, rescorePieces: true };
  await forEachSearch(
    { ...base, prune, schedule: vanilla, tasks: [dataset("one")], seeds: [0] },
    [{ label: "" }],
    async (search) => {
      const cell = { tokensPruned: 2, piecesPruned: 1 };
      const masks = {
        reversed: await rankings.reversed.of()(cell, search.maskOf),
        losing: await rankings.losing.of()(cell, search.maskOf),
      };
      expect(masks.reversed).toEqual(complementMask(await search.maskOf(cell)));
      expect(masks.losing).toEqual(await search.maskOf(cell, "highest"));
      // the tokens pruned first are those of highest score, and only then are the rest scored again
      expect(existsSync(join(search.folder, "scores-t2-highest.json"))).toBe(true);
      const [a, b] = search.importance.tokens.map((v, i) => [v, i] as const).sort((x, y) => y[0] - x[0]);
      expect([masks.losing.tokens[a![1]], masks.losing.tokens[b![1]]]).toEqual([0, 0]);
      const draw = rankings.random.of(search);
      const [one, two] = [await draw({ tokensPruned: 1, piecesPruned: 0 }), await draw(cell)];
      expect(maskWithin(two, one)).toBe(true);
      expect(two).toEqual(await rankings.random.of(search)(cell));
      expect(maskCounts(two, 8)).toEqual(maskCounts(await search.maskOf(cell), 8));
      // another seed, other scores: of 6 pairs of tokens and 4 × 4 pieces some seed gives another mask
      const others = [1, 2, 3, 4].map((seed) => rankings.random.of({ ...search, seed })(cell));
      expect((await Promise.all(others)).some((mask) => JSON.stringify(mask) !== JSON.stringify(two))).toBe(true);
    },
  );
});

test("with a holdout every line is scored on the validation rows, which chose nothing", async () => {
  const base = input({ schedule: vanilla, tasks: [dataset("one")], seeds: [0] }).input;
  const wanted = ["pt", "control", "xprompt", "mean", "reversed", "losingMean", "random", "length"] as const;
  const held = { ...base, prune: { ...base.prune, holdout: 0.25 } };
  await forEachSearch(held, [{ label: "" }], async (search, place) => {
    const asked: string[] = [];
    // whatever the rows that chose have said must not come through
    const marked = {
      ...search,
      report: async (prompt: Tensor, known: Scores) => {
        const found = await search.report(prompt, { accuracy: -1 });
        asked.push(tensorHash(prompt));
        expect(known.accuracy).not.toBe(-1);
        return found;
      },
    };
    for (const name of wanted) {
      const { score, prompt } = await variants[name].run(marked);
      expect([name, score]).toEqual([name, expect.any(Number)]);
      expect(score).toBeGreaterThanOrEqual(0);
      if (name === "mean" || name === "losingMean") continue;
      const { scores } = await evaluate(
        base.engine,
        fullModel(base.engine.checkpoint.config),
        base.tokenizer,
        place.dataset.task,
        place.dataset.validation,
        { prompt },
      );
      expect([name, score]).toEqual([name, scores.accuracy]);
    }
    expect(asked.length).toBeGreaterThan(wanted.length);
  });
});

test.each(["sub-prompts", "masking", "saliency", "transfer"] as const)(
  "%s: a signal ends it within a batch, wherever it is, as an interruption",
  async (name) => {
    const schedule = { ...vanilla, steps: 2 };
    const prune = { ...input().input.prune, tokensPruned: [1], piecesPruned: [1] };
    const few = { schedule, prune, seeds: [0] };
    const whole = input(few);
    await xpromptStudies[name].run(whole.input);
    for (const share of [0.02, 0.3, 0.6, 0.95]) {
      const stop = new AbortController();
      const { input: given, seen, watch } = input({ ...few, signal: stop.signal });
      const last = Math.ceil(share * whole.seen.passes);
      watch.pass = (count) => {
        if (count === last) stop.abort("SIGTERM");
      };
      await expect(xpromptStudies[name].run(given), `${share}`).rejects.toMatchObject({
        kind: "interrupted",
        exitCode: 143,
      });
      // a batch that is evaluated may take two passes
      expect(seen.passes - last).toBeLessThanOrEqual(1);
    }
  },
);

test("a search that is read back says nothing of the time that is left, however long that takes", async () => {
  const folder = join(root, "told");
  const told = async () => {
    const known: boolean[] = [];
    const observe: XPromptStudyInput["observe"] = (event) => {
      if (event.kind === "case") known.push(event.left.seconds !== null);
    };
    const one = { ...input().input, schedule: vanilla, seeds: [0], folder, observe };
    await forEachSearch(one, [{ label: "" }], async () => void (await setTimeout(400)));
    return known;
  };
  expect(await told()).toEqual([false, true]);
  expect(await told()).toEqual([false, false]);
});

test("a study's search is one process's, and none of its folders may be a link elsewhere", async () => {
  const folder = join(root, "owned");
  const elsewhere = join(root, "elsewhere");
  mkdirSync(elsewhere);
  const one = { ...input().input, schedule: vanilla, tasks: [dataset("one")], seeds: [0], folder };
  const visit = (use: (search: Search) => Promise<unknown>) =>
    forEachSearch(one, [{ label: "" }], async (search) => void (await use(search)));
  const link = { kind: "run", problem: expect.stringContaining("link") };
  let own = "";
  await visit(async (search) => {
    own = search.folder;
    await expect(visit(async () => {})).rejects.toThrow(/this process is already working in this folder/);
  });
  const retrain = (search: Search) =>
    search.retrain([{ name: "a", tokensPruned: 0, piecesPruned: 0, prompt: search.start, mask: null, drop: false }]);
  await visit(retrain); // given free, and the links below are refused for being links
  for (const name of ["candidates/a/run", "candidates/a", "candidates", "tune", ""]) {
    rmSync(join(own, name), { recursive: true });
    symlinkSync(elsewhere, join(own, name).replace(/\/$/, ""));
    await expect(visit(retrain), name).rejects.toMatchObject(link);
    rmSync(join(own, name).replace(/\/$/, ""));
  }
  expect(readdirSync(elsewhere)).toEqual([]);
});

test("a histogram holds every value, negative ones too", () => {
  for (const values of [
    [-3, -1, 0, 2],
    [1, 2, 3],
    [-2, -2],
    [0, 0, 0],
  ]) {
    const { points } = histogram("h", values).series[0]!;
    expect(points.length).toBe(40);
    expect(points.reduce((sum, [, n]) => sum + n, 0) / 2).toBe(values.length);
    expect(points[0]![0]).toBe(Math.min(0, ...values));
    const heaviest = points.reduce((most, p) => (p[1] > most[1] ? p : most));
    expect(heaviest[0]).toBeLessThanOrEqual(Math.max(...values));
  }
  // P × k pieces are more than a call takes arguments
  const { points } = histogram(
    "h",
    Array.from({ length: 200_000 }, (_, i) => i),
  ).series[0]!;
  expect(points.map(([, n]) => n)).toEqual(new Array(40).fill(10_000));
});

test("transfer starts the target from the source's prompt", async () => {
  const { tables, notes } = await xpromptStudies.transfer.run(input({ schedule: vanilla, seeds: [0] }).input);
  expect(tables[0]!.rows.map((row) => row[0])).toEqual([
    "PT",
    "XPrompt",
    "TaskTransfer",
    "XPromptTransfer_o",
    "XPromptTransfer",
  ]);
  expect(notes[0]).toContain("two → one, one → two");
  await expect(xpromptStudies.transfer.run(input({ tasks: [dataset("one")] }).input)).rejects.toThrow(/two tasks/);
});

test("length study: 10, 20 and 100 tokens, whatever the study's own length", async () => {
  const { tables } = await xpromptStudies.length.run(
    input({ schedule: vanilla, tasks: [dataset("one")], seeds: [0] }).input,
  );
  const parameters = tables[0]!.columns.findIndex((c) => c.name === "parameters");
  const pt = tables[0]!.rows.filter((row) => String(row[0]).endsWith("PT"));
  expect(pt.map((row) => row[parameters])).toEqual([80, 160, 800]);
});

test("a start prompt that is given has its own length: other lengths are refused before anything is trained", async () => {
  const given: Tensor = { shape: [6, 8], data: Float32Array.from({ length: 48 }, (_, n) => Math.sin(n)) };
  const init = { kind: "fromPrompt", prompt: given } as const;
  for (const [study, expected] of [
    ["length", /other lengths[\s\S]*10 virtual tokens[\s\S]*6 virtual tokens/],
    ["positive-negative", /other lengths[\s\S]*Length[\s\S]*sampledVocab/],
  ] as const) {
    const { input: own, seen } = input({ init, schedule: vanilla });
    await expect(xpromptStudies[study].run(own)).rejects.toThrow(expected);
    expect(seen).toEqual({ steps: 0, passes: 0 });
  }
  const masked = await xpromptStudies.masking.run(input({ init, schedule: vanilla, seeds: [0] }).input);
  expect(masked.settings.virtualTokens).toBe(6);
  expect(masked.tables[0]!.rows).toHaveLength(6);
});

test("masking is scored on the rows that report", async () => {
  const { input: base } = input({ schedule: vanilla, tasks: [dataset("one")], seeds: [0] });
  const others = fakeRows(17, "one/reports");
  const [own, told] = [
    await xpromptStudies.masking.run(base),
    await xpromptStudies.masking.run({ ...base, reportOn: () => others }),
  ];
  const [pt] = await outcomes({ ...base, reportOn: () => others }, [{ label: "" }], ["pt"]);
  expect(told.scores!.find(({ line }) => line === "least important: 0 masked")!.score).toBeCloseTo(100 * pt!.score, 10);
  expect(told.scores).not.toEqual(own.scores);
});

test("a line pays for the passes that its own masks needed, once", async () => {
  const base = input({ schedule: vanilla, tasks: [dataset("one")], seeds: [0] }).input;
  const prune: PruneOptions = { ...base.prune, search: "iterative" };
  await forEachSearch({ ...base, prune }, [{ label: "" }], async (search) => {
    const plain = search.scoringCost().flops;
    const [own, reversed] = [await pick(search, "both"), await pick(search, "both", "reversed")];
    // one and two tokens, then one and two pieces: each but the first after another one, and every pass is of the same rows
    const passes = readdirSync(search.folder).filter((name) => /^scores.*json$/.test(name)).length;
    expect(own.all).toHaveLength(4);
    expect(passes).toBeGreaterThan(2);
    expect(search.scoringCost(own.all).flops).toBe(passes * plain);
    expect(search.scoringCost(reversed.all).flops).toBe(plain);
    expect(search.scoringCost([]).flops).toBe(plain);
    expect(search.scoringCost().flops).toBe(passes * plain);
  });
  const notes = (await xpromptStudies["sub-prompts"].run({ ...base, prune })).notes.join("\n");
  expect(notes).toMatch(/the others rank once/);
});

test("masking nothing is the tuned prompt's score; the curve has a point per count", async () => {
  const { charts, tables } = await xpromptStudies.masking.run(
    input({ schedule: vanilla, tasks: [dataset("one")], seeds: [0] }).input,
  );
  expect(charts[0]!.series.map((s) => [s.name, s.points.length])).toEqual([
    ["least important", 4],
    ["at random", 4],
    ["most important", 4],
  ]);
  const [nothing] = tables[0]!.rows;
  expect(new Set(nothing!.slice(1).map((c) => (c as Spread).mean)).size).toBe(1);
});

test("saliency: the map after pruning has as many cells as survive", async () => {
  const { matrices, tables } = await xpromptStudies.saliency.run(
    input({ schedule: vanilla, tasks: [dataset("one")], seeds: [0] }).input,
  );
  const [before, after] = matrices.map((m) => m.values.flat().filter((v) => v !== null).length);
  expect(before).toBe(16);
  expect(after).toBe(tables[0]!.rows[0]!.at(-1));
});

test("an average is of every task for every seed, or there is none", () => {
  const counts = { tokens: 1, pieces: 4, parameters: 8, fraction: 1 };
  const outcome = (task: string, seed: number, score: number): Outcome => ({
    ...{ label: "", variant: "pt", task, seed, score, counts, flops: 1, seconds: 1, steps: 1, candidates: 0 },
    prompt: { shape: [0, 0], data: new Float32Array() },
  });
  const tasks = [dataset("one"), dataset("two")];
  const averageOf = (found: readonly Outcome[]) => scoreTable("t", found, linesOf("", ["pt"]), tasks).rows[0]![3];
  const whole = [outcome("one", 0, 0.5), outcome("two", 0, 0.7), outcome("one", 1, 0.9), outcome("two", 1, 0.3)];
  expect((averageOf(whole) as Spread).mean).toBeCloseTo(60, 10);
  // 75 over what is there would be a mean of task one's seed 1 with both tasks of seed 0
  expect(averageOf(whole.slice(0, 3))).toBeNull();
});

test("a search that breaks down says which of the study's it was", async () => {
  const { input: own } = input({ schedule: vanilla, seeds: [3] });
  const failing = {
    ...own,
    engine: { ...own.engine, train: () => Promise.reject(new SoftpromptError("engine", "no", { where: "x" })) },
  };
  await expect(outcomes(failing, [{ label: "big" }], ["pt"])).rejects.toMatchObject({
    kind: "engine",
    problem: "big on one, seed 3: no",
    parts: { where: "x" },
  });
});

test("what a study's foot and notes say is what its cases did", async () => {
  const of = async (name: XPromptStudyName) => xpromptStudies[name].run(input({ schedule: vanilla, seeds: [0] }).input);
  const [few, length, init, plain] = [
    await of("few-shot"),
    await of("length"),
    await of("initialisation"),
    await of("granularity"),
  ];
  expect(few.settings.tasks).toEqual(["one: 32 rows, 30 validation", "two: 32 rows, 30 validation"]);
  expect(length.settings.virtualTokens).toEqual([10, 20, 100]);
  expect(plain.settings).toMatchObject({ tasks: ["one: 40 rows, 30 validation", "two: 40 rows, 30 validation"] });
  const pairs = ({ notes }: { notes: readonly string[] }) => notes.find((note) => note.startsWith("Differences"))!;
  expect(pairs(plain)).toContain("start prompt");
  expect(pairs(init)).not.toContain("start prompt");
});

test("a study that keeps nothing trains no more than one that does, and does not say that it kept", async () => {
  const folder = join(root, "kept-search");
  mkdirSync(folder);
  const stepsOf = async (at: string | null) => {
    const { input: own, seen } = input({ schedule: vanilla, seeds: [0], tasks: [dataset("one")], folder: at });
    await xpromptStudies.search.run(own);
    return seen.steps;
  };
  expect(await stepsOf(null)).toBe(await stepsOf(folder));
  for (const name of ["transfer", "search"] as const) {
    const stop = new AbortController();
    const { input: own, watch } = input({ schedule: vanilla, seeds: [0], signal: stop.signal });
    watch.pass = (count) => count === 3 && stop.abort("SIGINT");
    await expect(xpromptStudies[name].run(own)).rejects.toMatchObject({
      kind: "interrupted",
      exitCode: 130,
      parts: expect.not.objectContaining({ hint: expect.anything() }),
    });
  }
});

test("a setting that changes no training trains nothing again: more rows are reported, snapshots are rarer", async () => {
  const folder = join(root, "free-settings");
  mkdirSync(folder);
  const asked = async (more: Partial<XPromptStudyInput["settings"]>) => {
    const { input: own, seen } = input({ schedule: vanilla, seeds: [0], tasks: [dataset("one")], folder });
    const settings = { ...own.settings, maxEvalRows: 10, ...more };
    const { settings: told } = await xpromptStudies.granularity.run({ ...own, settings });
    return { steps: seen.steps, told: told.tasks };
  };
  expect((await asked({})).steps).toBeGreaterThan(0);
  expect(await asked({ finalEvalRows: 20, snapshotSeconds: 7 })).toEqual({
    steps: 0,
    told: ["one: 40 rows, 20 of 30 validation"],
  });
});
