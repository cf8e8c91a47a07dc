/**
 * @file Adapters: both forms are the same prompt, unknown keys survive, untrusted files end in our error.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { fakeEngine } from "../../test/helpers/fake-engine.js";
import { SoftpromptError } from "../base/errors.js";
import { random } from "../base/random.js";
import type { Tensor } from "../base/tensor.js";
import { applyMask, maskFromScores, maskToJson } from "../method/mask.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { writeSafetensors } from "../model/safetensors.js";
import { adapterBase, checkBase, loadAdapter, saveAdapter } from "./adapter.js";
import { maskMap } from "./map.js";
import type { Adapter } from "./types.js";

const root = mkdtempSync(join(tmpdir(), "softprompt-adapter-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;
const newFolder = () => {
  const folder = join(root, String(folders++));
  mkdirSync(folder);
  return folder;
};

const stream = random(1, "adapter test");
const prompt: Tensor = { shape: [4, 8], data: Float32Array.from({ length: 32 }, () => stream.uniform(-1, 1)) };
const mask = maskFromScores(
  { tokens: [3, 1, 2, 4], pieces: Array.from({ length: 16 }, () => stream.next()) },
  { tokensPruned: 1, piecesPruned: 2 },
);
const hash = "ab".repeat(32);
const adapter: Adapter = {
  prompt: applyMask(prompt, mask),
  mask,
  base: { name: "google/t5-tiny", revision: "main", sha256: hash, family: "t5", width: 8, layers: 2, heads: 2 },
  tokenizer: "cd".repeat(32),
  task: {
    name: "rte",
    template: "hypothesis: {h} premise: {p}",
    verbalizer: { "0": "entailment", "1": "not_entailment" },
    metrics: ["accuracy"],
    maxTargetTokens: 10,
    targetPrefix: "",
  },
  training: { method: "xprompt", schedule: [{ partial: "full", steps: 10 }], seed: 3, settings: { learningRate: 0.3 } },
  scores: { split: "validation", rows: 277, values: { accuracy: 0.5 } },
  kept: { config: {}, extras: {} },
};
const plain: Adapter = { ...adapter, prompt, mask: null };
const save = (form?: Parameters<typeof saveAdapter>[2], what = adapter) => {
  const folder = newFolder();
  saveAdapter(folder, what, form);
  return folder;
};
const json = (folder: string, name: string) => JSON.parse(readFileSync(join(folder, name), "utf8"));
const edit = (folder: string, name: string, change: (value: Record<string, unknown>) => void) => {
  const value = json(folder, name);
  change(value);
  writeFileSync(join(folder, name), JSON.stringify(value));
  return folder;
};
const base = (config: object, sha256 = hash) =>
  ({ name: "base", config, sha256: () => Promise.resolve(sha256) }) as unknown as Checkpoint;

test("saved and loaded is the same adapter; the bytes counted are the bytes written", () => {
  for (const what of [adapter, plain]) {
    const folder = newFolder();
    const bytes = saveAdapter(folder, what);
    expect(readdirSync(folder).sort()).toEqual([
      "README.md",
      "adapter_config.json",
      "adapter_model.safetensors",
      "softprompt.json",
    ]);
    expect(bytes).toBe(readdirSync(folder).reduce((sum, f) => sum + readFileSync(join(folder, f)).length, 0));
    expect({ ...loadAdapter(folder), kept: what.kept }).toEqual(what);
  }
});

test("a README that no adapter brought is not replaced; an adapter is", () => {
  for (const what of [adapter, plain]) {
    const project = newFolder();
    writeFileSync(join(project, "README.md"), "# our project");
    expect(() => saveAdapter(project, what)).toThrow(/this folder holds something else.*README\.md/s);
    expect(readdirSync(project)).toEqual(["README.md"]);
    expect(readFileSync(join(project, "README.md"), "utf8")).toBe("# our project");
    const own = newFolder();
    saveAdapter(own, { ...what, task: null });
    saveAdapter(own, what, "peft");
    saveAdapter(own, what);
    expect(loadAdapter(own).task).toEqual(what.task);
  }
});

test("a save that failed on the way can be done again: the card is never left alone", () => {
  const folder = newFolder();
  // of a prompt inside its text there are softprompt.json and the card
  saveAdapter(folder, { ...plain, task: { ...plain.task!, template: "{h}{prompt}{p}" } });
  const blocked = join(folder, "adapter_model.safetensors");
  mkdirSync(join(blocked, "x"), { recursive: true });
  expect(() => saveAdapter(folder, plain, "peft")).toThrow();
  rmSync(blocked, { recursive: true });
  saveAdapter(folder, plain, "peft");
  expect(loadAdapter(folder).prompt).toEqual(prompt);
});

test("compact = dense: softprompt.json alone rebuilds the prompt bit for bit, and stores only what survives", () => {
  const folder = save("compact");
  expect(readdirSync(folder)).toEqual(["softprompt.json"]);
  expect(loadAdapter(folder).prompt).toEqual(loadAdapter(save("both")).prompt);
  expect(Buffer.from(json(folder, "softprompt.json").surviving.data, "base64").length).toBe(3 * 2 * 2 * 4);
  expect(() => saveAdapter(newFolder(), plain, "compact")).toThrow(/only a pruned prompt/);
});

test("a pruned prompt's values stand in one file only, and its mask in bits; an earlier version's file is read", () => {
  const folder = save("both");
  const now = json(folder, "softprompt.json");
  expect(now.surviving).toBeNull();
  // γ and ζ of 4 tokens of 4 pieces: 20 bits, 3 bytes
  expect(now.mask).toMatchObject({ count: 4, bits: expect.stringMatching(/^[\w+/=]{4}$/) });
  const alone = json(save("compact"), "softprompt.json").surviving;
  expect(alone).not.toBeNull();
  // as it was written before: values beside the dense ones, a mask of zeros and ones
  const loaded = loadAdapter(folder);
  const old = { ...now, surviving: alone, mask: maskToJson(loaded.mask!) };
  writeFileSync(join(folder, "softprompt.json"), JSON.stringify(old));
  expect(loadAdapter(folder)).toEqual(loaded);
  // without PEFT's file the new one has no values
  rmSync(join(folder, "adapter_model.safetensors"));
  rmSync(join(folder, "adapter_config.json"));
  writeFileSync(join(folder, "softprompt.json"), JSON.stringify(now));
  expect(() => loadAdapter(folder)).toThrow(/no prompt values/);
});

test("PEFT's config has the fields that PEFT 0.21 writes, with one submodule", () => {
  expect(json(save("peft"), "adapter_config.json")).toEqual({
    auto_mapping: null,
    base_model_name_or_path: "google/t5-tiny",
    inference_mode: true,
    modules_to_save: null,
    num_attention_heads: 2,
    num_layers: 2,
    num_transformer_submodules: 1,
    num_virtual_tokens: 4,
    peft_type: "PROMPT_TUNING",
    peft_version: "0.21.0",
    prompt_tuning_init: "RANDOM",
    prompt_tuning_init_text: null,
    revision: "main",
    task_type: "SEQ_2_SEQ_LM",
    token_dim: 8,
    tokenizer_kwargs: null,
    tokenizer_name_or_path: null,
  });
});

test("fields we do not know survive a round trip in both files", () => {
  const folder = save();
  edit(folder, "adapter_config.json", (c) =>
    Object.assign(c, { new_in_peft: [1, { a: 2 }], prompt_tuning_init: "TEXT" }),
  );
  edit(folder, "softprompt.json", (c) => Object.assign(c, { note: "mine" }));
  const again = newFolder();
  saveAdapter(again, loadAdapter(folder));
  expect(json(again, "adapter_config.json")).toEqual(json(folder, "adapter_config.json"));
  expect(json(again, "softprompt.json")).toEqual(json(folder, "softprompt.json"));
});

test.each([
  ["metrics", ["bogus"]],
  ["metrics", ["constructor"]],
  ["maxTargetTokens", 60_000],
  ["scoring", { positiveLabel: "none such" }],
  ["scoring", { bogus: true }],
  ["verbalizer", { "0": "" }],
  ["template", "no hole"],
])("a task with a wrong %s (%j) is refused when it is read, not when rows are judged", (key, value) => {
  const folder = edit(save(), "softprompt.json", (c) => Object.assign(c.task as object, { [key]: value }));
  expect(() => loadAdapter(folder)).toThrow(expect.objectContaining({ kind: "adapter" }));
});

test("a task's scoring survives a round trip", () => {
  const task = { ...adapter.task!, scoring: { positiveLabel: "1", outOfLabel: "positive" } } as const;
  expect(loadAdapter(save("both", { ...adapter, task })).task).toEqual(task);
});

test("labels with the names of an object's own properties are labels like any other", () => {
  const names = ["constructor", "__proto__", "toString", "-1", "1"];
  const task = { ...adapter.task!, verbalizer: Object.fromEntries(names.map((name, i) => [name, `word ${i}`])) };
  const again = loadAdapter(save("both", { ...adapter, task })).task!;
  expect(Object.entries(again.verbalizer!)).toEqual(Object.entries(task.verbalizer));
});

test("of a PEFT adapter with two submodules the first half is the prompt", () => {
  const folder = save("peft");
  edit(folder, "adapter_config.json", (c) => Object.assign(c, { num_transformer_submodules: null }));
  const both = Float32Array.from([...prompt.data, ...new Float32Array(32).fill(9)]);
  writeFileSync(
    join(folder, "adapter_model.safetensors"),
    writeSafetensors({ prompt_embeddings: { shape: [8, 8], data: both } }),
  );
  expect(loadAdapter(folder)).toMatchObject({ prompt, mask: null, task: null });
});

test("another base model is refused: width always, the rest unless overridden", async () => {
  const fits = { family: "t5", width: 8, encoderLayers: 2, heads: 2 };
  await checkBase(adapter, base(fits));
  await expect(checkBase(adapter, base({ ...fits, width: 16 }), { anyBase: true })).rejects.toThrow(
    /float32\[tokens, 16\][\s\S]*float32\[4, 8\]/,
  );
  for (const other of [base({ ...fits, encoderLayers: 3 }), base({ ...fits, heads: 4 }), base(fits, "00".repeat(32))]) {
    await expect(checkBase(adapter, other)).rejects.toThrow(/another base model[\s\S]*--any-base/);
    await checkBase(adapter, other, { anyBase: true });
  }
});

test("PEFT's word for a decoder-only model, both ways", async () => {
  const llama = { ...plain, base: { ...plain.base, family: "llama" } };
  const folder = newFolder();
  saveAdapter(folder, llama, "peft");
  const config = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8")) as Record<string, unknown>;
  expect(config).toMatchObject({ task_type: "CAUSAL_LM", num_transformer_submodules: 1 });
  expect(readFileSync(join(folder, "README.md"), "utf8")).toContain("AutoModelForCausalLM");
  // PEFT's config does not say which family; null is its own default for one row per token
  edit(folder, "adapter_config.json", (c) => Object.assign(c, { num_transformer_submodules: null }));
  const loaded = loadAdapter(folder);
  expect(loaded.base.family).toBeNull();
  expect(loaded.prompt).toEqual(plain.prompt);
  const again = newFolder();
  saveAdapter(again, loaded);
  expect(JSON.parse(readFileSync(join(again, "adapter_config.json"), "utf8"))).toMatchObject({
    task_type: "CAUSAL_LM",
  });
  expect(loadAdapter(again).base.family).toBeNull();
  const causal = { width: 8, layers: 2, heads: 2 };
  await checkBase(loaded, base({ family: "qwen2", ...causal }));
  await checkBase(llama, base({ family: "llama", ...causal }));
  await expect(checkBase(llama, base({ family: "qwen2", ...causal }))).rejects.toThrow(/the family differs/);
  await expect(checkBase(loaded, base({ family: "t5", width: 8, encoderLayers: 2, heads: 2 }))).rejects.toThrow(
    /kind of model differs/,
  );
});

test("a prompt that is not the recorded one is refused", () => {
  const folder = save();
  writeFileSync(
    join(folder, "adapter_model.safetensors"),
    writeSafetensors({ prompt_embeddings: { shape: [4, 8], data: prompt.data } }),
  );
  expect(() => loadAdapter(folder)).toThrow(/not the one this file describes[\s\S]*remove softprompt\.json/);
});

test.each<[string, (folder: string) => void, RegExp]>([
  [
    "width that is not the config's",
    (f) => edit(f, "adapter_config.json", (c) => Object.assign(c, { token_dim: 16 })),
    /float32\[4, 16\][\s\S]*float32\[4, 8\]/,
  ],
  [
    "another method",
    (f) => edit(f, "adapter_config.json", (c) => Object.assign(c, { peft_type: "IA3" })),
    /another method[\s\S]*IA3/,
  ],
  [
    "another kind of model",
    (f) => edit(f, "adapter_config.json", (c) => Object.assign(c, { task_type: "TOKEN_CLS" })),
    /SEQ_2_SEQ_LM or CAUSAL_LM[\s\S]*TOKEN_CLS/,
  ],
  [
    "a pickle",
    (f) => {
      rmSync(join(f, "adapter_model.safetensors"));
      writeFileSync(join(f, "adapter_model.bin"), "\x80\x04.");
    },
    /a pickle, which can run code/,
  ],
  [
    "a link out of the folder",
    (f) => {
      rmSync(join(f, "adapter_model.safetensors"));
      symlinkSync("/etc/hostname", join(f, "adapter_model.safetensors"));
    },
    /symbolic link/,
  ],
  [
    "a folder in a file's place",
    (f) => {
      rmSync(join(f, "softprompt.json"));
      mkdirSync(join(f, "softprompt.json"));
    },
    /regular file/,
  ],
  [
    "more tensors",
    (f) =>
      writeFileSync(
        join(f, "adapter_model.safetensors"),
        writeSafetensors({
          a: { shape: [1], data: new Float32Array(1) },
          prompt_embeddings: { shape: [4, 8], data: prompt.data },
        }),
      ),
    /more than a soft prompt/,
  ],
  [
    "NaN",
    (f) => {
      rmSync(join(f, "softprompt.json"));
      writeFileSync(
        join(f, "adapter_model.safetensors"),
        writeSafetensors({
          prompt_embeddings: { shape: [4, 8], data: prompt.data.map((v, i) => (i === 13 ? Number.NaN : v)) },
        }),
      );
    },
    /token 1, dimension 5/,
  ],
  [
    "a key twice",
    (f) => writeFileSync(join(f, "adapter_config.json"), '{"peft_type":"PROMPT_TUNING","peft_type":"IA3"}'),
    /twice/,
  ],
  [
    "a mask of another prompt",
    (f) =>
      edit(f, "softprompt.json", (c) =>
        Object.assign(c, { mask: { ...maskToJson(mask), tokens: "10", piecesKept: ["1111", "1111"] } }),
      ),
    /another number of tokens/,
  ],
  [
    "no hash",
    (f) => edit(f, "softprompt.json", (c) => Object.assign(c, { prompt: { tokens: 4, width: 8 } })),
    /prompt\.sha256/,
  ],
  [
    "nothing",
    (f) => {
      rmSync(f, { recursive: true });
      mkdirSync(f);
    },
    /not an adapter/,
  ],
])("refused by name: %s", (_, damage, message) => {
  const folder = save();
  damage(folder);
  expect(() => loadAdapter(folder)).toThrow(SoftpromptError);
  expect(() => loadAdapter(folder)).toThrow(message);
});

test("the Hugging Face cache's own links are followed", () => {
  const cache = newFolder();
  const snapshot = join(cache, "snapshots", "abc");
  mkdirSync(join(cache, "blobs"), { recursive: true });
  mkdirSync(snapshot, { recursive: true });
  const saved = save();
  for (const name of readdirSync(saved)) {
    writeFileSync(join(cache, "blobs", `hash-${name}`), readFileSync(join(saved, name)));
    symlinkSync(`../../blobs/hash-${name}`, join(snapshot, name));
  }
  expect(loadAdapter(snapshot).prompt).toEqual(adapter.prompt);
});

test("the card names what is known, and says how much survives", () => {
  const card = readFileSync(join(save(), "README.md"), "utf8");
  expect(card).toMatch(/^---\nbase_model: google\/t5-tiny\nlibrary_name: peft\n/);
  expect(card).toContain("3 tokens and 6 pieces survive pruning: 12 trained parameters (37.50 %)");
  expect(card).toContain("| accuracy | 0.5000 |");
  expect(maskMap(mask).split("\n")[1]).toBe("1 ----");
  expect(card).not.toMatch(/chat/);
  const inChat = readFileSync(join(save("both", { ...adapter, chat: true }), "README.md"), "utf8");
  expect(inChat).toContain("as a user's message in its own chat template");
  expect(inChat).toContain("inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True");
  const local = { ...adapter, base: { ...adapter.base, name: "/home/me/t5" } };
  expect(readFileSync(join(save("both", local), "README.md"), "utf8")).not.toMatch(/base_model/);
});

test("the base of a hub model is its id and commit, with an organisation or without one", async () => {
  const { checkpoint } = fakeEngine();
  const revision = "0123456789abcdef0123456789abcdef01234567";
  for (const id of ["gpt2", "google-t5/t5-small"])
    expect(await adapterBase({ ...checkpoint, name: `${id}@${revision}` })).toMatchObject({ name: id, revision });
  expect(await adapterBase({ ...checkpoint, name: "models/own" })).toMatchObject({
    name: "models/own",
    revision: null,
  });
});
