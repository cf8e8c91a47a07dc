/**
 * @file Adapters of methods that leave no prompt, from training to answers: saved, read back and scored alike; resumed to the same values;
 * refused where they are of another model or hold what is not read.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { adapterBase, checkBase, loadAdapter, saveAdapter } from "../src/adapter/adapter.js";
import { appliedModel, appliedSettings, runnable } from "../src/adapter/applied.js";
import type { Adapter } from "../src/adapter/types.js";
import { defaults } from "../src/base/options.js";
import { random } from "../src/base/random.js";
import { openMethod } from "../src/method/methods.js";
import { type MethodName, methodOptions } from "../src/method/options.js";
import { type Checkpoint, openCheckpoint } from "../src/model/checkpoint.js";

const root = mkdtempSync(join(tmpdir(), "softprompt-methods-"));
const fixture = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
let checkpoint: Checkpoint;
beforeAll(async () => {
  checkpoint = await openCheckpoint(fixture("tiny-t5-v11"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const cases: [MethodName, object, string][] = [
  ["lora", { loraRank: 3, loraTargets: ["q", "wo"] }, "adapter_model.safetensors"],
  ["prefix", {}, "softprompt.safetensors"],
  ["full", { fullParts: ["layer_norm"] }, "softprompt.safetensors"],
];

async function made(name: MethodName, more: object, of = checkpoint): Promise<Adapter> {
  const settings = { ...defaults(methodOptions), virtualTokens: 4, seed: 0, ...more, method: name };
  const method = openMethod(settings);
  const parameters = await method.start({
    checkpoint: of,
    random: random(1, name),
    prompt: () => Promise.reject(new Error("no prompt")),
  });
  return {
    prompt: { shape: [0, of.config.width], data: new Float32Array(0) },
    applied: { method: name, settings: appliedSettings(name, settings), parameters, model: appliedModel(of.config) },
    mask: null,
    base: await adapterBase(of),
    tokenizer: null,
    task: null,
    training: null,
    scores: null,
    kept: { config: {}, extras: {} },
  };
}

test.each(cases)("%s: what is saved is read back, and runs under the same method", async (name, settings, file) => {
  const adapter = await made(name, settings);
  const folder = join(root, name);
  saveAdapter(folder, adapter);
  expect(readFileSync(join(folder, file)).length).toBeGreaterThan(100);
  const loaded = loadAdapter(folder);
  expect(loaded.applied?.parameters).toEqual(adapter.applied!.parameters);
  const [mine, theirs] = [runnable(adapter, checkpoint.config), runnable(loaded, checkpoint.config)];
  expect(theirs.method.key).toBe(mine.method.key);
  await checkBase(loaded, checkpoint);
  const other = await openCheckpoint(fixture("tiny-t5-v10"));
  await expect(checkBase(loaded, other)).rejects.toMatchObject({ kind: "adapter" });
  // one value changed
  const bytes = readFileSync(join(folder, file));
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(join(folder, file), bytes);
  expect(() => loadAdapter(folder)).toThrow(/not those that this file describes/);
});

test("LoRA in PEFT's files alone is read; variants that compute something else are refused", async () => {
  const adapter = await made("lora", { loraRank: 3, loraTargets: ["q"], loraAlpha: 6 });
  const folder = join(root, "peft-lora");
  saveAdapter(folder, adapter, "peft");
  const loaded = loadAdapter(folder);
  expect(loaded.applied?.parameters).toEqual(adapter.applied!.parameters);
  expect(loaded.applied?.settings).toMatchObject({ loraRank: 3, loraAlpha: 6 });
  runnable(loaded, checkpoint.config);
  const path = join(folder, "adapter_config.json");
  const config = JSON.parse(readFileSync(path, "utf8")) as object;
  for (const [change, message] of [
    [{ use_dora: true }, /DoRA/],
    [{ bias: "all" }, /bias/],
    [{ rank_pattern: { q: 2 } }, /ranks that differ/],
    [{ r: 4 }, /recorded rank/],
    [{ use_qalora: true }, /use_qalora/],
    [{ kasa_config: { a: 1 } }, /kasa_config/],
    [{ trainable_token_indices: [1, 2] }, /trained token embeddings/],
    [{ a_field_of_next_year: "on" }, /a_field_of_next_year/],
  ] as const) {
    writeFileSync(path, JSON.stringify({ ...config, ...change }));
    expect(() => loadAdapter(folder)).toThrow(message);
  }
  // what PEFT 0.21.2 writes of a plain LoRA, and a field of next year that is off
  const plain = {
    ...{ exclude_modules: null, layers_to_transform: null, layers_pattern: null, rank_pattern: {}, alpha_pattern: {} },
    ...{ megatron_config: null, megatron_core: "megatron.core", trainable_token_indices: null, loftq_config: {} },
    ...{ eva_config: null, corda_config: null, lora_ga_config: null, velora_config: null, use_qalora: false },
    ...{ alora_invocation_tokens: null, qalora_group_size: 16, monteclora_config: null, layer_replication: null },
    ...{ lora_bias: false, target_parameters: null, use_bdlora: null, arrow_config: null, kasa_config: null },
    ...{ ensure_weight_tying: false, a_field_of_next_year: [] },
  };
  writeFileSync(path, JSON.stringify({ ...config, ...plain }));
  expect(loadAdapter(folder).applied?.parameters).toEqual(adapter.applied!.parameters);
  writeFileSync(path, JSON.stringify({ ...config, use_rslora: true }));
  expect(loadAdapter(folder).applied?.settings.loraAlpha).toBeCloseTo(6 * Math.sqrt(3));
});

test("a prefix of a decoder-only model has PEFT's form, with the key heads", async () => {
  const llama = await openCheckpoint(fixture("tiny-causal-llama"));
  const adapter = await made("prefix", {}, llama);
  const folder = join(root, "peft-prefix");
  saveAdapter(folder, adapter, "peft");
  const config = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8")) as Record<string, unknown>;
  const keys = appliedModel(llama.config);
  expect(config).toMatchObject({
    peft_type: "PREFIX_TUNING",
    task_type: "CAUSAL_LM",
    num_attention_heads: keys.keyHeads,
    token_dim: keys.keyHeads! * keys.headWidth!,
  });
  expect(loadAdapter(folder).applied?.parameters).toEqual(adapter.applied!.parameters);
});

test("a prefix of an encoder-decoder goes to PEFT only where PEFT computes the same", async () => {
  const adapter = await made("prefix", {});
  expect(() => saveAdapter(join(root, "no-peft"), adapter, "peft")).toThrow(/has no such form/);
});
