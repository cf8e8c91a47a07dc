/**
 * @file Exported models under the real transformers.js in Node: what its pipelines write is what we write, id for id, for every method that
 * can be baked, alone and beside longer texts.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type DynamicCache,
  env,
  LogLevel,
  ones,
  type PreTrainedModel,
  type PreTrainedTokenizer,
  pipeline,
  type Tensor,
} from "@huggingface/transformers";
import { afterAll, describe, expect, test } from "vitest";
import type { Adapter } from "../src/adapter/types.js";
import { defaults } from "../src/base/options.js";
import { plannedEightBits, inEightBits as roundedByEngine } from "../src/engine/eight-bit.js";
import { openEngine } from "../src/engine/engine.js";
import { exportOnnx } from "../src/export/onnx.js";
import { fullMask } from "../src/method/mask.js";
import { methods, openMethod } from "../src/method/methods.js";
import { type MethodName, methodOptions } from "../src/method/options.js";
import { promptTuning } from "../src/method/prompt.js";
import type { Checkpoint } from "../src/model/checkpoint.js";
import { productsOf } from "../src/model/quantise.js";
import { generateStream } from "../src/tasks/generate.js";
import { type OpenModel, openModel } from "../src/tasks/model.js";
import { methodAdapter, placedTask, promptAdapter } from "./helpers/adapters.js";
import { inEightBits } from "./helpers/exported-eight-bit.js";
import { tinyCausal } from "./helpers/tiny-causal.js";

env.allowRemoteModels = false;
env.localModelPath = "/";
env.useFSCache = false;
env.logLevel = LogLevel.NONE;

const root = mkdtempSync(join(tmpdir(), "softprompt-transformersjs-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Makes one neuron of the first block 4096 times as large, and its way out as much smaller: the same function. */
function spike(file: string): void {
  const bytes = readFileSync(file);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, start)) as Record<
    string,
    { dtype: string; shape: [number, number]; data_offsets: [number, number] }
  >;
  const scale = (name: string, by: number, isOwn: (row: number, column: number) => boolean) => {
    const { dtype, shape, data_offsets } = header[`model.layers.0.mlp.${name}.weight`]!;
    expect(dtype).toBe("F32");
    for (let i = 0; i < shape[0] * shape[1]; i++) {
      const at = start + data_offsets[0] + 4 * i;
      if (isOwn(Math.floor(i / shape[1]), i % shape[1])) bytes.writeFloatLE(by * bytes.readFloatLE(at), at);
    }
  };
  scale("up_proj", 4096, (row) => row === 3);
  scale("down_proj", 1 / 4096, (_, column) => column === 3);
  writeFileSync(file, bytes);
}

/** Whatever generate() takes. */
type Fed = Parameters<PreTrainedModel["generate"]>[0];

interface Loaded {
  readonly model: PreTrainedModel;
  readonly tokenizer: PreTrainedTokenizer;
  (texts: string[], options: object): Promise<unknown>;
}

const load = async (kind: "text-generation" | "text2text-generation", folder: string) =>
  (await pipeline(kind as "text-generation", folder)) as unknown as Loaded;

/** Ids that we write after each text. */
async function ours(model: OpenModel, adapter: Adapter | null, texts: readonly string[], maxTokens: number) {
  const all: number[][] = [];
  for (const prompt of texts) {
    const ids: number[] = [];
    for await (const { id } of generateStream(model, { prompt, adapter, maxTokens }))
      if (id !== undefined) ids.push(id);
    all.push(ids);
  }
  return all;
}

/** Ids that transformers.js writes, without start, padding and end. @param skip how many of each row were fed */
async function theirs({ model, tokenizer }: Loaded, texts: readonly string[], maxTokens: number, causal: boolean) {
  tokenizer.padding_side = causal ? "left" : "right";
  const config = tokenizer as unknown as { add_bos_token?: boolean };
  const inputs = tokenizer(texts as string[], {
    padding: true,
    add_special_tokens: !causal || config.add_bos_token === true,
  });
  const out = (await model.generate({ ...inputs, max_new_tokens: maxTokens } as Fed)) as Tensor;
  const fed = causal ? (inputs.input_ids as Tensor).dims[1]! : 1;
  const ends = [(model.generation_config as { eos_token_id: number | number[] }).eos_token_id].flat();
  return (out.tolist() as bigint[][]).map((row) => {
    const ids = row.slice(fed).map(Number);
    const end = ids.findIndex((id) => ends.includes(id));
    return end < 0 ? ids : ids.slice(0, end);
  });
}

/** As XPrompt leaves a prompt: the first token is pruned, and every other piece of the second; their vectors are still there. */
function pruned(adapter: Adapter): Adapter {
  const [P, D] = adapter.prompt.shape as [number, number];
  const mask = fullMask(P, 8);
  mask.tokens[0] = 0;
  for (let piece = 0; piece < 8; piece += 2) mask.piecesKept[8 + piece] = 0;
  expect(D % 8).toBe(0);
  return { ...adapter, mask };
}

/** The same with zeros in place of the mask. */
function zeroed({ mask, ...adapter }: Adapter): Adapter {
  if (mask === null) return { ...adapter, mask };
  const [, D] = adapter.prompt.shape as [number, number];
  const lives = (i: number) => i >= 2 * D || (i >= D && Math.floor(((i - D) * 8) / D) % 2 === 1);
  const data = adapter.prompt.data.map((value, i) => (lives(i) ? value : 0));
  return { ...adapter, mask: null, prompt: { ...adapter.prompt, data } };
}

const nanoTexts = [
  "sst2 sentence: a charming and often affecting journey",
  "The capital",
  "sst2 sentence: unflinchingly bleak and desperate, and much too long for anybody to sit through it once more",
];

describe("t5-nano", () => {
  const cases: [string, (checkpoint: Checkpoint) => Promise<Adapter | null>][] = [
    ["frozen", async () => null],
    ["prompt", (c) => promptAdapter(c, 20, 0.5)],
    ["pruned", async (c) => pruned(await promptAdapter(c, 20, 0.5))],
    ["lora", (c) => methodAdapter(c, "lora", { loraRank: 4, loraTargets: ["q", "v", "wo"] })],
    ["late prompt", (c) => methodAdapter(c, "prompt", { insertLayer: 2 })],
    ["prefix", (c) => methodAdapter(c, "prefix")],
    ["full", (c) => methodAdapter(c, "full", { fullParts: ["layer_norm"] })],
  ];
  test.each(cases)("%s: equal ids, alone and in a batch", async (name, make) => {
    await using model = await openModel("t5-nano");
    const adapter = await make(model.checkpoint);
    const folder = join(root, `t5-${name}`);
    const { pipeline: kind } = await exportOnnx({ ...model, adapter }, folder);
    expect(kind).toBe("text2text-generation");
    const loaded = await load("text2text-generation", folder);
    const wanted = await ours(model, adapter && zeroed(adapter), nanoTexts, 12);
    expect(wanted.some((ids) => ids.length > 1)).toBe(true);
    expect(await theirs(loaded, nanoTexts, 12, false)).toEqual(wanted);
    for (const [i, text] of nanoTexts.entries()) expect(await theirs(loaded, [text], 12, false)).toEqual([wanted[i]]);
  });
});

// the smallest fixture knows 32 positions: five of a prompt, ten of an answer
const tinyTexts = ["the cat sat", "a", "(one more): 1"];

test("t5-nano: the weights of both models beside them, shared by the branches of the decoder", async () => {
  await using model = await openModel("t5-nano");
  const adapter = await promptAdapter(model.checkpoint, 20, 0.5);
  for (const dtype of ["fp32", "int8"] as const) {
    const folder = join(root, `t5-beside-${dtype}`);
    await exportOnnx({ ...model, adapter, dtype, limits: { inside: 1000, beside: 3_000_000 } }, folder);
    const files = readdirSync(join(folder, "onnx"));
    const [end, own] = dtype === "fp32" ? ["", "fp32"] : ["_quantized", "q8"];
    for (const name of [`encoder_model${end}.onnx`, `decoder_model_merged${end}.onnx`]) {
      expect(files).toEqual(expect.arrayContaining([name, `${name}_data`, `${name}_data_1`]));
      expect(statSync(join(folder, "onnx", name)).size).toBeLessThan(500_000);
    }
    expect(JSON.parse(readFileSync(join(folder, "config.json"), "utf8"))).toMatchObject({
      "transformers.js_config": { dtype: own },
    });
    const inside = join(root, `t5-inside-${dtype}`);
    await exportOnnx({ ...model, adapter, dtype }, inside);
    const written = async (from: string) => theirs(await load("text2text-generation", from), nanoTexts, 12, false);
    expect(await written(folder)).toEqual(await written(inside));
  }
});

describe("tiny decoder-only models", () => {
  const methods: [string, (checkpoint: Checkpoint) => Promise<Adapter | null>][] = [
    ["frozen", async () => null],
    ["prompt", (c) => promptAdapter(c, 5)],
    ["pruned", async (c) => pruned(await promptAdapter(c, 5))],
    [
      "lora",
      (c) =>
        methodAdapter(c, "lora", {
          loraRank: 2,
          loraTargets: c.config.family === "gpt2" ? ["c_attn", "c_proj"] : ["q_proj", "down_proj"],
        }),
    ],
    ["prefix", (c) => methodAdapter(c, "prefix")],
    ["full", (c) => methodAdapter(c, "full", {})],
  ];
  const families = ["llama", "gpt2", "neox", "qwen2-window", "qwen3", "mistral", "neox-sequential", "qwen2"];
  const cases = families.flatMap((family) =>
    methods
      .filter((_, i) => i < 3 || ["llama", "gpt2"].includes(family))
      .map(([name, make]) => [family, name, make] as const),
  );
  test.each(cases)("%s, %s: equal ids, alone and in a batch", async (family, name, make) => {
    await using model = await openModel(tinyCausal({ family, bos: name === "prompt" }));
    const adapter = await make(model.checkpoint);
    const folder = join(root, `${family}-${name}`);
    await exportOnnx({ ...model, adapter }, folder);
    const loaded = await load("text-generation", folder);
    const wanted = await ours(model, adapter && zeroed(adapter), tinyTexts, 10);
    expect(await theirs(loaded, tinyTexts, 10, true)).toEqual(wanted);
    for (const [i, text] of tinyTexts.entries()) expect(await theirs(loaded, [text], 10, true)).toEqual([wanted[i]]);
  });

  test("a window: the files say what the prompt leaves of it", async () => {
    await using model = await openModel(tinyCausal({ config: { max_position_embeddings: 16 } }));
    const adapter = await promptAdapter(model.checkpoint, 5);
    const folder = join(root, "window");
    await exportOnnx({ ...model, adapter }, folder);
    const loaded = await load("text-generation", folder);
    const [wanted] = await ours(model, adapter, ["the"], 64);
    expect(wanted!.length).toBeLessThan(12);
    // transformers.js (4.3.1) knows no window and writes on
    const [found] = await theirs(loaded, ["the"], 64, true);
    expect(found!.slice(0, wanted!.length)).toEqual(wanted);
    const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8")) as object;
    expect(config).toMatchObject({ max_position_embeddings: 11, "transformers.js_config": { dtype: "fp32" } });
    expect(JSON.parse(readFileSync(join(folder, "tokenizer_config.json"), "utf8"))).toMatchObject({
      model_max_length: 11,
    });
  });

  test("a cache handed over holds the text alone: two calls write what one does", async () => {
    await using model = await openModel(tinyCausal({}));
    const adapter = await promptAdapter(model.checkpoint, 5);
    const folder = join(root, "cache");
    await exportOnnx({ ...model, adapter }, folder);
    const { model: run, tokenizer } = await load("text-generation", folder);
    const inputs = tokenizer("the cat", { add_special_tokens: false });
    const whole = (await run.generate({ ...inputs, max_new_tokens: 8 } as Fed)) as Tensor;
    const first = (await run.generate({
      ...inputs,
      max_new_tokens: 4,
      return_dict_in_generate: true,
    } as Fed)) as unknown as {
      sequences: Tensor;
      past_key_values: DynamicCache;
    };
    expect(first.past_key_values.get_seq_length()).toBe(first.sequences.dims[1]! - 1);
    const second = (await run.generate({
      input_ids: first.sequences,
      attention_mask: ones(first.sequences.dims),
      past_key_values: first.past_key_values,
      max_new_tokens: 4,
    } as Fed)) as Tensor;
    expect(second.tolist()).toEqual(whole.tolist());
  });

  test("weights beside the model, in several files", async () => {
    await using model = await openModel(tinyCausal({}));
    const adapter = await promptAdapter(model.checkpoint, 5);
    const folder = join(root, "beside");
    const { files } = await exportOnnx({ ...model, adapter, limits: { inside: 1000, beside: 40_000 } }, folder);
    const data = readdirSync(join(folder, "onnx")).filter((name) => name.includes("_data"));
    expect(data.length).toBeGreaterThan(1);
    expect(data).toContain("model.onnx_data_1");
    expect(files.find(({ name }) => name === "onnx/model.onnx")!.bytes).toBeLessThan(200_000);
    const loaded = await load("text-generation", folder);
    expect(await theirs(loaded, tinyTexts, 10, true)).toEqual(await ours(model, adapter, tinyTexts, 10));
  });
});

test("every method of tuning is baked above, or leaves a prompt", () => {
  const settings = { ...defaults(methodOptions), virtualTokens: 3, seed: 0 };
  const others = (Object.keys(methods) as MethodName[]).filter(
    (name) => openMethod({ ...settings, method: name }).leaves?.method !== promptTuning,
  );
  expect(others.sort()).toEqual(["full", "lora", "prefix", "prompt"]);
});

describe("int8", () => {
  const cases: [string, () => string, string[]][] = [
    ["t5-nano", () => "t5-nano", nanoTexts],
    ["llama", () => tinyCausal({}), tinyTexts],
    ["gpt2", () => tinyCausal({ family: "gpt2" }), tinyTexts],
  ];
  test.each(cases)("%s: ids of the engine in 8 bits, alone and in a batch", async (name, open, texts) => {
    await using model = await openModel(open());
    const causal = name !== "t5-nano";
    // the constant keys of a decoder-only model's prompt are computed in float32, so only without one are both the same computation
    const adapter = causal ? null : await promptAdapter(model.checkpoint, 5, 0.5);
    const folder = join(root, `int8-${name}`);
    await exportOnnx({ ...model, adapter, dtype: "int8" }, folder);
    const files = readdirSync(join(folder, "onnx")).sort();
    expect(files).toEqual(
      causal ? ["model_quantized.onnx"] : ["decoder_model_merged_quantized.onnx", "encoder_model_quantized.onnx"],
    );
    // config.json says which files: no dtype is given here
    const loaded = await load(causal ? "text-generation" : "text2text-generation", folder);
    const eight = await inEightBits(model, join(root, "int8-cache"));
    const wanted = await ours(eight, adapter, texts, 10);
    await eight.engine.dispose();
    expect(await theirs(loaded, texts, 10, causal)).toEqual(wanted);
    // one step per row: what stands beside a row does not change it
    for (const [i, text] of texts.entries()) expect(await theirs(loaded, [text], 10, causal)).toEqual([wanted[i]]);
  });

  test("neurons that are very large: weights go to 127, and no product saturates where such weights do", async () => {
    const name = tinyCausal({});
    spike(join(name, "model.safetensors"));
    await using model = await openModel(name);
    const plan = await plannedEightBits(model.checkpoint);
    expect(productsOf(plan.values(), 64)).toEqual({ terms: 2, largest: 127, dtype: "uint8" });
    const folder = join(root, "int8-spiked");
    await exportOnnx({ ...model, adapter: null, dtype: "int8" }, folder);
    const loaded = await load("text-generation", folder);
    const checkpoint = await roundedByEngine(model.checkpoint, { most: 64, cache: join(root, "int8-spiked-cache") });
    const engine = openEngine(checkpoint, { threads: 1, eightBit: 64 });
    const wanted = await ours({ ...model, checkpoint, engine }, null, tinyTexts, 10);
    await engine.dispose();
    expect(await theirs(loaded, tinyTexts, 10, true)).toEqual(wanted);
  });

  test("a prompt and a prefix stand before texts in 8 bits too; a row is the same alone and in a batch", async () => {
    await using model = await openModel(tinyCausal({}));
    const adapters = {
      prompt: await promptAdapter(model.checkpoint, 5),
      prefix: await methodAdapter(model.checkpoint, "prefix"),
    };
    const all: number[][][] = [];
    for (const [name, adapter] of Object.entries({ none: null, ...adapters })) {
      const folder = join(root, `int8-before-${name}`);
      await exportOnnx({ ...model, adapter, dtype: "int8" }, folder);
      const loaded = await load("text-generation", folder);
      const found = await theirs(loaded, tinyTexts, 10, true);
      for (const [i, text] of tinyTexts.entries()) expect(await theirs(loaded, [text], 10, true)).toEqual([found[i]]);
      all.push(found);
    }
    expect(new Set(all.map((ids) => JSON.stringify(ids))).size).toBe(3);
  });

  test("the blocks' weights take a quarter; LoRA is folded in before they are rounded; files beside hold bytes", async () => {
    await using model = await openModel(tinyCausal({}));
    const adapter = await methodAdapter(model.checkpoint, "lora", { loraRank: 2, loraTargets: ["q_proj"] });
    const [whole, small] = [join(root, "lora-fp32"), join(root, "lora-int8")];
    await exportOnnx({ ...model, adapter, limits: { inside: 0, beside: 2 ** 30 } }, whole);
    await exportOnnx({ ...model, adapter, dtype: "int8", limits: { inside: 0, beside: 20_000 } }, small);
    const bytes = (folder: string) =>
      readdirSync(join(folder, "onnx"))
        .filter((file) => file.includes("_data"))
        .reduce((sum, file) => sum + statSync(join(folder, "onnx", file)).size, 0);
    expect(bytes(small)).toBeLessThan(bytes(whole));
    expect(existsSync(join(small, "onnx", "model_quantized.onnx_data_1"))).toBe(true);
    const loaded = await load("text-generation", small);
    const frozen = join(root, "lora-int8-frozen");
    await exportOnnx({ ...model, adapter: null, dtype: "int8" }, frozen);
    const without = await theirs(await load("text-generation", frozen), tinyTexts, 10, true);
    const found = await theirs(loaded, tinyTexts, 10, true);
    expect(found).not.toEqual(without);
  });
});

test("a model that is open to a prompt runs as the frozen one, in float32 and in 8 bits", async () => {
  for (const [open, kind, texts] of [
    ["t5-nano", "text2text-generation", nanoTexts],
    [tinyCausal({}), "text-generation", tinyTexts],
    [tinyCausal({ family: "gpt2" }), "text-generation", tinyTexts],
  ] as const) {
    await using model = await openModel(open);
    for (const dtype of ["fp32", "int8"] as const) {
      const written = async (promptInput: boolean) => {
        const folder = mkdtempSync(join(root, "open-"));
        await exportOnnx({ ...model, adapter: null, dtype, promptInput }, folder);
        return theirs(await load(kind, folder), texts, 8, kind === "text-generation");
      };
      expect(await written(true)).toEqual(await written(false));
    }
  }
});

test("a prompt that stands elsewhere than before the text is refused, and a folder that holds something", async () => {
  await using model = await openModel(tinyCausal({}));
  const folder = join(root, "late");
  for (const template of ["{text}{prompt}", "a {prompt} {text}", "{text}{prompt:decoder}"]) {
    const late = await promptAdapter(model.checkpoint, 3, 1, { task: placedTask(template) });
    await expect(exportOnnx({ ...model, adapter: late }, folder)).rejects.toThrow(/does not stand before the text/);
  }
  expect(existsSync(folder)).toBe(false);
  const held = mkdtempSync(join(root, "held-"));
  writeFileSync(join(held, "a file"), "");
  await expect(exportOnnx({ ...model, adapter: null }, held)).rejects.toMatchObject({ kind: "usage" });
  const small = await openModel(tinyCausal({ config: { max_position_embeddings: 16 } }));
  const long = await promptAdapter(small.checkpoint, 16);
  await expect(exportOnnx({ ...small, adapter: long }, folder)).rejects.toThrow(/no position for a text/);
  await small.dispose();
});

test("learned positions: a text that is longer than the window fails, and is not read as if it stood elsewhere", async () => {
  await using model = await openModel(tinyCausal({ family: "gpt2" }));
  const folder = join(root, "gpt2-long");
  await exportOnnx({ ...model, adapter: null }, folder);
  const { model: run, tokenizer } = await load("text-generation", folder);
  const inputs = tokenizer("a".repeat(40), { add_special_tokens: false });
  await expect(run({ ...inputs })).rejects.toThrow(/out of data bounds/);
});
