/** @file A task of your own: label words, metrics, and a score on rows that were not trained on. */
import { defineTask, evaluate, openModel } from "softprompt";
import { check } from "./check.mjs";

const task = defineTask({
  name: "questions",
  template: "{text} Is this a question?",
  verbalizer: { no: "false", yes: "true" },
  metrics: ["accuracy", "macroF1"],
});
const rows = [
  { text: "Where do you live?", label: "yes" },
  { text: "I live in Rome.", label: "no" },
  { text: "Are you coming?", label: "yes" },
  { text: "She is coming.", label: "no" },
];
const model = await openModel("t5-nano");
try {
  // without `adapter` the frozen model answers: what a tuning has to beat
  const { scores, predictions, confusion } = await evaluate(model, rows, { task });
  for (const { row, label, correct } of predictions) console.log(correct ? "right" : "wrong", label, row.input);
  console.log(scores, confusion.counts);
  check(predictions.length === rows.length, "every row was scored");
  check(scores.accuracy === predictions.filter(({ correct }) => correct).length / rows.length, "accuracy is the share that is right");
} finally {
  await model.dispose();
}
