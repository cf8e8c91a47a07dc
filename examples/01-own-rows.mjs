/** @file Tune on rows that the program has, and ask about a new text. */
import { openModel, predict, tune } from "softprompt";
import { check, steps } from "./check.mjs";

const rows = [
  ["The pasta was warm and the waiter kind.", "good"],
  ["Cold soup, cold room, cold people.", "bad"],
  ["I would eat here every day.", "good"],
  ["We waited an hour and left hungry.", "bad"],
  ["A lovely evening with perfect fish.", "good"],
  ["The bread was stale and the bill wrong.", "bad"],
].map(([text, label]) => ({ text, label }));

const model = await openModel("t5-nano");
try {
  const { adapter } = await tune(
    model,
    { rows, template: "review: {text}", verbalizer: { bad: "terrible", good: "great" }, validationRows: rows },
    { virtualTokens: 5, steps: steps(30), batchSize: 6, baselines: false },
  );
  const [answer] = await predict(model, adapter, ["What a wonderful cake."]);
  console.log(answer.label, answer.probabilities);
  const total = Object.values(answer.probabilities).reduce((a, b) => a + b);
  check(["good", "bad"].includes(answer.label), "the answer is one of the labels");
  check(Math.abs(total - 1) < 1e-6, "its probabilities sum to one");
} finally {
  await model.dispose();
}
