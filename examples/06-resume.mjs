/** @file Stop a tuning, and go on exactly where it stopped. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadData, openModel, tune } from "softprompt";
import { check } from "./check.mjs";

const model = await openModel("t5-nano");
try {
  const data = await loadData({ task: "quickstart", fewShot: 16 });
  const options = { virtualTokens: 4, steps: 8, batchSize: 4, evalEvery: 8, maxEvalRows: 8, baselines: false, tensorboard: false };
  const folder = mkdtempSync(join(tmpdir(), "softprompt-"));
  const whole = await tune(model, data, options);

  const stop = new AbortController();
  const output = join(folder, "run");
  const onEvent = (event) => event.kind === "step" && event.step === 4 && stop.abort();
  const half = await tune(model, data, { ...options, output, onEvent, signal: stop.signal });
  console.log(`stopped after step ${half.result.run.steps}`);
  const again = await tune(model, data, { ...options, output, resume: true });

  check(half.result.run.reason === "interrupted", "the first half says that it was interrupted");
  const same = again.adapter.prompt.data.every((value, i) => value === whole.adapter.prompt.data[i]);
  check(same, "the resumed prompt is, bit for bit, that of a tuning without a stop");
} finally {
  await model.dispose();
}
