/** @file Stop work by a signal: predictions throw, a tuning keeps what it has. */
import { loadData, openModel, predict, SoftpromptError, tune } from "softprompt";
import { check } from "./check.mjs";

const model = await openModel("t5-nano");
try {
  const data = await loadData({ task: "quickstart", fewShot: 16 });
  const stop = new AbortController();
  const run = await tune(model, data, {
    virtualTokens: 4,
    steps: 1000,
    batchSize: 4,
    maxEvalRows: 8,
    baselines: false,
    signal: stop.signal,
    onEvent: (event) => event.kind === "step" && event.step === 2 && stop.abort(),
  });
  check(run.result.run.reason === "interrupted" && run.result.run.steps === 2, "the step in progress was finished, no more");

  const error = await predict(model, run.adapter, ["too late"], { signal: stop.signal }).catch((cause) => cause);
  check(error instanceof SoftpromptError && error.kind === "interrupted", "a prediction that was stopped throws");
} finally {
  await model.dispose();
}
