import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Tokenizer } from "@huggingface/tokenizers";
import { afterAll, describe, expect, test } from "vitest";
import { fakeGguf, text, textMeta, u32, u32Meta, u64 } from "../../../test/helpers/gguf.js";
import { hashFile } from "../../base/digest.js";
import { SoftpromptError } from "../../base/errors.js";
import { parseSafetensors } from "../safetensors.js";
import { llama3Scaling } from "./architectures.js";
import { apart, type ConvertProgress, convertGguf } from "./convert.js";
import { ggufFiles } from "./find.js";

const fixture = (name: string) => fileURLToPath(new URL(`../../../test/fixtures/gguf/${name}`, import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "gguf-"));
afterAll(() => rmSync(scratch, { recursive: true }));
let caches = 0;
const cache = () => join(scratch, `cache-${caches++}`);
const json = (path: string) => JSON.parse(readFileSync(path, "utf8"));
const sha = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const refusal = async (work: Promise<unknown>) => {
  const error = await work.then(
    () => null,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(SoftpromptError);
  return error as SoftpromptError;
};
const python = process.env.SOFTPROMPT_PYTHON ?? "python3";

describe("the small models, one of them in shards, against what the Python package made of the same rows", () => {
  const expected = json(fixture("expected.json")) as Record<string, Record<string, [string, number[], string]>>;
  test.each(Object.keys(expected))("%s: every tensor by name, type, shape and bytes, and no other", async (name) => {
    const place = fixture(name === "split" ? "split-00002-of-00003.gguf" : `${name}.gguf`);
    const { folder } = await convertGguf((await ggufFiles(place))!, { cache: cache() });
    const file = parseSafetensors(readFileSync(join(folder, "model.safetensors")), name);
    expect([...file.entries.keys()].sort()).toEqual(Object.keys(expected[name]!).sort());
    for (const [tensor, [dtype, shape, hash]] of Object.entries(expected[name]!)) {
      const entry = file.entries.get(tensor)!;
      expect([entry.storedType, entry.shape, sha(file.bytesOf(tensor)!)], tensor).toEqual([dtype, shape, hash]);
    }
    expect(file.metadata.get("format")).toBe("pt");
    expect(readdirSync(folder).sort()).toEqual([
      "config.json",
      "gguf.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
  });

  const configOf = async (name: string) => {
    const { folder } = await convertGguf([fixture(`${name}.gguf`)], { cache: cache() });
    return json(join(folder, "config.json"));
  };
  test("llama: untied head, grouped heads, llama3 scaling recognised from its divisors, decimals as people write them", async () => {
    expect(await configOf("llama")).toEqual({
      ...{
        architectures: ["LlamaForCausalLM"],
        model_type: "llama",
        attention_bias: false,
        mlp_bias: false,
        hidden_act: "silu",
      },
      ...{ hidden_size: 64, head_dim: 16, intermediate_size: 256, num_hidden_layers: 1, num_attention_heads: 4 },
      ...{ num_key_value_heads: 2, max_position_embeddings: 64, rms_norm_eps: 1e-5, rope_theta: 500000 },
      rope_scaling: {
        ...{
          rope_type: "llama3",
          factor: 32,
          low_freq_factor: 1,
          high_freq_factor: 4,
          original_max_position_embeddings: 8192,
        },
      },
      ...{ tie_word_embeddings: false, vocab_size: 420, bos_token_id: 1, eos_token_id: 2, torch_dtype: "bfloat16" },
    });
  });
  test("qwen2, qwen3 (head width of its own), gpt2: tied heads", async () => {
    expect(await configOf("qwen2")).toMatchObject({ model_type: "qwen2", tie_word_embeddings: true, head_dim: 8 });
    expect(await configOf("qwen3")).toMatchObject({
      model_type: "qwen3",
      hidden_size: 32,
      head_dim: 32,
      attention_bias: false,
    });
    expect(await configOf("gpt2")).toMatchObject({
      ...{
        model_type: "gpt2",
        n_embd: 32,
        n_head: 4,
        n_layer: 1,
        n_inner: 64,
        n_positions: 64,
        layer_norm_epsilon: 1e-5,
      },
      ...{ activation_function: "gelu_new", tie_word_embeddings: true },
    });
  });

  test("f32 by option, in another folder; the numbers that bf16 rounds", async () => {
    const place = cache();
    const rounded = await convertGguf([fixture("qwen2.gguf")], { cache: place });
    const whole = await convertGguf([fixture("qwen2.gguf")], { cache: place, dtype: "f32" });
    expect(whole.folder).not.toBe(rounded.folder);
    const read = (folder: string) => parseSafetensors(readFileSync(join(folder, "model.safetensors")), "m");
    const [a, b] = [read(rounded.folder), read(whole.folder)];
    for (const name of a.entries.keys()) {
      expect(b.entries.get(name)!.storedType).toBe("F32");
      const [x, y] = [a.tensor(name).data, b.tensor(name).data];
      for (let i = 0; i < x.length; i++) expect(Math.abs(x[i]! - y[i]!)).toBeLessThanOrEqual(Math.abs(y[i]!) * 2 ** -8);
    }
    expect(json(join(whole.folder, "config.json")).torch_dtype).toBe("float32");
  });
});

test("one head of 8: original row i is file row 0 2 4 6 1 3 5 7; the second head likewise", () => {
  const file = Float32Array.from({ length: 16 }, (_, i) => i);
  expect([...apart(file, 1, 8)]).toEqual([0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15]);
});

describe("llama3 scaling from its divisors", () => {
  // Llama 3.2 1B and 3.1 8B: plain ÷ scaled frequency
  const table = (length: number, from: number, ramp: number[], factor: number) =>
    Float32Array.from({ length }, (_, i) => (i < from ? 1 : (ramp[i - from] ?? factor)));
  test("published values", () => {
    const small = llama3Scaling(table(32, 15, [1.65133, 3.29226, 9.66673], 32), 500_000, 64);
    expect(small).toMatchObject({
      rope_type: "llama3",
      factor: 32,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    });
    const large = table(64, 29, [], 8);
    // from the published formula beside this code: ramp of Llama 3.1 8B between index 29 and 34
    const ramp = Array.from({ length: 6 }, (_, k) => {
      const wave = 2 * Math.PI * 500_000 ** ((2 * (29 + k)) / 128);
      const smooth = (8192 / wave - 1) / 3;
      return 1 / ((1 - smooth) / 8 + smooth);
    });
    expect(ramp[0]).toBeCloseTo(1.2075, 3);
    large.set(ramp, 29);
    expect(llama3Scaling(large, 500_000, 128)).toMatchObject({ factor: 8 });
  });
  test("another table is none", () => {
    expect(llama3Scaling(table(32, 15, [1.7, 3.29226, 9.66673], 32), 500_000, 64)).toBeNull();
    expect(llama3Scaling(Float32Array.of(1, 2), 500_000, 64)).toBeNull();
    expect(llama3Scaling(new Float32Array(32).fill(Number.NaN), 500_000, 64)).toBeNull();
  });
});

describe("vocabularies", () => {
  const tokenizerOf = async (name: string) => {
    const { folder } = await convertGguf([fixture(`${name}.gguf`)], { cache: cache() });
    return { tokenizer: json(join(folder, "tokenizer.json")), config: json(join(folder, "tokenizer_config.json")) };
  };
  test("SentencePiece kind: merges from scores give the SentencePiece library's ids, bytes and blanks included", async () => {
    const { tokenizer, config } = await tokenizerOf("llama");
    expect(tokenizer.model.byte_fallback).toBe(true);
    expect(config).toMatchObject({
      bos_token: "<s>",
      eos_token: "</s>",
      chat_template: expect.stringContaining("messages"),
    });
    const { lines, ids } = json(fixture("sentencepiece.json")) as { lines: string[]; ids: number[][] };
    const reference = new Tokenizer(tokenizer, config);
    // "<user>" stands behind a blank here; the JSON puts ▁ before each piece between added tokens as Llama's own file does
    for (const [i, line] of lines.entries())
      if (!line.includes("<user>")) expect(reference.encode(line).ids, JSON.stringify(line)).toEqual(ids[i]);
  });
  test("byte-level kind: pattern by name, special and user-defined tokens, fillers left out, ids unchanged", async () => {
    const { tokenizer } = await tokenizerOf("qwen2");
    expect(tokenizer.normalizer).toEqual({ type: "NFC" });
    expect(tokenizer.pre_tokenizer.pretokenizers[0].pattern.Regex).toContain(
      String.raw`|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|`,
    );
    expect(tokenizer.added_tokens.map((t: { id: number; special: boolean }) => [t.id, t.special])).toEqual([
      [261, true],
      [262, true],
      [263, false],
    ]);
    expect(tokenizer.model.vocab.Ġthe).toBe(258);
    expect(tokenizer.model.vocab).not.toHaveProperty("[PAD264]");
    expect(tokenizer.model.merges).toEqual(["Ġ t", "h e", "Ġt he", "i n", "Ġ a"]);
    expect(tokenizer.post_processor).toBeNull();
    expect((await tokenizerOf("gpt2")).tokenizer.pre_tokenizer).toMatchObject({ type: "ByteLevel", use_regex: true });
  });

  /** A GPT-2 of no size at all; `meta` comes on top. */
  const gpt2 = (tokens: string[], meta: Parameters<typeof fakeGguf>[0] & object, types = tokens.map(() => 1)) => {
    const list = (element: number, parts: Uint8Array[]) =>
      Buffer.concat([u32(element), Buffer.from(new BigUint64Array([BigInt(parts.length)]).buffer), ...parts]);
    const D = 8;
    const tensors: { name: string; dims: number[] }[] = [
      { name: "token_embd.weight", dims: [D, tokens.length] },
      { name: "position_embd.weight", dims: [D, 4] },
      ...[
        ["attn_norm", [D]],
        ["ffn_norm", [D]],
        ["attn_qkv", [D, 24]],
        ["attn_output", [D, D]],
        ["ffn_up", [D, 16]],
        ["ffn_down", [16, D]],
      ].flatMap(([n, dims]) => [
        { name: `blk.0.${n}.weight`, dims: dims as number[] },
        { name: `blk.0.${n}.bias`, dims: [(dims as number[]).at(-1)!] },
      ]),
      { name: "output_norm.weight", dims: [D] },
      { name: "output_norm.bias", dims: [D] },
    ];
    let at = 0;
    const placed = tensors.map((t) => {
      const offset = at;
      at += Math.ceil((t.dims.reduce((a, b) => a * b) * 4) / 32) * 32;
      return { ...t, offset };
    });
    const keys = [
      textMeta("general.architecture", "gpt2"),
      ...Object.entries({
        context_length: 4,
        embedding_length: D,
        block_count: 1,
        feed_forward_length: 16,
        "attention.head_count": 2,
      }).map(([k, v]) => u32Meta(`gpt2.${k}`, v)),
      { key: "gpt2.attention.layer_norm_epsilon", type: 6, value: Buffer.from(new Float32Array([1e-5]).buffer) },
      textMeta("tokenizer.ggml.model", "gpt2"),
      {
        key: "tokenizer.ggml.tokens",
        type: 9,
        value: list(
          8,
          tokens.map((t) => text(t)),
        ),
      },
      {
        key: "tokenizer.ggml.token_type",
        type: 9,
        value: list(
          5,
          types.map((t) => u32(t)),
        ),
      },
      { key: "tokenizer.ggml.merges", type: 9, value: list(8, []) },
      ...(meta.meta ?? []),
    ];
    const path = join(scratch, `g-${caches++}.gguf`);
    writeFileSync(
      path,
      fakeGguf({
        tensors: [...placed, ...(meta.tensors ?? []).map((t) => ({ ...t, offset: at }))],
        meta: keys,
        data: at + 4096,
      }),
    );
    return path;
  };
  test("a token called __proto__ keeps its id", async () => {
    const { folder } = await convertGguf([gpt2(["a", "__proto__", "b"], {})], { cache: cache() });
    expect(readFileSync(join(folder, "tokenizer.json"), "utf8")).toContain('"__proto__": 1');
  });
  test("GPT-2's own files are older than the pattern's name; an unknown name, or none elsewhere, is refused with the known ones", async () => {
    await convertGguf([gpt2(["a", "b"], {})], { cache: cache() });
    const named = gpt2(["a", "b"], { meta: [textMeta("tokenizer.ggml.pre", "default")] });
    expect((await refusal(convertGguf([named], { cache: cache() }))).message).toMatch(
      /not known[\s\S]*smollm[\s\S]*default/,
    );
  });
  test("llama-bpe has BOS unless the file says no, and takes whole words", async () => {
    const of = async (...more: NonNullable<Parameters<typeof fakeGguf>[0]>["meta"] & object) => {
      const meta = [textMeta("tokenizer.ggml.pre", "llama-bpe"), u32Meta("tokenizer.ggml.bos_token_id", 1), ...more];
      const { folder } = await convertGguf([gpt2(["a", "<|begin|>"], { meta }, [1, 3])], { cache: cache() });
      return json(join(folder, "tokenizer.json"));
    };
    const plain = await of();
    expect(plain.post_processor.single[0]).toEqual({ SpecialToken: { id: "<|begin|>", type_id: 0 } });
    expect(plain.post_processor.special_tokens["<|begin|>"].ids).toEqual([1]);
    expect(plain.model.ignore_merges).toBe(true);
    expect(
      (await of({ key: "tokenizer.ggml.add_bos_token", type: 7, value: Uint8Array.of(0) })).post_processor,
    ).toBeNull();
  });
  test("further ends go into generation_config.json", async () => {
    const meta = [u32Meta("tokenizer.ggml.eos_token_id", 1), u32Meta("tokenizer.ggml.eot_token_id", 0)];
    const { folder } = await convertGguf([gpt2(["a", "b"], { meta })], { cache: cache() });
    expect(json(join(folder, "generation_config.json")).eos_token_id).toEqual([1, 0]);
  });
  test("a tensor that nothing uses, a wrong id, an unknown family: refused; an unknown key: told", async () => {
    const problem = async (...parts: Parameters<typeof gpt2>) =>
      (await refusal(convertGguf([gpt2(...parts)], { cache: cache() }))).message;
    expect(await problem(["a", "b"], { tensors: [{ name: "blk.0.attn_q.bias", dims: [8] }] })).toMatch(
      /no part of this model: blk.0.attn_q.bias/,
    );
    expect(await problem(["a", "b"], { meta: [u32Meta("tokenizer.ggml.eos_token_id", 2)] })).toMatch(
      /eos_token_id is not right[\s\S]*0 to 1/,
    );
    expect(await problem(["a", "a"], {})).toMatch(/stands twice/);
    const told = await convertGguf([gpt2(["a", "b"], { meta: [u32Meta("gpt2.logit_scale", 2)] })], { cache: cache() });
    expect(told.warnings.join()).toContain("gpt2.logit_scale");
  });
});

describe("the cache", () => {
  test("is made once, records the source's hash, which is not the weights'", async () => {
    const place = cache();
    const progress: ConvertProgress[] = [];
    const first = await convertGguf([fixture("llama.gguf")], { cache: place, onProgress: (p) => progress.push(p) });
    expect(progress[0]!.done).toBe(0);
    expect(progress.at(-1)!.done).toBe(progress[0]!.total);
    const files = readdirSync(first.folder).filter((f) => f !== "gguf.json");
    expect(progress[0]!.total).toBe(files.reduce((sum, f) => sum + readFileSync(join(first.folder, f)).length, 0));
    const record = json(join(first.folder, "gguf.json"));
    expect(record.sha256).toBe(await hashFile(fixture("llama.gguf")));
    expect(record.sha256).not.toBe(await hashFile(join(first.folder, "model.safetensors")));
    const again = await convertGguf([fixture("llama.gguf")], { cache: place, onProgress: () => expect.unreachable() });
    expect(again).toEqual(first);
  });
  test("two at once, and what a dead process left, leave one folder", async () => {
    const place = cache();
    const dead = join(place, ".making-999999999-00000000");
    mkdirSync(dead, { recursive: true });
    writeFileSync(join(dead, "model.safetensors"), "half");
    const both = await Promise.all([1, 2].map(() => convertGguf([fixture("gpt2.gguf")], { cache: place })));
    expect(both[0]!.folder).toBe(both[1]!.folder);
    expect(readdirSync(place).filter((f) => !f.startsWith(".used-"))).toEqual([
      both[0]!.folder.slice(place.length + 1),
    ]);
    expect(readdirSync(both[0]!.folder).some((f) => f.startsWith("."))).toBe(false);
  });
  test("a stop, a size beyond the limit, or a refusal of the config leave nothing", async () => {
    const place = cache();
    const stop = new AbortController();
    const stopped = await refusal(
      convertGguf([fixture("llama.gguf")], {
        cache: place,
        signal: stop.signal,
        onProgress: (p) => p.done > 0 && stop.abort(),
      }),
    );
    expect(stopped.kind).toBe("interrupted");
    expect((await refusal(convertGguf([fixture("llama.gguf")], { cache: place, limit: 1000 }))).message).toMatch(
      /more room than the cache may/,
    );
    const accept = () => {
      throw new SoftpromptError("checkpoint", "not this one", { where: "x" });
    };
    expect((await refusal(convertGguf([fixture("llama.gguf")], { cache: place, accept }))).problem).toBe(
      "not this one",
    );
    expect(readdirSync(place)).toEqual([]);
  });
  test("the file is replaced while it is read: refused, for the folder would bear another one's hash", async () => {
    const path = join(scratch, "replaced.gguf");
    const bytes = readFileSync(fixture("gpt2.gguf"));
    writeFileSync(path, bytes);
    utimesSync(path, 1, 1);
    const onProgress = (p: ConvertProgress) => p.done === 0 && writeFileSync(path, bytes);
    const place = cache();
    expect((await refusal(convertGguf([path], { cache: place, onProgress }))).message).toMatch(
      /changed while it was converted/,
    );
    expect(readdirSync(place)).toEqual([]);
  });
  test("the file becomes shorter while it is read: a typed error", async () => {
    const path = join(scratch, "cut.gguf");
    const bytes = readFileSync(fixture("gpt2.gguf"));
    writeFileSync(path, bytes);
    const onProgress = (p: ConvertProgress) => p.done === 0 && writeFileSync(path, bytes.subarray(0, bytes.length / 2));
    const cut = await refusal(convertGguf([path], { cache: cache(), onProgress }));
    expect(cut.message).toMatch(/became shorter/);
  });
});

describe("which files a path means", () => {
  test("a file, a folder with one, never a Hugging Face folder; several are refused", async () => {
    const folder = join(scratch, "models");
    mkdirSync(folder);
    const put = (name: string) => writeFileSync(join(folder, name), "");
    expect(await ggufFiles(folder)).toBeNull();
    put("a.gguf");
    expect(await ggufFiles(folder)).toEqual([join(folder, "a.gguf")]);
    expect(await ggufFiles(join(folder, "a.gguf"))).toEqual([join(folder, "a.gguf")]);
    expect(await ggufFiles(join(folder, "none.gguf"))).toBeNull();
    put("b.gguf");
    expect((await refusal(ggufFiles(folder))).message).toMatch(
      /several[\s\S]*a.gguf, b.gguf|several[\s\S]*"a.gguf", "b.gguf"/,
    );
    put("config.json");
    expect(await ggufFiles(folder)).toBeNull();
  });
  test("shards: all of them, from any of them; a missing one is named", async () => {
    const folder = join(scratch, "shards");
    mkdirSync(folder);
    const names = [1, 2].map((i) => join(folder, `m-0000${i}-of-00002.gguf`));
    writeFileSync(names[1]!, "");
    expect((await refusal(ggufFiles(names[1]!))).message).toContain("m-00001-of-00002.gguf is missing");
    writeFileSync(names[0]!, "");
    expect(await ggufFiles(folder)).toEqual(names);
    for (const name of names) writeFileSync(name, fakeGguf());
    expect((await refusal(convertGguf(names, { cache: cache() }))).message).toMatch(/tensor a is in two shards/);
  });
});

describe("llama in its kinds", () => {
  const D = 16;
  const bytes = (n: number, type = 4) => ({ type, value: u32(n) });
  const real = (n: number) => ({ type: 6, value: Buffer.from(new Float32Array([n]).buffer) });
  const list = (...numbers: number[]) => ({
    type: 9,
    value: Buffer.concat([u32(4), u64(numbers.length), ...numbers.map((n) => u32(n))]),
  });
  const texts = (...parts: string[]) => ({
    type: 9,
    value: Buffer.concat([u32(8), u64(parts.length), ...parts.map((part) => text(part))]),
  });
  /** Two heads of 8, one layer; the numbers of tensor n are n·1000 + 0, 1, 2 … */
  const llama = async (
    keys: Record<string, { type: number; value: Uint8Array }>,
    more: Record<string, number[]> = {},
  ) => {
    const all: Record<string, { type: number; value: Uint8Array }> = {
      ...{
        context_length: bytes(64),
        embedding_length: bytes(D),
        block_count: bytes(1),
        feed_forward_length: bytes(24),
      },
      ...{ "attention.head_count": bytes(2), "attention.layer_norm_rms_epsilon": real(1e-6), ...keys },
    };
    const tensors: Record<string, number[]> = {
      ...{ "token_embd.weight": [D, 3], "output_norm.weight": [D], "blk.0.attn_norm.weight": [D] },
      ...{ "blk.0.ffn_norm.weight": [D], "blk.0.attn_q.weight": [D, D], "blk.0.attn_k.weight": [D, D] },
      ...{ "blk.0.attn_v.weight": [D, D], "blk.0.attn_output.weight": [D, D], "blk.0.ffn_gate.weight": [D, 24] },
      ...{ "blk.0.ffn_up.weight": [D, 24], "blk.0.ffn_down.weight": [24, D], ...more },
    };
    const data: Uint8Array[] = [];
    let at = 0;
    const placed = Object.entries(tensors).map(([name, dims], n) => {
      const count = dims.reduce((a, b) => a * b);
      const numbers = Float32Array.from({ length: Math.ceil(count / 8) * 8 }, (_, i) => 1000 * n + i);
      data.push(new Uint8Array(numbers.buffer));
      at += numbers.length * 4;
      return { name, dims, offset: at - numbers.length * 4 };
    });
    const meta = [
      textMeta("general.architecture", "llama"),
      ...Object.entries(all).map(([key, value]) => ({ key: `llama.${key}`, ...value })),
      textMeta("tokenizer.ggml.model", "llama"),
      { key: "tokenizer.ggml.tokens", ...texts("<unk>", "<s>", "a") },
      { key: "tokenizer.ggml.token_type", ...list(2, 3, 1) },
      { key: "tokenizer.ggml.scores", type: 9, value: Buffer.concat([u32(6), u64(3), Buffer.alloc(12)]) },
      u32Meta("tokenizer.ggml.bos_token_id", 1),
    ];
    const path = join(scratch, `l-${caches++}.gguf`);
    writeFileSync(path, Buffer.concat([fakeGguf({ meta, tensors: placed, data: 0 }), ...data]));
    const { folder } = await convertGguf([path], { cache: cache() });
    return {
      config: json(join(folder, "config.json")),
      weights: parseSafetensors(readFileSync(join(folder, "model.safetensors")), path),
    };
  };
  const problem = async (...parts: Parameters<typeof llama>) => (await refusal(llama(...parts))).message;

  test("key/value heads as many as heads, and base 10,000, where the file is silent; head width from the sizes", async () => {
    const { config } = await llama({});
    expect(config).toMatchObject({
      num_key_value_heads: 2,
      head_dim: 8,
      rope_theta: 10_000,
      rms_norm_eps: 1e-6,
      tie_word_embeddings: true,
    });
    expect(config).not.toHaveProperty("rope_scaling");
  });
  test("a window is Mistral's; one no shorter than the context is none", async () => {
    expect((await llama({ "attention.sliding_window": bytes(32) })).config).toMatchObject({
      model_type: "mistral",
      sliding_window: 32,
    });
    expect((await llama({ "attention.sliding_window": bytes(64) })).config.model_type).toBe("llama");
  });
  test("linear scaling in both spellings; yarn, another width of rotation, experts are refused by name", async () => {
    const linear = { "rope.scaling.type": { type: 8, value: text("linear") }, "rope.scaling.factor": real(4) };
    expect((await llama(linear)).config.rope_scaling).toEqual({ rope_type: "linear", factor: 4 });
    expect((await llama({ "rope.scale_linear": real(2) })).config.rope_scaling).toEqual({
      rope_type: "linear",
      factor: 2,
    });
    expect(await problem({ "rope.scaling.type": { type: 8, value: text("yarn") } })).toMatch(
      /scaling of positions is not converted[\s\S]*yarn/,
    );
    expect(await problem({ "rope.dimension_count": bytes(4) })).toMatch(/not of one even width/);
    expect(await problem({ expert_count: bytes(8) })).toMatch(/mixtures of experts/);
    expect(await problem({}, { "rope_freqs.weight": [4] })).toMatch(/rope_freqs\.weight is no scaling that is known/);
  });
  test("one number per layer where all are equal; else refused", async () => {
    expect((await llama({ feed_forward_length: list(24, 24) })).config.intermediate_size).toBe(24);
    expect(await problem({ feed_forward_length: list(24, 32) })).toMatch(/the same integer/);
  });
  test("biases are found by their tensors, put in order like the rows, and either all there or refused", async () => {
    const biases = {
      "blk.0.attn_q.bias": [D],
      "blk.0.attn_k.bias": [D],
      "blk.0.attn_v.bias": [D],
      "blk.0.attn_output.bias": [D],
    };
    const { config, weights } = await llama({}, biases);
    expect(config).toMatchObject({ attention_bias: true, mlp_bias: false });
    const start = 1000 * 11; // the twelfth tensor
    expect([...weights.tensor("model.layers.0.self_attn.q_proj.bias").data]).toEqual(
      [0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15].map((i) => start + i),
    );
    expect([...weights.tensor("model.layers.0.self_attn.v_proj.bias").data]).toEqual(
      Array.from({ length: D }, (_, i) => start + 2000 + i),
    );
    expect(await problem({}, { "blk.0.attn_q.bias": [D] })).toMatch(/3 tensors are missing[\s\S]*attn_k\.bias/);
    expect(await problem({}, { "blk.0.attn_rot.weight": [D] })).toMatch(
      /no part of this model: blk\.0\.attn_rot\.weight/,
    );
  });
  test("a shape that the metadata does not say, a layer that is not there", async () => {
    expect(await problem({}, { "blk.0.ffn_down.weight": [24, 8] })).toMatch(
      /ffn_down\.weight does not fit[\s\S]*\[16, 24\][\s\S]*\[8, 24\]/,
    );
    expect(await problem({ block_count: bytes(2) })).toMatch(/9 tensors are missing[\s\S]*blk\.1\.attn_norm\.weight/);
  });
});

/** The committed script of the shared model writes what ours must equal. */
const shared = fileURLToPath(new URL("../../../../shared/models/smollm2-135m-instruct/", import.meta.url));
const file = join(shared, "SmolLM2-135M-Instruct.Q4_1.gguf");
const runs = () => {
  try {
    execFileSync(python, ["-c", "import gguf, numpy"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
};
test.skipIf(!existsSync(file) || !runs())(
  "SmolLM2-135M: equal to what the Python script beside the file writes (skipped without the file or Python's gguf)",
  { timeout: 300_000 },
  async () => {
    const { folder } = await convertGguf([file], { cache: cache() });
    for (const dtype of ["bf16", "f32"])
      execFileSync(python, [join(shared, "to_huggingface.py"), join(scratch, dtype), "--dtype", dtype]);
    const ours = parseSafetensors(readFileSync(join(folder, "model.safetensors")), "ours");
    const theirs = Object.fromEntries(
      ["bf16", "f32"].map((d) => [d, parseSafetensors(readFileSync(join(scratch, d, "model.safetensors")), d)]),
    );
    expect([...ours.entries.keys()].sort()).toEqual([...theirs.bf16!.entries.keys()].sort());
    const types = new Set<string>();
    for (const [name, { storedType, shape }] of ours.entries) {
      const other = theirs[storedType === "F32" ? "f32" : "bf16"]!; // norms stay F32 here and are rounded there
      types.add(storedType);
      expect(other.entries.get(name)!.shape).toEqual(shape);
      expect(Buffer.compare(ours.bytesOf(name)!, other.bytesOf(name)!), name).toBe(0);
    }
    expect([...types].sort()).toEqual(["BF16", "F32"]);
    expect(json(join(folder, "config.json"))).toEqual(json(join(scratch, "bf16", "config.json")));
    expect(json(join(folder, "tokenizer.json"))).toEqual(json(join(scratch, "bf16", "tokenizer.json")));
    expect(json(join(folder, "tokenizer_config.json"))).toEqual(json(join(scratch, "bf16", "tokenizer_config.json")));
  },
);
