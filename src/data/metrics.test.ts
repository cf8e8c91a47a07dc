import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { declaredTask } from "./dataset.js";
import {
  computeMetrics,
  labelScores,
  type MetricName,
  namesReferent,
  type Prediction,
  positiveLabel,
  type ScoredTask,
  selectionName,
  selectionScore,
} from "./metrics.js";
import { rouge } from "./rouge.js";
import type { Row } from "./row.js";
import { taskNames } from "./tasks.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const labelled = (label: string, group?: string): Row => ({
  id: `f:${label}${group}`,
  input: "",
  target: label,
  label,
  references: [label],
  group,
});
const said = (label: string | null): Prediction => ({ label, text: label ?? "gibberish" });
const score = (task: ScoredTask, rows: Row[], predictions: Prediction[], name: MetricName) =>
  computeMetrics({ ...task, metrics: [name] }, rows, predictions)[name];
const classes = (...labels: string[]): ScoredTask => ({ verbalizer: Object.fromEntries(labels.map((l) => [l, l])) });

describe("classification, by hand", () => {
  // gold  e e e e c c c n      predicted  e e c n c c e c
  const rows = [..."eeeecccn"].map((l) => labelled(l));
  const predictions = [..."eecncc"].map(said).concat([said("e"), said("c")]);
  const task = classes("e", "c", "n");

  test("accuracy: 4 of 8", () => {
    expect(score(task, rows, predictions, "accuracy")).toBe(0.5);
  });
  test("macro F1: e 4/7, c 4/7, n 0 (predicted once, wrong)", () => {
    // e: 2 right, 4 gold, 3 predicted; c: 2 right, 3 gold, 4 predicted; n: 0 right.
    expect(score(task, rows, predictions, "macroF1")).toBeCloseTo((4 / 7 + 4 / 7 + 0) / 3, 12);
  });
  test("a label that nobody names is left out of the macro mean", () => {
    expect(score(classes("e", "c", "n", "x"), rows, predictions, "macroF1")).toBeCloseTo(8 / 21, 12);
  });
  test("F1 of the positive label: the last one, or the one that scoring names", () => {
    expect(score({ ...task, scoring: { positiveLabel: "c" } }, rows, predictions, "f1")).toBeCloseTo(4 / 7, 12);
    expect(score(task, rows, predictions, "f1")).toBe(0);
  });
  test("no positive anywhere is 0, not NaN; no rows at all too", () => {
    expect(score(classes("a", "b"), [labelled("a")], [said("a")], "f1")).toBe(0);
    expect(score(task, [], [], "accuracy")).toBe(0);
  });
  test("QQP: a text that is no label counts as positive in F1, as wrong in accuracy", () => {
    const qqp: ScoredTask = { ...classes("no", "yes"), scoring: { positiveLabel: "yes", outOfLabel: "positive" } };
    const gold = ["yes", "yes", "no"].map((l) => labelled(l));
    const out = [said("yes"), said(null), said(null)];
    // 3 predicted positive, 2 gold, 2 right: 4/5.
    expect(score(qqp, gold, out, "f1")).toBeCloseTo(0.8, 12);
    expect(score({ ...qqp, scoring: { positiveLabel: "yes" } }, gold, out, "f1")).toBeCloseTo(2 / 3, 12);
    expect(score(qqp, gold, out, "accuracy")).toBeCloseTo(1 / 3, 12);
  });
  test("lengths must agree", () => {
    expect(() => score(task, rows, [], "accuracy")).toThrow(RangeError);
  });
});

test("MultiRC: F1a over all answers; exact match over questions", () => {
  const task = { ...classes("True", "False"), scoring: { positiveLabel: "True" } };
  //            question 1          question 2     question 3
  const gold = ["True", "False", "True", "False", "True", "False"];
  const answers = ["True", "False", "True", "True", "True", "False"];
  const groups = ["q1", "q1", "q2", "q2", "q3", "q3"];
  const rows = gold.map((l, i) => labelled(l, groups[i]));
  const predictions = answers.map(said);
  expect(score(task, rows, predictions, "f1a")).toBeCloseTo(6 / 7, 12); // 3 right, 3 gold, 4 predicted
  expect(score(task, rows, predictions, "groupExactMatch")).toBeCloseTo(2 / 3, 12);
});

describe("free text", () => {
  const text = (target: string, ...references: string[]): Row => ({
    id: "f:1",
    input: "",
    target,
    label: null,
    references: [target, ...references],
  });
  const free: ScoredTask = { verbalizer: null };
  const one = (row: Row, prediction: string, name: MetricName, task = free) =>
    score(task, [row], [{ label: null, text: prediction }], name);

  test("exact match: any reference, word for word; accuracy: the first", () => {
    expect(one(text("in 1973", "1973"), "1973", "exactMatch")).toBe(1);
    expect(one(text("in 1973", "1973"), "1973", "accuracy")).toBe(0);
    expect(one(text("The Crown"), "the crown", "exactMatch")).toBe(0);
    expect(one(text("The Crown."), "crown", "exactMatch", { ...free, scoring: { normalize: "squad" } })).toBe(1);
  });
  test.each([
    ["Peña Nieto", "peña nieto"],
    ["Peñ", "peñ"],
    ["à the café", "à café"],
    ["the_x a", "thex"],
    ["naïve a-b an", "naïve ab"],
    [" The\u00a0End ", "end"],
  ])("SQuAD's normalisation of %j is %j, as the official script's normalize_answer gives it", (said, normal) => {
    const squad = { ...free, scoring: { normalize: "squad" } } as const;
    // the normal form is its own normal form, and no other text's of this list
    expect(one(text(normal), said, "exactMatch", squad)).toBe(1);
    expect(one(text("peñ"), said, "exactMatch", squad)).toBe(Number(normal === "peñ"));
    expect(one(text("peña"), "peñ", "exactMatch", squad)).toBe(0);
  });
  test("token F1: the best reference, repeated words counted once each", () => {
    // "the old bridge" against "old old bridge": common old, bridge; 2·2/(3+3)
    expect(one(text("old old bridge"), "the old bridge", "tokenF1")).toBeCloseTo(2 / 3, 12);
    expect(one(text("x", "the old bridge"), "the old bridge", "tokenF1")).toBe(1);
    expect(one(text("x"), "", "tokenF1")).toBe(0);
  });
  // compute_f1 of the official script, where no answer is the empty text
  test.each([
    ["no answer", "no answer", 1],
    ["No answer.", "no answer", 1],
    ["an answer of no use", "no answer", 0],
    ["no answer", "no clear answer", 0],
    ["clear answer", "no clear answer", 0.8],
  ])("SQuAD's token F1 of %j against %j", (said, meant, f1) => {
    const squad = { ...free, scoring: { normalize: "squad" } } as const;
    expect(one(text(meant), said, "tokenF1", squad)).toBeCloseTo(f1, 12);
  });
  test("without SQuAD's rules these words are words", () => {
    expect(one(text("no answer"), "no clear answer", "tokenF1")).toBeCloseTo(0.8, 12);
  });
  test("SQuAD: has an answer or not", () => {
    const rows = [text("a"), text("b"), text("no answer"), text("no answer")];
    const predictions = ["x", "no answer", "c", "no answer"].map((t) => ({ label: null, text: t }));
    expect(score(free, rows, predictions, "hasAnswerF1")).toBeCloseTo(2 / 4, 12); // 1 right, 2 gold, 2 predicted
  });
});

test("ROUGE: the package's scores on every pair", () => {
  const pairs = JSON.parse(readFileSync(join(root, "test/fixtures/data/rouge.json"), "utf8")) as Record<
    string,
    never
  >[];
  expect(pairs.length).toBe(127);
  for (const { hypothesis, reference, rouge1, rouge2, rougeL } of pairs) {
    const ours = rouge(hypothesis!, reference!);
    for (const [mine, theirs] of [
      [ours.rouge1, rouge1],
      [ours.rouge2, rouge2],
      [ours.rougeL, rougeL],
    ])
      if (Math.abs(mine! - theirs!) > 1e-12) throw new Error(JSON.stringify({ hypothesis, reference, mine, theirs }));
  }
});

test("ROUGE-L by hand: the union of two subsequences; an empty text scores 0", () => {
  // The textbook pair (Lin 2004): union {w1 w2 w3 w5} = 4; 5 distinct words meant, 8 said.
  const { rougeL } = rouge("w1 w2 w6 w7 w8. w1 w3 w8 w9 w5", "w1 w2 w3 w4 w5");
  expect(rougeL).toBeCloseTo((2 * (4 / 8) * (4 / 5)) / (4 / 8 + 4 / 5), 7);
  expect(rouge("", "a b")).toEqual({ rouge1: 0, rouge2: 0, rougeL: 0 });
  expect(rouge("...", "a b").rougeL).toBe(0);
});

test.each([
  ["the bunny", "The fuzzy bunny", true],
  ["fuzzy bunny", "bunny", true],
  ["Mark", "Mark's father", false],
  ["mark's father", "Mark's", true],
  ["the dog", "The bunny", false],
  ["Pete", "Mark", false],
])("WSC by generation: %j names %j: %s", (prediction, candidate, right) => {
  expect(namesReferent(prediction, candidate)).toBe(right);
  const row: Row = {
    id: "f:1",
    input: "",
    target: candidate,
    label: right ? "True" : "False",
    references: [candidate],
  };
  const task: ScoredTask = { verbalizer: null, scoring: { referent: true } };
  expect(score(task, [row], [{ label: null, text: prediction }], "accuracy")).toBe(1);
});

test.each(["", "  ", "the", "Some of"])(
  "WSC by generation: %j: nothing beside determiners is right for no label",
  (said) => {
    // T5's wsc_simple returns -1 where nothing is left of the prediction, which is neither label
    const task: ScoredTask = { verbalizer: null, scoring: { referent: true } };
    const scores = ["True", "False"].map((label) => {
      const row: Row = { id: "f:1", input: "", target: "Pete", label, references: ["Pete"] };
      return score(task, [row], [{ label: null, text: said }], "accuracy");
    });
    expect(scores).toEqual(said === "Some of" ? [0, 1] : [0, 0]);
  },
);

test("f1 is of 1 where the labels are -1 and 1, however an object lists them; of the last label else; or as asked for", () => {
  const gold = [..."1101"].map((l) => labelled(l === "1" ? "1" : "-1"));
  const majority = gold.map(() => said("1"));
  const task: ScoredTask = { verbalizer: { "-1": "bad", 1: "good" } };
  expect(score(task, gold, majority, "f1")).toBeCloseTo(6 / 7, 12); // 3 right of 3 gold, 4 predicted
  expect(score({ ...task, scoring: { positiveLabel: "-1" } }, gold, majority, "f1")).toBe(0);
  expect(positiveLabel({ verbalizer: { 10: "a", 9: "b", "-3.5": "c" } })).toBe("10");
  expect(positiveLabel({ verbalizer: { yes: "a", no: "b" } })).toBe("no");
  expect(positiveLabel({ verbalizer: { 1: "a", no: "b" } })).toBe("no");
});

test("labels with the names of an object's own properties are scored like any other", () => {
  const names = ["constructor", "__proto__", "toString"];
  const rows = names.map((l) => labelled(l));
  const task = classes(...names);
  expect(score(task, rows, names.map(said), "accuracy")).toBe(1);
  expect(score(task, rows, names.map(said), "macroF1")).toBe(1);
  expect(score(task, rows, ["__proto__", "__proto__", "toString"].map(said), "accuracy")).toBeCloseTo(2 / 3, 12);
});

test("FPT's tasks choose by the mean of all their metrics, the others by the first", () => {
  const scores = { accuracy: 0.8, f1: 0.4 };
  expect(selectionScore({ metrics: ["accuracy", "f1"] }, scores)).toBe(0.8);
  expect(selectionScore({ metrics: ["accuracy", "f1"], selectBy: "mean" }, scores)).toBeCloseTo(0.6, 12);
  expect(selectionScore({ metrics: ["accuracy", "f1a"], selectBy: "mean" }, scores)).toBeNaN();
  const byMean = taskNames.filter((name) => declaredTask(name).selectBy === "mean");
  // MNLI has one metric
  expect(byMean).toEqual(["record", "qqp", "squad2", "xsum"]);
  expect(selectionName(declaredTask("qqp"))).toBe("mean of accuracy, f1");
  expect(selectionName(declaredTask("cb"))).toBe("accuracy");
});

test("each label's precision, recall, F1 and support are scikit-learn's; what has no denominator is null", () => {
  // precision_recall_fscore_support(truth, given, labels=list("abcde"), zero_division=nan), "?" for what is no label
  const [truth, given] = ["aaabbcb", "aabb?ae"];
  const pairs = [...truth].map((label, n) => [label, given[n] === "?" ? null : given[n]!] as const);
  const found = labelScores([..."abcde"], pairs);
  expect(found.map(({ label, support, predicted }) => [label, support, predicted])).toEqual([
    ["a", 3, 3],
    ["b", 3, 2],
    ["c", 1, 0],
    ["d", 0, 0],
    ["e", 0, 1],
  ]);
  const rounded = (value: number | null) => (value === null ? null : Number(value.toFixed(4)));
  expect(found.map(({ precision, recall, f1 }) => [precision, recall, f1].map(rounded))).toEqual([
    [0.6667, 0.6667, 0.6667],
    [0.5, 0.3333, 0.4],
    [null, 0, 0],
    [null, null, null],
    [0, null, 0],
  ]);
});
