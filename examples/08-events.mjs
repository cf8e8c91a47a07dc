/** @file The events of a tuning as an async iterable. */
import { eventsOf, loadData, openModel, tune } from "softprompt";
import { check } from "./check.mjs";

const model = await openModel("t5-nano");
try {
  const data = await loadData({ task: "quickstart", fewShot: 16 });
  const options = { virtualTokens: 4, steps: 4, batchSize: 4, evalEvery: 4, maxEvalRows: 8, baselines: false };
  const running = eventsOf((watch) => tune(model, data, { ...options, ...watch }));
  let seen = 0;
  for await (const event of running) {
    if (event.kind === "step") console.log(`step ${event.step}: loss ${event.loss.toFixed(3)}`, ++seen);
    if (event.kind === "eval") console.log(event.scores);
  }
  const { result } = await running.result;
  check(seen === 4, "each step was heard once");
  check(result.run.steps === 4, "the tuning ended by itself");
} finally {
  await model.dispose();
}
