import { describe, expect, test } from "vitest";
import { declaredTask } from "./dataset.js";
import {
  cleanPassage,
  copa,
  multirc,
  openpromptCopa,
  openpromptWsc,
  record,
  wscBinary,
  wscReferent,
  xsum,
} from "./records.js";
import type { Split } from "./tasks.js";
import { taskNames, tasks } from "./tasks.js";
import { checkTemplate, compileTemplate } from "./template.js";

const at = (split: Split = "train") => ({ where: "f.jsonl:1", split });
const marked = {
  text: "Mark told Pete many lies, which Pete wrote down. He was unwise.",
  target: { span1_index: 2, span1_text: "pete", span2_index: 9, span2_text: "He" },
  label: false,
};

test.each(["TRUE", "True", "true", true, 1])("%j is a label of the tasks with truth values", (value) => {
  const boolq = tasks.boolq.read({ question: "q", passage: "p", label: value, answer: value }, at());
  const wic = tasks.wic.read({ word: "w", sentence1: "a w", sentence2: "b w", label: value }, at());
  expect([boolq[0]!.label, wic[0]!.label]).toEqual(["True", "True"]);
});

describe("WSC", () => {
  test("binary: the noun between asterisks, the pronoun between hashes", () => {
    const [example] = wscBinary(marked, at());
    expect(example!.fields.marked).toBe("Mark told * Pete * many lies, which Pete wrote down. # He # was unwise.");
    expect(example!.label).toBe("False");
  });
  test("referent: only right nouns are trained on, all are evaluated", () => {
    expect(wscReferent(marked, at("train"))).toEqual([]);
    const [example] = wscReferent(marked, at("validation"));
    expect(example).toMatchObject({
      label: "False",
      target: "pete",
      fields: { pronounMarked: "Mark told Pete many lies, which Pete wrote down. *He* was unwise." },
    });
  });
  test("OpenPrompt: the candidate or another word", () => {
    const [example] = openpromptWsc(marked, at());
    expect(example).toMatchObject({ target: "Another word", choices: { False: "Another word", True: "pete" } });
    expect(example!.fields.marked).toBe("Mark told *Pete* many lies, which Pete wrote down. *He* was unwise.");
  });
  test("a span the file puts one word off is found where it stands", () => {
    const off = {
      text: "She fed the cat because it was hungry.",
      target: { span1_index: 3, span1_text: "The cat", span2_index: 5, span2_text: "it" },
      label: true,
    };
    expect(wscBinary(off, at())[0]!.fields.marked).toBe("She fed * the cat * because # it # was hungry.");
  });
  test("a word number behind the text is refused by row", () => {
    const bad = { ...marked, target: { ...marked.target, span2_index: 99 } };
    expect(() => wscBinary(bad, at())).toThrow(/f.jsonl:1: target.span2_index is behind the last word/);
  });
});

test("COPA: 0 and 1 are the choices; OpenPrompt answers with the text", () => {
  const row = {
    premise: "It rained.",
    choice1: "The street dried.",
    choice2: "The street got wet.",
    question: "effect",
    label: 1,
  };
  expect(copa(row, at())[0]).toMatchObject({ label: "choice2", target: null });
  expect(openpromptCopa(row, at())[0]).toMatchObject({ label: "choice2", target: "The street got wet." });
});

test("MultiRC: one example per answer, grouped by question; <br> is a blank, <b> is nothing", () => {
  const row = {
    passage: {
      text: "<b>Sent 1: </b>A fell.<br><b>Sent 2: </b>B rose.",
      questions: [
        {
          question: "Who fell?",
          answers: [
            { text: "A", label: 1 },
            { text: "B", label: 0 },
          ],
        },
        { question: "Who rose?", answers: [{ text: "B", label: 1 }] },
      ],
    },
  };
  const examples = multirc(row, at());
  expect(examples.map((e) => [e.part, e.label, e.group])).toEqual([
    ["q0a0", "True", "f.jsonl:1#q0"],
    ["q0a1", "False", "f.jsonl:1#q0"],
    ["q1a0", "True", "f.jsonl:1#q1"],
  ]);
  expect(examples[0]!.fields).toEqual({
    question: "Who fell?",
    answer: "A",
    paragraph: "Sent 1: A fell. Sent 2: B rose.",
  });
  expect(() =>
    multirc({ passage: { text: "x", questions: [{ question: "?", answers: [{ text: "A", label: 2 }] }] } }, at()),
  ).toThrow(/f.jsonl:1, question 0: column label/);
});

describe("ReCoRD", () => {
  test.each([
    ["A won.\n@highlight\nB lost", "A won. B lost."],
    ["A won\n@highlight\nB lost!", "A won. B lost!"],
    ['He said "no"\n@highlight\nB left.', 'He said "no" B left.'],
    ["plain", "plain."],
    ["ends with a quote'", "ends with a quote'"],
  ])("passage %j becomes %j", (passage, clean) => {
    expect(cleanPassage(passage)).toBe(clean);
  });

  const row = {
    passage: {
      text: "Ann met Bob. Ann left",
      entities: [
        { start: 0, end: 2 },
        { start: 8, end: 10 },
        { start: 13, end: 15 },
      ],
    },
    qas: [{ query: "@placeholder left", answers: [{ text: "Ann" }, { text: "Ann" }, { text: "Bob" }] }],
  };
  test("training: one example per distinct answer; evaluation: one per query with all answers", () => {
    const train = record(row, at("train"));
    expect(train.map((e) => [e.part, e.target])).toEqual([
      ["q0a0", "Ann"],
      ["q0a1", "Bob"],
    ]);
    expect(train[0]!.fields).toEqual({
      query: "@placeholder left",
      entities: "Ann, Bob",
      passage: "Ann met Bob. Ann left.",
    });
    const [one, ...none] = record(row, at("validation"));
    expect([one!.references, one!.choices, none]).toEqual([["Ann", "Bob"], { Ann: "Ann", Bob: "Bob" }, []]);
  });
  test("places are counted in code points, as the files' Python does", () => {
    // json.loads(…)["passage"]["text"][2:5] is "Ann" in Python; the face is two units of a JavaScript string
    const text = "😀 Ann met Bob";
    const places = {
      ...row,
      passage: {
        text,
        entities: [
          { start: 2, end: 4 },
          { start: 10, end: 12 },
        ],
      },
    };
    expect(record(places, at())[0]!.fields.entities).toBe("Ann, Bob");
    const behind = { ...row, passage: { text, entities: [{ start: 10, end: 13 }] } };
    expect(() => record(behind, at())).toThrow(/outside the passage[\s\S]*0 … 12/);
  });
  test("an entity outside the passage is refused", () => {
    const bad = { ...row, passage: { ...row.passage, entities: [{ start: 5, end: 500 }] } };
    expect(() => record(bad, at())).toThrow(/outside the passage/);
    // found by fuzzing: a place that is an object whose toString is no function
    const odd = { ...row, passage: { ...row.passage, entities: [{ start: { toString: 1, valueOf: 1 }, end: 2 }] } };
    expect(() => record(odd, at())).toThrow(/outside the passage/);
  });
});

test("XSum: sentences joined at [SEP]", () => {
  const [example] = xsum({ text: "One. [SEP] Two.[SEP]Three.", summary: "All." }, at());
  expect([example!.fields.document, example!.target]).toEqual(["One. Two. Three.", "All."]);
});

test("a test split has no labels; a training split must", () => {
  const { read } = tasks.rte;
  const row = { premise: "p", hypothesis: "h" };
  expect(read(row, at("test"))[0]!.label).toBeNull();
  expect(() => read(row, at("train"))).toThrow(/column label is missing/);
});

test("formats and label words are those of the papers", () => {
  // xprompt.md §5.2 and fpt.md §6, word for word.
  const inputs = Object.fromEntries(taskNames.map((name) => [name, declaredTask(name).template]));
  expect(inputs).toEqual({
    boolq: "passage: {passage} question: {question}",
    cb: "hypothesis: {hypothesis} premise: {premise}",
    copa: "choice1: {choice1} choice2: {choice2} premise: {premise} question: {question}",
    multirc: "question: {question} answer: {answer} paragraph: {paragraph}",
    rte: "hypothesis: {hypothesis} premise: {premise}",
    wic: "sentence1: {sentence1} sentence2: {sentence2} word: {word}",
    wsc: "text: {marked}",
    record: "query: {query} entities: {entities} passage: {passage}",
    mnli: "hypothesis: {hypothesis} premise: {premise}",
    qqp: "question1: {question1} question2: {question2}",
    sst2: "sentence: {sentence}",
    squad2: "question: {question} context: {context}",
    xsum: "{document}",
  });
  const words = Object.fromEntries(
    taskNames.map((name) => [name, Object.values(declaredTask(name).verbalizer ?? {}).join("/")]),
  );
  expect(words).toMatchObject({
    boolq: "True/False",
    cb: "entailment/contradiction/neutral",
    copa: "choice1/choice2",
    multirc: "True/False",
    rte: "entailment/not_entailment",
    wic: "True/False",
    wsc: "True/False",
    mnli: "entailment/neutral/contradiction",
    qqp: "not_duplicate/is_duplicate",
    sst2: "negative/positive",
    squad2: "",
  });
  expect(taskNames.filter((name) => declaredTask(name).metrics[0] !== "accuracy")).toEqual([
    "multirc",
    "record",
    "squad2",
    "xsum",
  ]);
});

describe("templates", () => {
  test("holes, paths, braces, numbers and booleans", () => {
    const t = compileTemplate("{{a}} {x} {o.p} {n} {b} {x}");
    expect(t.fields).toEqual(["x", "o.p", "n", "b"]);
    expect(t.fill({ x: "{n}", o: { p: "q" }, n: 1.5, b: false }, "r")).toBe("{a} {n} q 1.5 false {n}");
  });
  test.each([
    ["{x", /not closed/],
    ["x}", /closes nothing/],
    ["{}", /no name/],
    ["{a{b}", /no name/],
  ])("%j is refused", (source, message) => {
    expect(() => compileTemplate(source)).toThrow(message);
  });
  test("a missing cell and one that is no text are refused by row and column", () => {
    const t = compileTemplate("{text}");
    expect(() => t.fill({ txt: "a" }, "f:7")).toThrow(/f:7: column text is missing[\s\S]*there is a column txt/);
    expect(() => t.fill({ text: null }, "f:7")).toThrow(/missing/);
    expect(() => t.fill({ text: { a: 1 } }, "f:7")).toThrow(/holds no text/);
    expect(() => t.fill({ text: Number.NaN }, "f:7")).toThrow(/holds no text/);
    expect(() => compileTemplate("{toString}").fill({}, "f:7")).toThrow(/missing/);
    expect(() => checkTemplate(t, ["id", "test"], "x")).toThrow(/did you mean \{test\}/);
  });
});
