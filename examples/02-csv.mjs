/** @file Tune on a csv file, keep the run in a folder, and read its adapter back. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadData, openModel, predict, tune } from "softprompt";
import { check, steps } from "./check.mjs";

const data = await loadData({
  task: "tickets",
  train: join(import.meta.dirname, "own-task/tickets.csv"),
  template: "message: {message}",
  labelColumn: "team",
  validationShare: 0.25,
  onEvent: ({ message }) => console.log(message),
});
const output = join(mkdtempSync(join(tmpdir(), "softprompt-")), "tickets");
const model = await openModel("t5-nano");
try {
  await tune(model, data, { virtualTokens: 5, steps: steps(40), batchSize: 6, baselines: false, output });
  const answers = await predict(model, output, ["I was charged twice."]);
  console.log(answers[0].label);
  check(Object.keys(data.task.verbalizer).includes(answers[0].label), "the run's folder answers with a label of the file");
} finally {
  await model.dispose();
}
