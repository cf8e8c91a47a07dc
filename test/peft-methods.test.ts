/**
 * @file PEFT's other methods go both ways: adapters that PEFT made of LoRA, prefixes, P-tuning and multitask prompt tuning are read here with the
 * logits PEFT computed (committed); LoRA and prefixes of ours are loaded by real PEFT, where a Python with peft is found.
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { adapterBase, checkBase, loadAdapter, saveAdapter } from "../src/adapter/adapter.js";
import { appliedModel, appliedSettings, runnable } from "../src/adapter/applied.js";
import type { Adapter } from "../src/adapter/types.js";
import { defaults } from "../src/base/options.js";
import { random } from "../src/base/random.js";
import { openEngine } from "../src/engine/engine.js";
import { maskFromScores } from "../src/method/mask.js";
import { openMethod } from "../src/method/methods.js";
import { type MethodName, methodOptions } from "../src/method/options.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { type EncodedRow, makeBatch } from "../src/text/batch.js";
import { methodAdapter, promptAdapter } from "./helpers/adapters.js";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const oracle = here("oracles/peft_methods.py");
const asked = process.env.SOFTPROMPT_PYTHON;
const python = asked ?? "python3";
const found = spawnSync(python, [oracle, "check"], { encoding: "utf8", timeout: 300_000 });
const versions = found.status === 0 ? found.stdout.trim().split("\n").at(-1)! : null;
if (versions === null && asked === undefined)
  console.warn(
    `peft-methods.test: checks against real PEFT are SKIPPED: ${python} has no peft (set SOFTPROMPT_PYTHON)`,
  );

const root = mkdtempSync(join(tmpdir(), "softprompt-peft-methods-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

interface Task {
  readonly texts: readonly number[][];
  readonly targets: readonly number[][];
}

/** Real PEFT's logits of each row's target, with an adapter's folder. */
function theirLogits(folder: string, model: string, task: Task): number[][][] {
  const run = spawnSync(python, [oracle, "logits", folder, here(`fixtures/${model}`)], {
    input: JSON.stringify(task),
    encoding: "utf8",
    maxBuffer: 1 << 26,
  });
  expect(run.status, run.stderr).toBe(0);
  return JSON.parse(run.stdout.trim().split("\n").at(-1)!) as number[][][];
}

/** Our logits of each row's target. */
async function logitsOf(adapter: Adapter, model: string, { texts, targets }: Task): Promise<number[][][]> {
  const checkpoint = await openCheckpoint(here(`fixtures/${model}`));
  await checkBase(adapter, checkpoint);
  const { method, parameters } = runnable(adapter, checkpoint.config);
  const engine = openEngine(checkpoint, { threads: 1 }, method);
  const rows = texts.map((text, b): EncodedRow => {
    const causal = checkpoint.config.family !== "t5";
    const place = causal ? { input: Int32Array.from(text.slice(0, -1)), first: text.at(-1)! } : null;
    return {
      id: String(b),
      ...(place ?? { input: Int32Array.from(text) }),
      target: Int32Array.from(targets[b]!),
      choices: null,
      gold: -1,
      truncated: false,
    };
  });
  const { logits } = await (await engine.forward()).run(parameters, makeBatch(rows));
  const [, U, V] = logits.shape as [number, number, number];
  await engine.dispose();
  return targets.map((target, b) =>
    target.map((_, u) => Array.from(logits.data.subarray((b * U + u) * V, (b * U + u + 1) * V))),
  );
}

/** Largest difference over the largest magnitude. */
function apart(a: number[][][], b: number[][][]): number {
  const [x, y] = [a.flat(2), b.flat(2)];
  expect(x.length).toBe(y.length);
  return Math.max(...x.map((v, i) => Math.abs(v - y[i]!))) / Math.max(...y.map(Math.abs));
}

test.each(readdirSync(here("fixtures/peft-methods")))("%s that PEFT made gives PEFT's logits", async (name) => {
  const folder = here(`fixtures/peft-methods/${name}`);
  const { model, logits, ...task } = JSON.parse(readFileSync(join(folder, "expected.json"), "utf8")) as Task & {
    readonly model: string;
    readonly logits: number[][][];
  };
  expect(apart(await logitsOf(loadAdapter(folder), model, task), logits)).toBeLessThan(1e-4);
});

test("a multitask prompt that PEFT also puts before the decoder's tokens is refused", () => {
  const folder = join(root, "two-parts");
  cpSync(here("fixtures/peft-methods/multitask"), folder, { recursive: true });
  const path = join(folder, "adapter_config.json");
  const config = JSON.parse(readFileSync(path, "utf8")) as object;
  for (const num_transformer_submodules of [2, null]) {
    writeFileSync(path, JSON.stringify({ ...config, num_transformer_submodules }));
    expect(() => loadAdapter(folder)).toThrow(/has a part before the decoder's tokens/);
  }
});

const made: [string, string, MethodName, object][] = [
  ["LoRA", "tiny-t5-v11", "lora", { loraRank: 3, loraAlpha: 5, loraTargets: ["q", "wi_0", "wo"] }],
  ["LoRA", "tiny-causal-llama", "lora", { loraRank: 3, loraAlpha: 5, loraTargets: ["q_proj", "down_proj"] }],
  ["LoRA, transposed matrices", "tiny-causal-gpt2", "lora", { loraRank: 3, loraTargets: ["c_attn", "c_fc"] }],
  ["a prefix, grouped key heads", "tiny-causal-llama", "prefix", {}],
  ["a prefix", "tiny-causal-gpt2", "prefix", {}],
  ["a prefix whose layers share a pair", "tiny-t5-v10", "prefix", { prefixAttentions: ["decoder.self"] }],
];

// a Python that was asked for by name must work: then a failure is not a skip
test.skipIf(versions === null && asked === undefined).each(made)(
  `%s of ours on %s, loaded by real PEFT, gives our logits ${versions ?? "(SKIPPED: no Python with peft; set SOFTPROMPT_PYTHON)"}`,
  { timeout: 300_000 },
  async (_, model, name, more) => {
    expect(versions, found.stderr || String(found.error ?? found.signal)).not.toBeNull();
    const checkpoint = await openCheckpoint(here(`fixtures/${model}`));
    const settings = { ...defaults(methodOptions), virtualTokens: 3, seed: 0, ...more, method: name };
    const method = openMethod(settings);
    const start = await method.start({
      checkpoint,
      random: random(1, name),
      prompt: () => Promise.reject(new Error()),
    });
    // LoRA starts as the identity, which any file would agree with
    const draw = random(2, "moved");
    const parameters = Object.fromEntries(
      Object.entries(start).map(([key, { shape, data }]) => {
        const moved = data.map((v) => v + draw.uniform(-0.3, 0.3));
        // of an encoder-decoder of two layers PEFT gives both the same keys and values
        const half = shape[1]! / 2;
        if (model === "tiny-t5-v10")
          for (let n = 0; n < moved.length; n++) if (n % (2 * half) >= half) moved[n] = moved[n - half]!;
        return [key, { shape, data: moved }];
      }),
    );
    const adapter: Adapter = {
      prompt: { shape: [0, checkpoint.config.width], data: new Float32Array(0) },
      applied: {
        method: name,
        settings: appliedSettings(name, settings),
        parameters,
        model: appliedModel(checkpoint.config),
      },
      mask: null,
      base: await adapterBase(checkpoint),
      tokenizer: null,
      task: null,
      training: null,
      scores: null,
      kept: { config: {}, extras: {} },
    };
    const folder = join(root, `${model}-${name}`);
    saveAdapter(folder, adapter, "peft");
    const task = { texts: [[5, 17, 42, 9, 33, 1], [60, 3, 1], [7]], targets: [[8, 30, 2], [77], [11, 4]] };
    const theirs = theirLogits(folder, model, task);
    const mine = await logitsOf(loadAdapter(folder), model, task);
    expect(apart(mine, theirs)).toBeLessThan(1e-4);
    const none = await logitsOf({ ...adapter, applied: { ...adapter.applied!, parameters: start } }, model, task);
    expect(apart(none, theirs)).toBeGreaterThan(1e-2);
  },
);

// zeros are keys and values like any others to PEFT
test.skipIf(versions === null && asked === undefined).each(["tiny-causal-llama", "tiny-causal-gpt2"])(
  "a pruned prefix of ours on %s, loaded by real PEFT, gives our logits, and comes back with its mask",
  { timeout: 300_000 },
  async (model) => {
    const checkpoint = await openCheckpoint(here(`fixtures/${model}`));
    const whole = await methodAdapter(checkpoint, "prefix", { virtualTokens: 3 });
    const scores = { tokens: [3, 1, 2], pieces: Float32Array.from({ length: 24 }, (_, n) => (7 * n) % 24) };
    const adapter = { ...whole, mask: maskFromScores(scores, { tokensPruned: 1, piecesPruned: 3 }) };
    const folder = join(root, `${model}-pruned`);
    saveAdapter(folder, adapter);
    const loaded = loadAdapter(folder);
    expect(loaded.mask).toEqual(adapter.mask);
    const task = { texts: [[5, 17, 42, 9, 33, 1], [60, 3, 1], [7]], targets: [[8, 30, 2], [77], [11, 4]] };
    const theirs = theirLogits(folder, model, task);
    expect(apart(await logitsOf(loaded, model, task), theirs)).toBeLessThan(1e-4);
    expect(apart(await logitsOf(whole, model, task), theirs)).toBeGreaterThan(1e-2);
  },
);

// what prompt tuning, P-tuning and the reparametrised prompts leave
test
  .skipIf(versions === null && asked === undefined)
  .each([
    "tiny-t5-v10",
    "tiny-t5-v11",
    "tiny-causal-llama",
    "tiny-causal-gpt2",
    "tiny-causal-neox",
    "tiny-causal-qwen3",
  ])("a prompt of ours on %s, loaded by real PEFT, gives our logits", { timeout: 300_000 }, async (model) => {
  const checkpoint = await openCheckpoint(here(`fixtures/${model}`));
  const adapter = await promptAdapter(checkpoint, 4);
  const folder = join(root, `${model}-prompt`);
  saveAdapter(folder, adapter, "peft");
  const task = { texts: [[5, 17, 42, 9, 33, 1], [60, 3, 1], [7]], targets: [[8, 30, 2], [77], [11, 4]] };
  const theirs = theirLogits(folder, model, task);
  expect(apart(await logitsOf(loadAdapter(folder), model, task), theirs)).toBeLessThan(1e-4);
  const other = { ...adapter, prompt: { ...adapter.prompt, data: adapter.prompt.data.map((v) => -v) } };
  expect(apart(await logitsOf(other, model, task), theirs)).toBeGreaterThan(1e-2);
});

test("methods that PEFT has no form for are kept in ours, and refused in PEFT's", async () => {
  const checkpoint = await openCheckpoint(here("fixtures/tiny-t5-v11"));
  const folder = join(root, "full");
  for (const [name, settings] of [
    ["full", { fullParts: ["layer_norm"] }],
    ["prefix", {}],
  ] as const) {
    const adapter = await methodAdapter(checkpoint, name, settings);
    expect(() => saveAdapter(folder, adapter, "peft")).toThrow(/has no such form/);
    saveAdapter(folder, adapter);
    expect(readdirSync(folder)).not.toContain("adapter_config.json");
    expect(loadAdapter(folder).applied!.parameters).toEqual(adapter.applied!.parameters);
  }
});
