/** @file Evaluation on an engine whose answers are known: predictions in the rows' order, probabilities, loss, confusion, baselines. */
import { describe, expect, test } from "vitest";
import { fakeConfig, fakeEngine, fakeRows, fakeTask, fakeTokenizer } from "../../test/helpers/fake-engine.js";
import type { Parameters, Tensor } from "../base/tensor.js";
import type { Row, Task } from "../data/row.js";
import type { Engine } from "../engine/engine.js";
import { fullModel } from "../model/partial.js";
import { answerRows, constantAnswer, evaluate, majorityBaseline, prepareEvaluation } from "./evaluate.js";

const full = fullModel(fakeConfig);
const prompt: Tensor = { shape: [2, 8], data: new Float32Array(16) };

/** Log-probabilities by the row's text: "p a b" means log a for `no` and log b for `yes`; a generation writes the text after "w ". */
const scripted: Engine = {
  ...fakeEngine(),
  score: async () => ({
    run: async (_, rows) =>
      rows.map((row) => {
        const [, ...p] = fakeTokenizer.decode([...row.input]).split(" ");
        return Float64Array.from(row.choices!, (_, c) => Math.log(Number(p[c]) || 0.5));
      }),
  }),
  generate: async () => ({
    stream: () => {
      throw new Error("not an engine that streams");
    },
    run: async (_, rows) => rows.map((row) => fakeTokenizer.encode(fakeTokenizer.decode([...row.input]).slice(2))),
  }),
};
const row = (input: string, label: string, n = 0): Row => {
  const target = fakeTask.verbalizer![label]!;
  return { id: `file:${n}`, input, target, label, references: [target] };
};
const run = (rows: readonly Row[], task: Task = fakeTask, options = {}) =>
  evaluate(scripted, full, fakeTokenizer, task, rows, { prompt }, options);

describe("ranking", () => {
  const rows = [
    row("p 0.3 0.1", "no"),
    row("p 0.05 0.15 and a long tail", "yes"),
    row("p 0.2 0.6", "no"),
    row("p 0.4 0.4", "no"),
  ];

  test("predictions stand in the rows' order with probabilities that sum to one; ties take the first label", async () => {
    const { predictions, scores } = await run(rows, fakeTask, { batchSize: 2 });
    expect(predictions.map((p) => p.row)).toEqual(rows);
    expect(predictions.map((p) => p.label)).toEqual(["no", "yes", "yes", "no"]);
    expect(predictions.map((p) => p.text)).toEqual(["False", "True", "True", "False"]);
    expect(predictions.map((p) => p.correct)).toEqual([true, true, false, true]);
    expect(predictions[0]!.probabilities!.no).toBeCloseTo(0.75, 12);
    for (const { probabilities } of predictions)
      expect(Object.values(probabilities!).reduce((a, b) => a + b)).toBeCloseTo(1, 12);
    expect(scores).toEqual({ accuracy: 0.75 });
  });

  test("the loss is the mean over target tokens of the gold choice's negative log-likelihood", async () => {
    const { loss } = await run(rows);
    // False and True have 5 and 4 characters, and each its end
    expect(loss).toBeCloseTo(-(Math.log(0.3) + Math.log(0.15) + Math.log(0.2) + Math.log(0.4)) / (6 + 5 + 6 + 6), 12);
  });

  test("by the mean a long label is not at a disadvantage; by the sum it is; the loss is the same", async () => {
    // False and its end are 6 tokens, True and its end 5: ln 0.1 / 6 > ln 0.13 / 5, though 0.13 > 0.1
    const one = [row("p 0.1 0.13", "no")];
    const [sum, mean] = [await run(one), await run(one, fakeTask, { ranking: "mean" })];
    expect([sum, mean].map(({ predictions }) => predictions[0]!.label)).toEqual(["yes", "no"]);
    const [a, b] = [Math.exp(Math.log(0.1) / 6), Math.exp(Math.log(0.13) / 5)];
    expect(mean.predictions[0]!.probabilities!.no).toBeCloseTo(a / (a + b), 12);
    expect(mean.loss).toBe(sum.loss);
  });

  test("one answer for every row is told; not where it is right, where rows are few, or where answers differ", async () => {
    const said = async (p: string, labels: readonly string[]) =>
      constantAnswer((await run(labels.map((label, n) => row(p, label, n)))).predictions);
    const mixed = ["no", "yes", "no", "yes", "no", "yes", "no", "yes"];
    expect(await said("p 0.3 0.1", mixed)).toMatch(/each of the 8 rows got the same answer, “no”/);
    expect(await said("p 0.3 0.1", mixed.slice(1))).toBeNull();
    expect(await said("p 0.3 0.1", Array(8).fill("no"))).toBeNull();
    const differing = await run([...mixed.map((label, n) => row("p 0.3 0.1", label, n)), row("p 0.1 0.3", "no", 8)]);
    expect(constantAnswer(differing.predictions)).toBeNull();
  });

  test("confusion counts right labels against predicted ones", async () => {
    expect((await run(rows)).confusion).toEqual({
      labels: ["no", "yes"],
      counts: [
        [2, 1, 0],
        [0, 1, 0],
      ],
    });
  });

  test("answers below a probability are withheld: coverage, and accuracy of the others", async () => {
    // probabilities 0.75, 0.6, 0.9 and 0.5; the second and the last are wrong
    const rows = [row("p 0.75 0.25", "no"), row("p 0.6 0.4", "yes"), row("p 0.1 0.9", "yes"), row("p 0.5 0.5", "yes")];
    const at = async (minProbability: number) => (await run(rows, fakeTask, { minProbability })).selective;
    expect(await at(0.55)).toEqual({ minProbability: 0.55, rows: 3, coverage: 3 / 4, accuracy: 2 / 3 });
    expect(await at(0.7)).toEqual({ minProbability: 0.7, rows: 2, coverage: 1 / 2, accuracy: 1 });
    expect(await at(0)).toEqual({ minProbability: 0, rows: 4, coverage: 1, accuracy: 2 / 4 });
    expect(await at(0.99)).toEqual({ minProbability: 0.99, rows: 0, coverage: 0, accuracy: null });
    expect((await run(rows)).selective).toBeNull();
    await expect(run(rows, fakeTask, { minProbability: 0.5, evaluateBy: "generation" })).rejects.toMatchObject({
      kind: "usage",
      problem: "written answers have no probability",
    });
  });

  test("very unlikely choices do not become NaN", async () => {
    const { predictions } = await run([row("p 1e-320 1e-300", "yes")]);
    expect(predictions[0]).toMatchObject({ label: "yes", probabilities: { no: expect.any(Number) } });
    expect(predictions[0]!.probabilities!.yes).toBeCloseTo(1, 12);
  });

  test("rows with their own choices are ranked among those", async () => {
    const own = { ...row("p 0.1 0.2 0.7", "no"), choices: { no: "x", yes: "y", maybe: "z" } };
    const { predictions, confusion } = await run([own]);
    expect(predictions[0]).toMatchObject({ label: "maybe", text: "z", correct: false });
    expect(confusion).toBeNull();
  });

  test("no rows: zero scores, no NaN predictions", async () => {
    const { predictions, loss } = await run([]);
    expect(predictions).toEqual([]);
    expect(loss).toBeNaN();
  });
});

describe("numbers that are none are no answers", () => {
  test.each([
    ["one label has none", [Number.NaN, -1]],
    ["no label has one", [Number.NaN, Number.NaN]],
    ["one label has infinity", [Number.POSITIVE_INFINITY, -1]],
    ["every label is impossible", [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY]],
  ])("%s: refused, naming the row", async (_, logs) => {
    const broken: Engine = {
      ...scripted,
      score: async () => ({ run: async (_feed, rows) => rows.map(() => Float64Array.from(logs)) }),
    };
    const one = [row("p", "no", 7)];
    await expect(evaluate(broken, full, fakeTokenizer, fakeTask, one, { prompt })).rejects.toMatchObject({
      kind: "numeric",
      parts: { where: "file:7" },
    });
  });
});

describe("generation", () => {
  test("goes on for as long as the longest label, whatever the task's limit, and no longer than the limit for free text", async () => {
    const asked: number[] = [];
    const engine: Engine = {
      ...scripted,
      generate: async (partial) => ({
        ...(await scripted.generate(partial)),
        run: async (_, rows, most) => {
          asked.push(most);
          return rows.map(() => []);
        },
      }),
    };
    const long: Task = { ...fakeTask, maxTargetTokens: 2, verbalizer: { no: "certainly not", yes: "True" } };
    const words = { ...row("w x", "no"), target: "certainly not", references: ["certainly not"] };
    await evaluate(engine, full, fakeTokenizer, long, [words], { prompt }, { evaluateBy: "generation", loss: false });
    // a character each, and the end
    expect(asked).toEqual(["certainly not".length + 1]);
    asked.length = 0;
    const free: Task = { ...fakeTask, maxTargetTokens: 2, verbalizer: null };
    const text: Row = { id: "file:0", input: "w x", target: "abcdef", label: null, references: ["abcdef"] };
    await evaluate(engine, full, fakeTokenizer, free, [text], { prompt }, { loss: false });
    expect(asked).toEqual([2]);
  });

  test("an abort ends answers that are written after the token that is computed", async () => {
    const stop = new AbortController();
    let tokens = 0;
    const engine: Engine = {
      ...scripted,
      generate: async (partial) => ({
        ...(await scripted.generate(partial)),
        run: async (_, rows, most, options) => {
          for (; tokens < most && !options!.done!(0); tokens++) if (tokens === 1) stop.abort();
          return rows.map(() => []);
        },
      }),
    };
    const free: Task = { ...fakeTask, maxTargetTokens: 40, verbalizer: null };
    const text: Row = { id: "file:0", input: "w x", target: "abcdef", label: null, references: ["abcdef"] };
    const ended = evaluate(engine, full, fakeTokenizer, free, [text], { prompt }, { loss: false, signal: stop.signal });
    await expect(ended).rejects.toMatchObject({ kind: "interrupted" });
    expect(tokens).toBe(2);
  });

  test("while a batch is written its progress comes with every token", async () => {
    const engine: Engine = {
      ...scripted,
      generate: async (partial) => ({
        ...(await scripted.generate(partial)),
        run: async (_, rows, __, options) => {
          for (let token = 0; token < 3; token++) await options!.afterToken!();
          return rows.map(() => []);
        },
      }),
    };
    const told: unknown[] = [];
    const free: Task = { ...fakeTask, maxTargetTokens: 3, verbalizer: null };
    const text: Row = { id: "file:0", input: "w x", target: "a", label: null, references: ["a"] };
    const progress = (...rows: unknown[]) => told.push(rows);
    const options = { loss: false, batchSize: 1, progress };
    await evaluate(engine, full, fakeTokenizer, free, [text, { ...text, id: "file:1" }], { prompt }, options);
    const [first, second] = [0, 1].map((done) => [[done, 2], ...[1, 2, 3].map((token) => [done, 2, token])]);
    expect(told).toEqual([...first!, ...second!, [2, 2]]);
    // answers of any skills too: each batch counts its own
    const asked = prepareEvaluation(fakeTokenizer, free, [text, text]).encoded.map((encoded) => ({
      ...{ task: free, row: text, encoded, parameters: { prompt } },
      ...{ evaluateBy: "generation" as const, ranking: "sum" as const },
    }));
    const counted: number[] = [];
    const afterToken = async (tokens: number) => void counted.push(tokens);
    await answerRows(engine, full, fakeTokenizer, asked, { batchSize: 1, afterToken });
    expect(counted).toEqual([1, 2, 3, 1, 2, 3]);
  });

  test("a text that is a label's words is that label; another is none and wrong", async () => {
    const rows = [row("w True", "yes"), row("w  False ", "no"), row("w Maybe", "yes")];
    const { predictions, confusion, labels, scores } = await run(rows, fakeTask, { evaluateBy: "generation" });
    expect(predictions.map((p) => [p.label, p.text, p.probabilities])).toEqual([
      ["yes", "True", null],
      ["no", "False", null],
      [null, "Maybe", null],
    ]);
    expect(scores.accuracy).toBeCloseTo(2 / 3, 12);
    expect(confusion!.counts).toEqual([
      [1, 0, 0],
      [0, 1, 1],
    ]);
    // what is no label takes from the recall of the row's own
    expect(labels).toEqual([
      { label: "no", support: 1, predicted: 1, precision: 1, recall: 1, f1: 1 },
      { label: "yes", support: 2, predicted: 1, precision: 1, recall: 1 / 2, f1: 2 / 3 },
    ]);
  });

  test("free text generates whatever was asked, any reference is right, a prefix of words is taken off", async () => {
    const task: Task = { ...fakeTask, verbalizer: null, metrics: ["exactMatch"], targetPrefix: "answer: " };
    const free = (input: string, ...references: [string, ...string[]]): Row => ({
      id: input,
      input,
      target: references[0],
      label: null,
      references,
    });
    const rows = [free("w answer: blue", "red", "blue"), free("w green", "red")];
    const { predictions, scores, loss, confusion } = await run(rows, task, { evaluateBy: "ranking" });
    expect(predictions.map((p) => [p.label, p.text, p.correct])).toEqual([
      [null, "blue", true],
      [null, "green", false],
    ]);
    expect(scores).toEqual({ exactMatch: 0.5 });
    expect(Number.isFinite(loss)).toBe(true);
    expect(confusion).toBeNull();
    expect((await run(rows, task, { loss: false })).loss).toBeNaN();
  });
});

test("the bare model is a prompt of no tokens", async () => {
  let fed: Tensor | undefined;
  const engine: Engine = {
    ...scripted,
    score: async () => ({
      run: async (feed, rows) => {
        fed = (feed as Parameters).prompt;
        return rows.map(() => Float64Array.of(-1, -2));
      },
    }),
  };
  await evaluate(engine, full, fakeTokenizer, fakeTask, [row("x", "no")], null);
  expect(fed!.shape).toEqual([0, 8]);
});

test("a cap takes the same rows each time, in their order, and a larger one takes them too", () => {
  const rows = fakeRows(50);
  const take = (maxEvalRows: number) => prepareEvaluation(fakeTokenizer, fakeTask, rows, { maxEvalRows }).rows;
  expect(take(10).length).toBe(10);
  expect(take(10)).toEqual(take(10));
  expect(take(10)).not.toEqual(rows.slice(0, 10));
  expect([...take(10)].sort((a, b) => rows.indexOf(a) - rows.indexOf(b))).toEqual(take(10));
  expect(take(20)).toEqual(expect.arrayContaining([...take(10)]));
  expect(prepareEvaluation(fakeTokenizer, fakeTask, rows, { maxEvalRows: 99 }).rows).toEqual(rows);
});

test("a cap takes groups whole, one at least: half a question would be easier to get right", () => {
  const rows = fakeRows(40).map((row, n) => ({ ...row, group: `question ${n >> 2}` }));
  const taken = prepareEvaluation(fakeTokenizer, fakeTask, rows, { maxEvalRows: 10 }).rows;
  expect(taken.length).toBe(8);
  expect(new Set(taken.map((row) => row.group)).size).toBe(2);
  expect(prepareEvaluation(fakeTokenizer, fakeTask, rows, { maxEvalRows: 1 }).rows.length).toBe(4);
});

describe("majority baseline", () => {
  test("the training rows' most frequent label, on the validation rows", () => {
    const train = [row("a", "no"), row("b", "yes"), row("c", "yes")];
    const validation = [row("d", "yes"), row("e", "no"), row("f", "no"), row("g", "no")];
    expect(majorityBaseline(fakeTask, train, validation)).toEqual({
      scores: { accuracy: 0.25 },
      label: "yes",
      text: "True",
    });
  });

  test("free text: the most frequent target; WSC by generation: always or never the candidate", () => {
    const task: Task = { ...fakeTask, verbalizer: null, metrics: ["exactMatch"] };
    const free = (target: string): Row => ({ id: target, input: "", target, label: null, references: [target] });
    expect(majorityBaseline(task, [free("a"), free("b"), free("b")], [free("b"), free("c")])).toEqual({
      scores: { exactMatch: 0.5 },
      label: null,
      text: "b",
    });
    const wsc: Task = { ...task, metrics: ["accuracy"], scoring: { referent: true } };
    const pronoun = (label: string): Row => ({
      id: label,
      input: "",
      target: "the cat",
      label,
      references: ["the cat"],
    });
    const some = [pronoun("False"), pronoun("False"), pronoun("True")];
    expect(majorityBaseline(wsc, some, some).scores.accuracy).toBeCloseTo(2 / 3, 12);
    expect(majorityBaseline(wsc, [pronoun("True")], some).scores.accuracy).toBeCloseTo(1 / 3, 12);
  });
});
