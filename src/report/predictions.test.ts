/** @file The confusion table counts every labelled row, also where what was said is no label. */
import { expect, test } from "vitest";
import { type Prediction, predictionSections } from "./predictions.js";

const said = (trueLabel: string | null, label: string | null, correct = trueLabel === label): Prediction => ({
  id: "f:1",
  input: "x",
  label,
  text: label ?? "?",
  probabilities: null,
  trueLabel,
  target: trueLabel ?? "",
  correct,
});
const times = (n: number, prediction: Prediction) => Array.from({ length: n }, () => prediction);

/** Cells of the confusion table, row by row; null where there is none. */
function confusion(predictions: readonly Prediction[]): string[][] | null {
  const [head, table] = predictionSections(predictions).map(({ html }) => html);
  if (!head?.includes("<h2>Confusion</h2>")) return null;
  return [...table!.matchAll(/<tr.*?<\/tr>/gs)].map(([row]) =>
    [...row.matchAll(/<t[hd][^>]*>(.*?)<\/t[hd]>/g)].map(([, cell]) => cell!),
  );
}

test("texts that are no label are wrong, in a column of their own", () => {
  const rows = [
    ...times(3, said("a", "a")),
    ...times(2, said("b", "b")),
    ...times(4, said("a", null)),
    said("b", null),
  ];
  expect(confusion(rows)).toEqual([
    ["true \\ said", "a", "b", "no label", "support", "precision", "recall", "f1"],
    ["a", "3", "0", "4", "7", "100.0", "42.9", "60.0"],
    ["b", "0", "2", "1", "3", "100.0", "66.7", "80.0"],
  ]);
});

test("without such texts there is no such column", () => {
  expect(confusion([said("a", "a"), said("b", "a")])).toEqual([
    ["true \\ said", "a", "b", "support", "precision", "recall", "f1"],
    ["a", "1", "0", "1", "50.0", "100.0", "66.7"],
    ["b", "1", "0", "1", "–", "0.0", "0.0"],
  ]);
});

test("no label was ever said: all rows are wrong; texts that are judged otherwise have no table", () => {
  expect(confusion([said("a", null), said("b", null)])).toEqual([
    ["true \\ said", "a", "b", "no label", "support", "precision", "recall", "f1"],
    ["a", "0", "0", "1", "1", "–", "0.0", "0.0"],
    ["b", "0", "0", "1", "1", "–", "0.0", "0.0"],
  ]);
  expect(confusion([said("True", null, true), said("False", null, false)])).toBe(null);
  expect(confusion([said(null, null)])).toBe(null);
});
