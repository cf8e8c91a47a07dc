/**
 * @file predict and predictStream: order, pauses, bad inputs, choices by row, and models that give no numbers.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SoftpromptError } from "../base/errors.js";
import { declaredTask } from "../data/dataset.js";
import { defineTask } from "../data/define.js";
import { choicesOfInput, inputsIn } from "./choices.js";
import { loadRows } from "./data.js";
import { evaluate } from "./evaluate.js";
import { type Model, openModel, threadsOf } from "./model.js";
import { predict, predictStream } from "./predict.js";
import { openPredictor, type PredictInput } from "./predictor.js";
import { tune } from "./tune.js";

let model: Model;
beforeAll(async () => {
  model = await openModel("t5-nano");
});
afterAll(() => model.dispose());

const task = defineTask({
  name: "mood",
  template: "sentence: {text}",
  verbalizer: { negative: "negative", positive: "positive" },
});

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

test("a text in place of a list of texts is refused, not answered letter by letter", async () => {
  const refused = {
    kind: "usage",
    problem: "the inputs are no list",
    parts: { hint: "a single text goes into a list: [text]" },
  };
  await expect(predict(model, null, "cold" as never, { task })).rejects.toMatchObject(refused);
  await expect(predictStream(model, null, "cold", { task }).next()).rejects.toMatchObject(refused);
  await expect(predictStream(model, null, 7 as never, { task }).next()).rejects.toMatchObject({ kind: "usage" });
  const predictor = await openPredictor(model, { adapters: { bare: { adapter: null, task } } });
  await expect(predictor.predict("cold" as never)).rejects.toMatchObject(refused);
});

describe("what a call does not know, or cannot use, is refused by its name", () => {
  const wrong: readonly (readonly [string, object, RegExp])[] = [
    ["a misspelt option", { evaluatBy: "generation" }, /unknown option "evaluatBy"[\s\S]*did you mean "evaluateBy"/],
    ["a misspelt way to answer", { evaluateBy: "generate" }, /evaluateBy[\s\S]*did you mean "generation"/],
    ["a misspelt ranking", { ranking: "avg" }, /ranking[\s\S]*one of sum, /],
    ["a limit that is no number", { maxInputTokens: Number.NaN }, /maxInputTokens[\s\S]*at least 1/],
    ["a pass of no rows", { batchSize: 0 }, /batchSize[\s\S]*at least 1/],
  ];
  test.each(wrong)("%s", async (_, more, message) => {
    const asked = { task, ...more } as object;
    await expect(predict(model, null, ["fine"], asked)).rejects.toThrow(message);
    await expect(predictStream(model, null, ["fine"], asked).next()).rejects.toThrow(message);
    const rows = [{ text: "fine", label: "positive" }];
    await expect(evaluate(model, rows, asked)).rejects.toThrow(message);
    await expect(
      openPredictor(model, { adapters: { bare: { adapter: null, task } }, ...more } as never),
    ).rejects.toThrow(message);
  });
  test.each<[object, RegExp]>([
    [{ adaptor: "folder" }, /did you mean "adapter"/],
    [{ maxEvalRow: 1 }, /did you mean "maxEvalRows"/],
    [{ maxEvalRows: Number.NaN }, /maxEvalRows/],
    [{ split: "dev" }, /split[\s\S]*train, validation/],
    [{ loss: "no" }, /loss/],
  ])("evaluate with %j", async (more, message) => {
    const rows = [{ text: "fine", label: "positive" }];
    await expect(evaluate(model, rows, { task, ...more } as object)).rejects.toThrow(message);
  });
  test("an adapter's own settings in a predictor, and those of its calls", async () => {
    const bare = { adapter: null, task };
    await expect(openPredictor(model, { adapters: { bare: { ...bare, anyBse: true } as never } })).rejects.toThrow(
      /bare[\s\S]*anyBase/,
    );
    const predictor = await openPredictor(model, { adapters: { bare } });
    await expect(predictor.predict([], { skipBadRow: true } as never)).rejects.toThrow(/skipBadRows/);
  });
});

test("minProbability withholds answers, of a predictor's adapter alone, and says what an evaluation keeps", async () => {
  const texts = ["fine", "a dull film"];
  const plain = await predict(model, null, texts, { task });
  const top = plain.map(({ probabilities }) => Math.max(...Object.values(probabilities!)));
  const minProbability = Math.max(...top);
  const expected = plain.map(({ label, text, probabilities }, n) =>
    top[n]! < minProbability
      ? { label: null, text: "", probabilities, withheld: label }
      : { label, text, probabilities },
  );
  expect(expected.filter(({ label }) => label === null)).toHaveLength(1);
  expect(await predict(model, null, texts, { task, minProbability })).toEqual(expected);
  const bare = { adapter: null, task };
  const both = { sure: { ...bare, minProbability: 1 }, any: bare };
  const predictor = await openPredictor(model, { adapters: both });
  const asked = ["sure", "any"].map((adapter) => ({ adapter, input: "fine" }));
  expect((await predictor.predict(asked)).map(({ withheld }) => withheld)).toEqual([plain[0]!.label, undefined]);
  const rows = texts.map((text, n) => ({ text, label: plain[n]!.label }));
  const { selective } = await evaluate(model, rows, { task, minProbability });
  expect(selective).toEqual({ minProbability, rows: 1, coverage: 0.5, accuracy: 1 });
  await expect(predict(model, null, texts, { task, minProbability: 2 })).rejects.toThrow(/minProbability/);
  const free = defineTask({ name: "free", template: "{text}", maxTargetTokens: 2 });
  await expect(predict(model, null, texts, { task: free, minProbability: 0.5 })).rejects.toMatchObject({
    kind: "usage",
    problem: "written answers have no probability",
  });
});

describe("a stream", () => {
  test("gives the answers that predict gives, in the order of the inputs, whatever comes together", async () => {
    const texts = ["fine", "a much longer text about a dull film", "bad", "good and warm", "x"];
    const asked = await predict(model, null, texts, { task });
    for (const batchSize of [1, 2, 32]) {
      const streamed = await all(predictStream(model, null, texts, { task, batchSize }));
      expect(streamed.map(({ label }) => label)).toEqual(asked.map(({ label }) => label));
      for (const [i, { probabilities }] of streamed.entries())
        expect(probabilities!.negative).toBeCloseTo(asked[i]!.probabilities!.negative!, 5);
    }
  });

  test("answers what is there while the source has not said more", async () => {
    let release = () => {};
    const later = new Promise<void>((done) => {
      release = done;
    });
    async function* source() {
      yield "fine";
      await later;
      yield "bad";
    }
    const answers = predictStream(model, null, source(), { task });
    expect((await answers.next()).value).toMatchObject({ label: expect.any(String) });
    release(); // would never come if the first answer waited for it
    expect((await all(answers)).length).toBe(1);
  });

  test("answers everything before a bad input, then throws its error", async () => {
    const inputs: PredictInput[] = ["fine", "bad", { other: "no such hole" }, "good"];
    const seen: unknown[] = [];
    await expect(
      (async () => {
        for await (const answer of predictStream(model, null, inputs, { task })) seen.push(answer);
      })(),
    ).rejects.toThrow(/input 3: column text is missing/);
    expect(seen).toHaveLength(2);
  });

  test("so too where the source itself fails", async () => {
    async function* source() {
      yield "fine";
      throw new TypeError("torn");
    }
    const answers = predictStream(model, null, source(), { task });
    expect((await answers.next()).done).toBe(false);
    await expect(answers.next()).rejects.toThrow(TypeError);
  });

  test("with skipBadRows each bad input is answered by its error, in its place", async () => {
    const inputs: PredictInput[] = [{ other: "no" }, "fine", {}, "bad"];
    const answers = await all(predictStream(model, null, inputs, { task, skipBadRows: true }));
    expect(answers.map(({ error }) => error?.kind ?? "none")).toEqual(["data", "none", "data", "none"]);
    expect(answers.map(({ label }) => label === null)).toEqual([true, false, true, false]);
    expect(await predict(model, null, inputs, { task, skipBadRows: true })).toHaveLength(4);
  });

  test.each([
    [null, /input 2: this input is no text and no record.*got: null/s],
    [undefined, /input 2: this input is no text and no record/],
    [42, /no text and no record\n {2}expected: a text, or \{ column: value, … \}\n {2}got: 42/],
    [["a"], /got: \[a\]/],
  ])("%j, as a program's data may hold it, is an error of its row alone", async (given, message) => {
    const inputs = ["fine", given as never, "bad"];
    const answers = await predict(model, null, inputs, { task, skipBadRows: true });
    expect(answers.map(({ error }) => error?.kind ?? "none")).toEqual(["none", "data", "none"]);
    await expect(predict(model, null, inputs, { task })).rejects.toThrow(message);
  });

  test("blank inputs are answered and told", async () => {
    const told: string[] = [];
    const onEvent = ({ message }: { message: string }) => told.push(message);
    expect(await predict(model, null, ["fine", "", "  "], { task, onEvent })).toHaveLength(3);
    expect(told).toContain("2 rows have no text in text: input 2, input 3");
  });

  test("an answer to a text that lost words says so", async () => {
    const inputs = ["short", "a word ".repeat(40)];
    const answers = await predict(model, null, inputs, { task, maxInputTokens: 12 });
    expect(answers.map(({ truncated }) => truncated)).toEqual([undefined, true]);
    const [bare] = await predict(model, null, inputs.slice(1), { task, maxInputTokens: 12, minProbability: 1 });
    expect(bare).toMatchObject({ label: null, truncated: true });
  });

  test("the event loop has its turns while many texts are encoded", async () => {
    const inputs = Array.from({ length: 600 }, (_, n) => `text ${n} </s>`);
    const stop = new AbortController();
    let [turns, told] = [0, Number.NaN];
    const turn = () => {
      turns++;
      if (!stop.signal.aborted) setImmediate(turn);
    };
    setImmediate(turn);
    // the notice of control tokens comes when all are encoded, before any pass
    const onEvent = () => {
      told = turns;
      stop.abort();
    };
    const stopped = predict(model, null, inputs, { task, onEvent, signal: stop.signal });
    await expect(stopped).rejects.toMatchObject({ kind: "interrupted" });
    expect(told).toBeGreaterThanOrEqual(2);
  });

  test("leaving early closes the source", async () => {
    let closed = false;
    async function* source() {
      try {
        for (;;) yield "fine";
      } finally {
        closed = true;
      }
    }
    for await (const _ of predictStream(model, null, source(), { task, batchSize: 1 })) break;
    await new Promise((later) => setTimeout(later, 0));
    expect(closed).toBe(true);
  });
});

describe("tasks that rank other words for each row are ranked, as in training", () => {
  test("COPA and WSC in OpenPrompt's wording, ReCoRD by its entities", async () => {
    const copa = {
      premise: "It rained.",
      choice1: "The street was wet.",
      choice2: "The sun shone.",
      question: "effect",
    };
    const [answer] = await predict(model, null, [copa], { task: declaredTask("copa", { format: "openprompt" }) });
    expect(Object.keys(answer!.probabilities!)).toEqual(["choice1", "choice2"]);
    expect([copa.choice1, copa.choice2]).toContain(answer!.text);

    const wsc = { marked: "*Tom* said *he* left.", pronoun: "he", candidate: "Tom" };
    const [referent] = await predict(model, null, [wsc], { task: declaredTask("wsc", { format: "openprompt" }) });
    expect(Object.keys(referent!.probabilities!)).toEqual(["False", "True"]);

    const record = { query: "@placeholder won.", entities: "Ann, Bob", passage: "Ann met Bob." };
    const [entity] = await predict(model, null, [record], { task: declaredTask("record") });
    expect(Object.keys(entity!.probabilities!)).toEqual(["Ann", "Bob"]);
  });

  test("an official ReCoRD record holds as many inputs as queries, with the entities of its passage", () => {
    const text = "Ann met Bob in Rome, N.Y.";
    const entities = [
      [0, 2],
      [8, 10],
      [15, 24],
    ].map(([start, end]) => ({ start, end }));
    const fields = { passage: { text, entities }, qas: [{ query: "@placeholder met." }, { query: "In @placeholder" }] };
    const found = inputsIn(declaredTask("record"), fields, "f:1");
    expect(found.map(({ id }) => id)).toEqual(["f:1 q0", "f:1 q1"]);
    // a comma in a name does not cut it in two
    expect(Object.keys(choicesOfInput(declaredTask("record"), found[1]!.fields, "f:1")!)).toEqual([
      "Ann",
      "Bob",
      "Rome, N.Y.",
    ]);
  });

  test("choices given with the input count for any task without label words; those that are none are refused", async () => {
    const free = defineTask({ name: "any", template: "{text}" });
    const [answer] = await predict(model, null, [{ text: "Which?", choices: ["yes", "no"] }], { task: free });
    expect(answer!.probabilities).not.toBeNull();
    await expect(predict(model, null, [{ text: "Which?", choices: "yes" }], { task: free })).rejects.toThrow(
      /input 1: the choices cannot be used/,
    );
  });
});

test.each([{ evaluateBy: "generation" }, { evaluateBy: "ranking", ranking: "mean" }] as const)(
  "an adapter is scored and answers as its prompt was chosen: %j",
  async (how) => {
    const labels = ["good", "good enough"];
    const rows = ["fine", "dull", "a warm film", "bad"].map((text, n) => ({ text, label: labels[n % 2]! }));
    const data = await loadRows(rows, { template: "about: {text}", validationRows: rows, labels });
    const settings = { steps: 1, evalEvery: 1, batchSize: 2, virtualTokens: 2, baselines: false, ...how };
    const { adapter, predictions, result } = await tune(model, data, settings);
    const answers = await predict(model, adapter, rows);
    expect(answers.map(({ text }) => text)).toEqual(predictions.map(({ text }) => text));
    for (const [i, { probabilities }] of predictions.entries())
      if (probabilities === null) expect(answers[i]!.probabilities).toBeNull();
      else expect(answers[i]!.probabilities!.good).toBeCloseTo(probabilities.good!, 5);
    const evaluated = await evaluate(model, data, { adapter });
    expect(evaluated.scores).toEqual(result.scores);
    expect(evaluated.predictions.map(({ label }) => label)).toEqual(predictions.map(({ label }) => label));
    // asked for otherwise, otherwise is done
    const [ranked] = await predict(model, adapter, rows.slice(0, 1), { evaluateBy: "ranking", ranking: "sum" });
    expect(ranked!.probabilities).not.toEqual(answers[0]!.probabilities);
  },
);

test("threads: bounded by the cores that the process may use, and no more than those by default", () => {
  expect(threadsOf(0, { mine: 2, all: 2 })).toBe(0);
  expect(threadsOf(0, { mine: 1, all: 2 })).toBe(1);
  expect(threadsOf(4, { mine: 1, all: 2 })).toBe(4);
  for (const wanted of [5, 1000, 1_000_000])
    expect(() => threadsOf(wanted, { mine: 1, all: 2 })).toThrow(SoftpromptError);
});
