/** @file XPrompt: which tokens of a prompt can go, found by scores and retraining. */
import { loadData, openModel, prune } from "softprompt";
import { check, steps } from "./check.mjs";

const model = await openModel("t5-nano");
try {
  const data = await loadData({ task: "quickstart", fewShot: 16 });
  const pruned = await prune(model, data, {
    virtualTokens: 4,
    steps: steps(8),
    batchSize: 8,
    evalEvery: steps(8),
    maxEvalRows: 8,
    baselines: false,
    level: "tokens",
    tokensPruned: [2],
    onEvent: (event) => event.kind === "phase" && console.log(event.phase),
  });
  const lives = pruned.adapter.mask.tokens.filter((alive) => alive === 1).length;
  console.log(`${lives} of 4 tokens are left`, pruned.record.scores);
  check(pruned.adapter.mask !== null && lives < 4, "the adapter has a mask that prunes something");
} finally {
  await model.dispose();
}
