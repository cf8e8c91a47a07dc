/** @file An adapter for PEFT and back: adapter_config.json and adapter_model.safetensors, as PromptTuningConfig writes them. */
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadAdapter, loadData, openModel, predict, saveAdapter, tune } from "softprompt";
import { check, steps } from "./check.mjs";

const model = await openModel("t5-nano");
try {
  const data = await loadData({ task: "quickstart", fewShot: 16 });
  const { adapter } = await tune(model, data, { virtualTokens: 4, steps: steps(8), batchSize: 4, maxEvalRows: 8, baselines: false });

  const folder = join(mkdtempSync(join(tmpdir(), "softprompt-")), "adapter");
  saveAdapter(folder, adapter, "peft");
  const config = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"));
  console.log(config.peft_type, config.num_virtual_tokens);
  check(config.peft_type === "PROMPT_TUNING" && config.num_virtual_tokens === 4, "PEFT can read its kind and its size");

  // back, as PEFT's own adapter would come: it records no task, so the task is given
  const back = loadAdapter(folder);
  check(back.prompt.data.every((value, i) => value === adapter.prompt.data[i]), "the prompt is the same, bit for bit");
  const ask = (which) => predict(model, which, ["A fine film."], { task: data.task });
  const [[ours], [theirs]] = [await ask(adapter), await ask(back)];
  check(ours.label === theirs.label, "and it gives the same answer");
} finally {
  await model.dispose();
}
