/** @file Formats of base models and adapters: sound files from the committed fixtures and our writers, and their readers. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { adapterBase, loadAdapter, parseAdapter, saveAdapter } from "../../src/adapter/adapter.js";
import { appliedModel, appliedSettings, runnable } from "../../src/adapter/applied.js";
import { extrasText } from "../../src/adapter/extras.js";
import { adapterReportText, inspectAdapter } from "../../src/adapter/inspect.js";
import { npyPrompt } from "../../src/adapter/npy.js";
import type { Adapter } from "../../src/adapter/types.js";
import { SoftpromptError } from "../../src/base/errors.js";
import { defaults } from "../../src/base/options.js";
import { random } from "../../src/base/random.js";
import { size } from "../../src/base/tensor.js";
import { applyMask, maskFromScores } from "../../src/method/mask.js";
import { openMethod } from "../../src/method/methods.js";
import { type MethodName, methodOptions } from "../../src/method/options.js";
import { architectureOf, readConfig } from "../../src/model/architectures.js";
import { openCheckpoint, parseIndex } from "../../src/model/checkpoint.js";
import { describeModel, ropeFreqs } from "../../src/model/gguf/architectures.js";
import { dequantise } from "../../src/model/gguf/blocks.js";
import { Fields } from "../../src/model/gguf/fields.js";
import { parseGgufHeader } from "../../src/model/gguf/header.js";
import { tokenizerFiles } from "../../src/model/gguf/tokenizer.js";
import { parseSafetensors, parseSafetensorsHeader, writeSafetensors } from "../../src/model/safetensors.js";
import { byteCharacters } from "../../src/text/byte-level.js";
import { loadTokenizer } from "../../src/text/load.js";
import { qwen2PatternText } from "../../src/text/patterns.js";
import { parseSentencePiece } from "../../src/text/sentencepiece.js";
import type { Tokenizer } from "../../src/text/tokenizer.js";
import { parseTokenizerJson } from "../../src/text/tokenizer-json.js";
import { bytes, type Files, type Format, inFolder, inMemory } from "./format.js";
import { gguf, protobuf, safetensors } from "./framed.js";
import { bytesOf, chance, editBytes, extremes, json, pick, textOf } from "./mutate.js";

/** @param fixtures the folder test/fixtures */
export function modelFormats(fixtures: string): Record<string, Format> {
  const fixture = (path: string) => new Uint8Array(readFileSync(join(fixtures, path)));
  const folder = (name: string, of: RegExp): Files =>
    Object.fromEntries(
      readdirSync(join(fixtures, name))
        .filter((file) => of.test(file))
        .map((file) => [file, fixture(`${name}/${file}`)]),
    );
  const configs = [
    ...["v10", "v11", "bf16", "flan-sharded"].map((name) => `tiny-t5-${name}`),
    ...["llama", "llama-bias", "mistral", "qwen2-window", "qwen3", "gpt2", "neox"].map((name) => `tiny-causal-${name}`),
  ].map((name) => fixture(`${name}/config.json`));
  const index = fixture("tiny-t5-flan-sharded/model.safetensors.index.json");
  const smallIndex = bytesOf(
    '{"metadata":{"total_size":4},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}',
  );
  const header = headerBlock(fixture("tiny-t5-f16/model.safetensors"));
  const pieces = JSON.parse(textOf(fixture("../../models/t5-nano/tokenizer.json")));
  const tiny = bytesOf(
    JSON.stringify({
      ...pieces,
      model: { ...pieces.model, vocab: pieces.model.vocab.slice(0, 300) },
      added_tokens: pieces.added_tokens.filter(({ id }: { id: number }) => id < 300),
    }),
  );
  const tokenizers = [tiny, everyStep(), byteLevelSteps(), sentencePieceSteps()];
  return {
    safetensors: inMemory(
      "model.safetensors",
      () => [...archives(), fixture("peft-adapter/adapter_model.safetensors")],
      safetensors,
      (file) => {
        const read = parseSafetensors(file, "model.safetensors");
        for (const entry of read.entries.values()) {
          if (entry.offset < read.dataOffset || entry.offset + entry.length > file.length)
            throw new Error(`${entry.name} lies outside the file`);
          if (entry.dtype === "float32" && read.tensor(entry.name).data.length * 4 !== entry.length)
            throw new Error(`${entry.name} is not as long as its shape`);
          read.bytesOf(entry.name);
        }
      },
    ),
    "safetensors header": {
      specimens: () => [{ header: header.block, size: bytesOf(String(header.fileBytes)) }],
      mutate: (sound, draw, all) => ({
        header: safetensors(
          bytes(sound, "header"),
          draw,
          all.map((files) => bytes(files, "header")),
        ),
        size: chance(draw, 0.9)
          ? sound.size!
          : bytesOf(
              String(
                chance(draw, 0.5)
                  ? header.fileBytes + draw.integer(9) - 4
                  : Number(BigInt.asUintN(53, pick(draw, extremes))),
              ),
            ),
      }),
      read: (files) =>
        parseSafetensorsHeader(bytes(files, "header"), Number(textOf(bytes(files, "size"))), "model.safetensors"),
      onDisk: false,
    },
    gguf: inMemory(
      "model.gguf",
      () => ["qwen2", "gpt2", "llama"].map((name) => fixture(`gguf/${name}.gguf`)),
      gguf,
      readGguf,
    ),
    index: inMemory(
      "index",
      () => [index, smallIndex],
      json,
      (file) => {
        for (const name of parseIndex(textOf(file), "index").keys())
          if (!/^[^./\\][^/\\]*\.safetensors$/.test(name)) throw new Error(`a shard named ${name}`);
      },
    ),
    config: inMemory(
      "config.json",
      () => configs,
      json,
      (file) => readConfig(textOf(file), "config.json"),
    ),
    "model folder": inFolder(
      () => [
        folder("tiny-t5-f16", /^(config|model)\./),
        folder("tiny-t5-flan-sharded", /^(config|model)/),
        folder("tiny-causal-llama-bias", /^(config|model)/),
        folder("tiny-causal-neox", /^(config|model)/),
      ],
      [
        [/\.json$/, json],
        [/\.safetensors$/, safetensors],
      ],
      async (at) => {
        const model = await openCheckpoint(at);
        await model.readRows(architectureOf(model.config).embedding, [0, model.config.vocabulary - 1]);
        await model.read([...model.tensors.keys()].find((name) => name.includes("norm"))!);
      },
    ),
    "tokenizer.json": inMemory(
      "tokenizer.json",
      () => tokenizers,
      json,
      (file) => use(parseTokenizerJson(file, "tokenizer.json")),
    ),
    "spiece.model": inMemory(
      "spiece.model",
      () => [fixture("tokenizer/bytes.model"), smallModel(fixture("tokenizer/tiny.model"))],
      protobuf,
      (file) => use(parseSentencePiece(file, "spiece.model")),
    ),
    "tokenizer folder": inFolder(
      (): Files[] => [
        {
          "spiece.model": fixture("tokenizer/bytes.model"),
          "tokenizer_config.json": bytesOf('{"extra_ids":7,"eos_token":"</s>"}'),
        },
        { "tokenizer.json": tiny },
        { "tokenizer.json": byteLevelSteps(), ...companions },
        { "tokenizer.json": sentencePieceSteps(), ...companions, "added_tokens.json": bytesOf('{"<new>":266}') },
        { ...splitFiles(), "tokenizer_config.json": companions["tokenizer_config.json"]! },
      ],
      [
        [/\.json$/, json],
        [/\.model$/, protobuf],
        [/\.txt$/, editBytes],
      ],
      async (at) => use(await loadTokenizer(at)),
    ),
    ...adapterFormats(fixtures),
  };
}

/** Everything that a conversion reads, without the writing. */
function readGguf(file: Uint8Array): void {
  const header = parseGgufHeader(file, file.length, "model.gguf");
  if ("more" in header) throw new Error("more was asked for than there is");
  for (const { name, type, shape, offset, length } of header.tensors.values()) {
    if (offset < header.dataOffset || offset + length > file.length) throw new Error(`${name} lies outside the file`);
    if (dequantise(file.subarray(offset, offset + length), type).length !== size(shape))
      throw new Error(`${name} is not as long as its shape`);
  }
  const freqs = header.tensors.get(ropeFreqs);
  const divisors =
    freqs?.type === "F32" ? dequantise(file.subarray(freqs.offset, freqs.offset + freqs.length), "F32") : null;
  const { vocabulary, contextLength } = describeModel(header, divisors, "model.gguf");
  const files = tokenizerFiles(new Fields(header.metadata, "model.gguf"), vocabulary, contextLength);
  JSON.parse(files.tokenizer);
}

/** A tokenizer that was read must also work, or say why not. */
function use(tokenizer: Tokenizer): void {
  const text = "The kettle ｓｉｎｇｓ é\u0301 <extra_id_0> 日本 <|end|> 12½ \ud800";
  for (const options of [{}, { special: true }, { userText: true }, { userText: [{ from: 4, to: 20 }] }] as const) {
    const ids = tokenizer.encode(text, options);
    for (const id of ids)
      if (!(Number.isInteger(id) && id >= 0 && id < tokenizer.size)) throw new Error(`id ${id} of ${tokenizer.size}`);
    const decoder = tokenizer.openDecoder({ keepSpecial: true });
    const streamed = ids.map((id) => decoder.push(id)).join("") + decoder.flush();
    if (streamed !== tokenizer.decode(ids, { keepSpecial: true })) throw new Error("a stream gives another text");
  }
}

function headerBlock(file: Uint8Array) {
  const length = 8 + Number(Buffer.from(file).readBigUInt64LE(0));
  return { block: file.slice(0, length), fileBytes: file.length };
}

function archives(): Uint8Array[] {
  const values = (n: number) => Float32Array.from({ length: n }, (_, i) => i - n / 2);
  return [
    writeSafetensors(
      { a: { shape: [2, 3], data: values(6) }, b: { shape: [3], data: values(3), dtype: "bfloat16" } },
      { format: "pt" },
    ),
    writeSafetensors({
      half: { shape: [2, 2], data: values(4), dtype: "float16" },
      ids: { shape: [4], data: Int32Array.of(1, 2, 3, 4) },
      flags: { shape: [3], data: Uint8Array.of(0, 1, 1), dtype: "bool" },
      none: { shape: [0, 8], data: values(0) },
      scalar: { shape: [], data: values(1) },
    }),
  ];
}

/** Every normaliser and splitter the reader knows, over a few pieces. */
function everyStep(): Uint8Array {
  return bytesOf(
    JSON.stringify({
      version: "1.0",
      added_tokens: [
        { id: 0, content: "<pad>", special: true },
        { id: 7, content: "<extra_id_0>", special: true, lstrip: true, rstrip: true },
      ],
      normalizer: {
        type: "Sequence",
        normalizers: [
          {
            type: "Precompiled",
            precompiled_charsmap: null,
          },
          { type: "Strip", strip_left: true, strip_right: true },
          { type: "Replace", pattern: { Regex: " {2,}" }, content: " " },
          { type: "NFKC" },
        ],
      },
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [{ type: "WhitespaceSplit" }, { type: "Metaspace", replacement: "▁", prepend_scheme: "always" }],
      },
      model: {
        type: "Unigram",
        unk_id: 2,
        vocab: [
          ["<pad>", 0],
          ["</s>", 0],
          ["<unk>", 0],
          ["▁", -2],
          ["▁the", -1.5],
          ["e", -3],
          ["ing", -4],
        ],
      },
    }),
  );
}

/** A byte-level BPE with every step that such files have. */
function byteLevelSteps(): Uint8Array {
  const letters = [...byteCharacters];
  const words = ["Ġt", "he", "Ġthe", "in", "ing", "<|end|>"];
  return bytesOf(
    JSON.stringify({
      added_tokens: [
        { id: 261, content: "<|end|>", special: true, normalized: false },
        { id: 262, content: "  ", special: false, normalized: true, single_word: true },
      ],
      normalizer: { type: "Sequence", normalizers: [{ type: "NFC" }, { type: "Nmt" }, { type: "StripAccents" }] },
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [
          { type: "Split", pattern: { Regex: qwen2PatternText }, behavior: "Isolated", invert: false },
          { type: "Split", pattern: { String: "in" }, behavior: "MergedWithNext", invert: false },
          { type: "Digits", individual_digits: true },
          { type: "Punctuation", behavior: "Contiguous" },
          { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
        ],
      },
      post_processor: {
        type: "Sequence",
        processors: [
          { type: "ByteLevel" },
          {
            type: "TemplateProcessing",
            single: [{ SpecialToken: { id: "<|end|>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
            special_tokens: { "<|end|>": { id: "<|end|>", ids: [261], tokens: ["<|end|>"] } },
          },
        ],
      },
      decoder: { type: "ByteLevel" },
      model: {
        type: "BPE",
        ignore_merges: true,
        vocab: Object.fromEntries([...letters, ...words].map((piece, id) => [piece, id])),
        merges: ["Ġ t", "h e", ["Ġt", "he"], ["i", "n"]],
      },
    }),
  );
}

/** A BPE of SentencePiece's kind with byte fallback. */
function sentencePieceSteps(): Uint8Array {
  const bytePieces = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`);
  const pieces = ["<unk>", "<s>", "</s>", ...bytePieces, "▁", "t", "h", "e", "▁t", "he", "▁the"];
  return bytesOf(
    JSON.stringify({
      added_tokens: [{ id: 2, content: "</s>", special: true, normalized: false, rstrip: true }],
      normalizer: {
        type: "Sequence",
        normalizers: [
          { type: "Prepend", prepend: "▁" },
          { type: "Replace", pattern: { String: " " }, content: "▁" },
        ],
      },
      pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: false },
      post_processor: { type: "RobertaProcessing", cls: ["<s>", 1], sep: ["</s>", 2] },
      decoder: {
        type: "Sequence",
        decoders: [
          { type: "Replace", pattern: { String: "▁" }, content: " " },
          { type: "ByteFallback" },
          { type: "Fuse" },
          { type: "Strip", content: " ", start: 1, stop: 0 },
        ],
      },
      model: {
        type: "BPE",
        unk_token: "<unk>",
        fuse_unk: true,
        byte_fallback: true,
        vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
        merges: ["▁ t", "h e", "▁t he"],
      },
    }),
  );
}

/** vocab.json and merges.txt. */
function splitFiles(): Files {
  const vocab = Object.fromEntries([...byteCharacters, "Ġt", "he", "Ġthe", "<|end|>"].map((piece, id) => [piece, id]));
  return { "vocab.json": bytesOf(JSON.stringify(vocab)), "merges.txt": bytesOf("#version: 0.2\nĠ t\nh e\nĠt he\n") };
}

/** What stands beside a tokenizer's own file. */
const companions: Readonly<Record<string, Uint8Array>> = {
  "tokenizer_config.json": bytesOf(
    JSON.stringify({
      tokenizer_class: "GPT2Tokenizer",
      add_bos_token: true,
      add_prefix_space: false,
      bos_token: "<s>",
      eos_token: { content: "<|end|>" },
    }),
  ),
  "special_tokens_map.json": bytesOf('{"pad_token":"</s>","unk_token":{"content":"<unk>"}}'),
  "added_tokens.json": bytesOf('{"<new>":263}'),
};

/** tiny.model with its first pieces alone and without its character map: its frame, without 240 kB. */
function smallModel(model: Uint8Array): Uint8Array {
  let at = 0;
  while (model[at] === 0x0a && at < 3000) at += 2 + model[at + 1]!;
  // field 3 (normalizer_spec): identity, add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces
  return Buffer.concat([model.subarray(0, at), Uint8Array.of(0x12, 2, 0x18, 1, 0x1a, 6, 0x18, 1, 0x20, 1, 0x28, 1)]);
}

function adapterFormats(fixtures: string): Record<string, Format> {
  const both = saved("both");
  const compact = saved("compact");
  const peft: Files = Object.fromEntries(
    ["adapter_config.json", "adapter_model.safetensors"].map((name) => [
      name,
      new Uint8Array(readFileSync(join(fixtures, "peft-adapter", name))),
    ]),
  );
  const parse = (files: Files) => {
    const at = (name: string) => (files[name] as Uint8Array | undefined) ?? null;
    return used(
      parseAdapter(
        { config: at("adapter_config.json"), weights: at("adapter_model.safetensors"), extras: at("softprompt.json") },
        "adapter",
      ),
    );
  };
  const ofOne = (name: string, mutator: typeof json, sound: readonly Files[]): Format => ({
    specimens: () => sound,
    mutate: (files, draw, all) => ({
      ...files,
      [name]: mutator(
        bytes(files, name),
        draw,
        all.map((other) => bytes(other, name)),
      ),
    }),
    read: parse,
    onDisk: false,
  });
  return {
    "prompt as .npy": inMemory(
      "prompt.npy",
      () =>
        ["little-f4", "big-f2", "little-f8", "version-2", "version-3", "batch-of-one"].map(
          (name) => new Uint8Array(readFileSync(join(fixtures, "npy", `${name}.npy`))),
        ),
      editBytes,
      (content) => {
        const { shape, data } = npyPrompt(content, "prompt.npy");
        if (data.length !== size(shape)) throw new Error("a shape that does not fit its data was accepted");
      },
    ),
    "adapter config": ofOne("adapter_config.json", json, [both, peft]),
    "adapter weights": ofOne("adapter_model.safetensors", safetensors, [peft, both]),
    "adapter extras": ofOne("softprompt.json", json, [compact, both]),
    "adapter folder": inFolder(
      () => [both, compact, peft],
      [
        [/\.json$/, json],
        [/\.safetensors$/, safetensors],
        [/\.md$/, editBytes],
      ],
      (at) => used(loadAdapter(at)),
    ),
    "adapter of another method": inFolder(
      async () => [
        ...(await Promise.all([
          applied(fixtures, "lora", { loraRank: 2, loraTargets: ["q"] }),
          applied(fixtures, "lora", { loraRank: 2, loraTargets: ["q"] }, "peft"),
          applied(fixtures, "prefix", {}),
          applied(fixtures, "full", { fullParts: ["layer_norm"] }),
        ])),
        ...["lora-llama", "prefix", "prefix-llama", "p-tuning", "multitask"].map((name) =>
          Object.fromEntries(
            ["adapter_config.json", "adapter_model.safetensors"].map((file) => [
              file,
              new Uint8Array(readFileSync(join(fixtures, "peft-methods", name, file))),
            ]),
          ),
        ),
      ],
      [
        [/\.json$/, json],
        [/\.safetensors$/, safetensors],
      ],
      async (at) => {
        const adapter = loadAdapter(at);
        await used(adapter);
        // what was read for a model is either run by it or refused
        const models = ["tiny-t5-v11", "tiny-causal-llama"];
        for (const name of models)
          try {
            runnable(adapter, readConfig(readFileSync(join(fixtures, name, "config.json"), "utf8"), "config.json"));
          } catch (error) {
            if (!(error instanceof SoftpromptError)) throw error;
          }
      },
    ),
  };
}

/** What saveAdapter writes of a method that leaves no prompt. */
async function applied(
  fixtures: string,
  method: MethodName,
  more: object,
  form: "both" | "peft" = "both",
): Promise<Files> {
  const checkpoint = await openCheckpoint(join(fixtures, "tiny-t5-v11"));
  const settings = { ...defaults(methodOptions), virtualTokens: 2, seed: 0, ...more, method };
  const start = {
    checkpoint,
    random: random(1, method),
    prompt: () => Promise.reject(new Error("no prompt is asked for")),
  };
  const parameters = await openMethod(settings).start(start);
  const at = mkdtempSync(join(tmpdir(), "softprompt-fuzz-applied-"));
  try {
    const adapter: Adapter = {
      prompt: { shape: [0, checkpoint.config.width], data: new Float32Array(0) },
      applied: {
        method,
        settings: appliedSettings(method, settings),
        parameters,
        model: appliedModel(checkpoint.config),
      },
      mask: null,
      base: await adapterBase(checkpoint),
      ...{ tokenizer: null, task: null, training: null, scores: null },
      kept: { config: {}, extras: {} },
    };
    saveAdapter(at, adapter, form);
    return Object.fromEntries(readdirSync(at).map((name) => [name, new Uint8Array(readFileSync(join(at, name)))]));
  } finally {
    rmSync(at, { recursive: true });
  }
}

async function used(adapter: Adapter): Promise<void> {
  if (!adapter.prompt.data.every(Number.isFinite)) throw new Error("a prompt that is not finite was accepted");
  extrasText(adapter, false);
  adapterReportText(await inspectAdapter(adapter));
}

/** What saveAdapter writes. */
function saved(form: "both" | "compact"): Files {
  const draw = random(1, "adapter");
  const mask = maskFromScores(
    { tokens: [3, 1, 2, 4], pieces: Array.from({ length: 16 }, () => draw.next()) },
    { tokensPruned: 1, piecesPruned: 2 },
  );
  const prompt = applyMask({ shape: [4, 8], data: Float32Array.from({ length: 32 }, () => draw.uniform(-1, 1)) }, mask);
  const at = mkdtempSync(join(tmpdir(), "softprompt-fuzz-adapter-"));
  try {
    saveAdapter(
      at,
      {
        prompt,
        mask,
        base: {
          name: "google/t5-tiny",
          revision: "main",
          sha256: "ab".repeat(32),
          family: "t5",
          width: 8,
          layers: 2,
          heads: 2,
        },
        tokenizer: "cd".repeat(32),
        task: {
          name: "rte",
          template: "hypothesis: {h} premise: {p}",
          verbalizer: { "0": "entailment", "1": "not_entailment" },
          metrics: ["accuracy"],
          maxTargetTokens: 10,
          targetPrefix: "",
          scoring: { positiveLabel: "1", outOfLabel: "positive" },
        },
        training: {
          method: "xprompt",
          schedule: [{ partial: "full", steps: 10 }],
          seed: 3,
          settings: { learningRate: 0.3 },
        },
        scores: { split: "validation", rows: 277, values: { accuracy: 0.5 } },
        kept: { config: {}, extras: {} },
      },
      form,
    );
    return Object.fromEntries(readdirSync(at).map((name) => [name, new Uint8Array(readFileSync(join(at, name)))]));
  } finally {
    rmSync(at, { recursive: true });
  }
}
