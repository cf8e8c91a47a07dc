/** @file Fast Prompt Tuning: the same tuning on growing partial models, and what it costs. */
import { loadData, openModel, tune } from "softprompt";
import { check, steps } from "./check.mjs";

const model = await openModel("t5-nano");
try {
  const data = await loadData({ task: "quickstart", fewShot: 32 });
  const shared = { virtualTokens: 5, steps: steps(24), batchSize: 8, evalEvery: steps(24), maxEvalRows: 16, baselines: false };
  const plain = await tune(model, data, shared);
  const fast = await tune(model, data, { ...shared, schedule: "fpt-ld" });
  console.log(fast.training.cost.perStage.map(({ partial, steps }) => `${steps} steps on ${partial}`).join(", "));
  const share = fast.result.cost.trainFlops / plain.result.cost.trainFlops;
  console.log(`${(100 * share).toFixed(1)} % of the FLOPs of prompt tuning`);
  check(fast.training.cost.perStage.length > 1, "the training grew");
  check(share < 1, "it cost less than prompt tuning");
} finally {
  await model.dispose();
}
