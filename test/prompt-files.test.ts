/**
 * @file Prompts for other programs and from them: `.npy` as numpy writes it (committed files), ours under numpy and PyTorch where a Python
 * with them is found (SOFTPROMPT_PYTHON, or python3), requests with embeddings, and what is refused.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { checkBase, loadAdapter, saveAdapter } from "../src/adapter/adapter.js";
import { npyPrompt, readNpy, writeNpy } from "../src/adapter/npy.js";
import { SoftpromptError } from "../src/base/errors.js";
import { run } from "../src/cli/run.js";
import type { MetricName } from "../src/data/metrics.js";
import { torchFile } from "../src/export/torch-file.js";
import { exportPrompt, exportRequest } from "../src/tasks/export.js";
import { openModel } from "../src/tasks/model.js";
import { predict } from "../src/tasks/predict.js";
import { methodAdapter, placedTask, promptAdapter } from "./helpers/adapters.js";
import { commandLine } from "./helpers/command-line.js";
import { tinyCausal } from "./helpers/tiny-causal.js";

const folder = mkdtempSync(join(tmpdir(), "softprompt-prompt-files-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const fixture = (name: string) => new Uint8Array(readFileSync(here(`fixtures/npy/${name}.npy`)));

const oracle = here("oracles/torch_file.py");
const python = process.env.SOFTPROMPT_PYTHON ?? "python3";
const hasTorch = spawnSync(python, [oracle, "check"], { timeout: 120_000 }).status === 0;
if (!hasTorch) console.warn(`prompt-files.test: torch.load is SKIPPED: ${python} has no torch (set SOFTPROMPT_PYTHON)`);
const ask = (...args: string[]) => {
  const { status, stdout, stderr } = spawnSync(python, [oracle, ...args], { encoding: "utf8", timeout: 120_000 });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as { shape: number[]; dtype: string; contiguous: boolean; values: number[] };
};

const values = Array.from({ length: 12 }, (_, i) => i - 5.5);

describe(".npy as numpy writes it", () => {
  test.each([
    "little-f4",
    "big-f4",
    "little-f2",
    "big-f2",
    "little-f8",
    "big-f8",
    "version-2",
    "version-3",
    "batch-of-one",
  ])("%s holds the prompt", (name) => {
    const { shape, data } = npyPrompt(fixture(name), name);
    expect(shape).toEqual([3, 4]);
    expect([...data]).toEqual(values);
  });
  test.each([
    ["objects", /pickle, which can run code and is never opened/],
    ["fortran", /column by column/],
    ["integers", /of this type is not read/],
    ["records", /array of records/],
    ["vector", /no prompt/],
    ["scalar", /no prompt/],
  ])("%s is refused, saying why", (name, message) => {
    expect(() => npyPrompt(fixture(name), name)).toThrow(message);
  });
  test("a header of other order, quotes and blanks; one that says more, or twice, or is cut", () => {
    const data = fixture("little-f4").subarray(128);
    const file = (header: string, more = data) => {
      const head = Buffer.alloc(10 + header.length);
      head.write("\x93NUMPY\x01\x00", "latin1");
      head.writeUInt16LE(header.length, 8);
      head.write(header, 10, "latin1");
      return Buffer.concat([head, more]);
    };
    expect(readNpy(file('{ "shape":(3L, 4L),"fortran_order" : False , "descr":"<f4"}\n'), "x").shape).toEqual([3, 4]);
    for (const header of [
      "{'descr': '<f4', 'fortran_order': False}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), 'more': 1}",
      "{'descr': '<f4', 'descr': '<f4', 'shape': (3, 4), 'fortran_order': False}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (3, -4)}",
      "{'descr': '<f4', 'fortran_order': 0, 'shape': (3, 4)}",
      "__import__('os')",
      "",
    ])
      expect(() => readNpy(file(header), "x")).toThrow(/header/);
    const sound = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }";
    expect(() => readNpy(file(sound, data.subarray(1)), "x")).toThrow(/shape does not fit the file's length/);
    expect(() => readNpy(file(sound.replace("4", "999999999999")), "x")).toThrow();
    for (let n = 0; n < 20; n++) expect(() => readNpy(fixture("little-f4").subarray(0, n), "x")).toThrow();
  });
  test("as an adapter: answers a task; its width and its numbers are checked", async () => {
    await expect(async () => loadAdapter(here("fixtures/npy/nan.npy"))).rejects.toThrow(/token 1, dimension 2/);
    await using model = await openModel("t5-nano");
    await expect(checkBase(loadAdapter(here("fixtures/npy/little-f4.npy")), model.checkpoint)).rejects.toThrow(/width/);
    expect(() => loadAdapter(join(folder, "none.npy"))).toThrow(/no such file/);
    const adapter = await promptAdapter(model.checkpoint, 5);
    await exportPrompt("npy", { adapter, output: folder });
    const path = join(folder, "prompt.npy");
    expect(loadAdapter(path).prompt).toEqual(adapter.prompt);
    const task = {
      name: "two words",
      template: "{text}",
      verbalizer: { good: "good", bad: "bad" },
      metrics: ["accuracy"] as [MetricName],
      maxTargetTokens: 4,
      targetPrefix: "",
    };
    const asked = async (given: typeof adapter | string) => predict(model, given, ["a charming journey"], { task });
    expect(await asked(path)).toEqual(await asked(adapter));
  });
});

describe("--adapter prompt.npy", () => {
  // a prompt as google-research/prompt-tuning publishes them: [100, width], nothing else
  const place = mkdtempSync(join(tmpdir(), "softprompt-npy-"));
  afterAll(() => rmSync(place, { recursive: true, force: true }));
  const prompt = join(place, "prompt.npy");
  const rows = join(place, "rows.jsonl");
  const task = ["--template", "review: {text}", "--verbalizer", "0=bad", "--verbalizer", "1=good"];
  const data = [...task, "--label-column", "label", "--train", rows, "--validation", rows];
  test.each([
    ["predict", ["predict", "a fine film", "--adapter", prompt, "--model", "t5-nano", ...task]],
    ["eval", ["eval", "--adapter", prompt, "--model", "t5-nano", ...data]],
    ["generate", ["generate", "a fine film", "--adapter", prompt, "--model", "t5-nano", "--max-tokens", "3"]],
    ["export onnx", ["export", "onnx", "--adapter", prompt, "--model", "t5-nano", "--output", join(place, "onnx")]],
    ["export raw", ["export", "raw", "--adapter", prompt, "--output", join(place, "raw")]],
    ["show", ["show", prompt, "--nearest", "--model", "t5-nano"]],
    ["inspect", ["inspect", prompt, "--model", "t5-nano"]],
  ])("%s takes it", async (_, argv) => {
    const data = Float32Array.from({ length: 100 * 128 }, (_, i) => Math.sin(i));
    writeFileSync(prompt, writeNpy({ shape: [100, 128], data }));
    writeFileSync(rows, '{"text":"good","label":"1"}\n{"text":"bad","label":"0"}\n');
    const parts: string[] = [];
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    for (const stream of [stdout, stderr]) stream.on("data", (chunk) => parts.push(String(chunk)));
    const code = await run(argv, { stdout, stderr, env: {}, signal: new AbortController().signal } as never);
    expect(code, parts.join("")).toBe(0);
  });
});

test.each([
  ["npy", ["--dtype", "int8"], "--dtype with onnx alone"],
  ["onnx-adapter", ["--prompt-input"], "--prompt-input with onnx alone"],
  ["raw", ["--max-tokens", "5"], "--max-tokens with vllm or sglang alone"],
])("export %s refuses %j, which would change nothing", async (form, given, expected) => {
  const { code, stderr } = await commandLine(["export", form, "--adapter", "a", "--output", "b", ...given]);
  expect(code).toBe(2);
  expect(stderr).toContain(expected);
});

describe("what we write", () => {
  test("our .npy has numpy's own bytes", () => {
    expect(Buffer.from(writeNpy({ shape: [3, 4], data: Float32Array.from(values) })).toString("latin1")).toBe(
      Buffer.from(fixture("little-f4")).toString("latin1"),
    );
  });
  test("pruned entries are zeros; raw says what its bytes are", async () => {
    await using model = await openModel("t5-nano");
    const whole = await promptAdapter(model.checkpoint, 4);
    const mask = {
      tokens: Uint8Array.of(1, 0, 1, 0),
      piecesKept: new Uint8Array(4).fill(1),
      pieces: 1,
      layout: "contiguous" as const,
    };
    const adapter = { ...whole, mask };
    await exportPrompt("raw", { adapter, output: folder });
    const before = readFileSync(join(folder, "prompt.f32"));
    await expect(exportPrompt("raw", { adapter: whole, output: folder })).rejects.toMatchObject({
      kind: "usage",
      problem: "this file is there already",
    });
    expect(readFileSync(join(folder, "prompt.f32"))).toEqual(before);
    for (const given of [null, "none", 5])
      await expect(exportPrompt("npy", { adapter: given as never, output: folder })).rejects.toBeInstanceOf(
        SoftpromptError,
      );
    const about = JSON.parse(readFileSync(join(folder, "prompt.json"), "utf8")) as { shape: number[]; file: string };
    const bytes = readFileSync(join(folder, about.file));
    expect(bytes.length).toBe(4 * about.shape[0]! * about.shape[1]!);
    const rows = Array.from({ length: 4 }, (_, i) => bytes.readFloatLE(4 * 128 * i));
    expect(rows.map((v) => v === 0)).toEqual(Array.from(mask.tokens, (on) => on === 0));
  });
  test.skipIf(!hasTorch)(
    "PyTorch loads ours with weights_only, and finds a dense float tensor of the same values",
    () => {
      for (const shape of [
        [3, 4],
        [1, 1],
        [300, 70],
      ]) {
        const data = Float32Array.from({ length: shape[0]! * shape[1]! }, (_, i) => Math.fround(Math.sin(i)));
        const path = join(folder, "tensor.pt");
        writeFileSync(path, torchFile({ shape, data }));
        expect(ask("torch", path)).toEqual({ shape, dtype: "torch.float32", contiguous: true, values: [...data] });
      }
    },
  );
});

describe("requests with embeddings", () => {
  test("they hold the prompt's vectors, then the text's embeddings, BOS among them", async () => {
    await using model = await openModel(tinyCausal({ bos: true }));
    const adapter = await promptAdapter(model.checkpoint, 3);
    const input = { adapter, prompt: "ab", maxTokens: 7 };
    const sglang = (await exportRequest(model, "sglang", input)) as {
      input_embeds: number[][];
      sampling_params: object;
    };
    expect(sglang.sampling_params).toMatchObject({ max_new_tokens: 7 });
    const table = await model.checkpoint.readRows("model.embed_tokens.weight", [1, 5, 6]);
    const D = model.checkpoint.config.width;
    const rows = (data: Float32Array) =>
      Array.from({ length: data.length / D }, (_, i) => [...data.subarray(i * D, i * D + D)]);
    expect(sglang.input_embeds).toEqual([...rows(adapter.prompt.data), ...rows(table.data)]);
    const vllm = (await exportRequest(model, "vllm", input)) as { prompt_embeds: string; max_tokens: number };
    expect(vllm.max_tokens).toBe(7);
    const bytes = Buffer.from(vllm.prompt_embeds, "base64");
    expect(bytes.subarray(0, 4).toString("latin1")).toBe("PK\x03\x04");
    if (!hasTorch) return;
    const path = join(folder, "request.pt");
    writeFileSync(path, bytes);
    expect(ask("torch", path)).toMatchObject({ shape: [6, D], values: sglang.input_embeds.flat() });
  });
  test("refused: an encoder-decoder, LoRA, a prompt behind the text", async () => {
    await using t5 = await openModel("t5-nano");
    const adapter = await promptAdapter(t5.checkpoint, 3);
    await expect(exportRequest(t5, "vllm", { adapter, prompt: "a" })).rejects.toThrow(/decoder-only models alone/);
    const lora = await methodAdapter(t5.checkpoint, "lora");
    await expect(exportPrompt("npy", { adapter: lora, output: folder })).rejects.toThrow(/more than vectors/);
    const task = placedTask("{text}{prompt}");
    await expect(exportPrompt("raw", { adapter: { ...adapter, task }, output: folder })).rejects.toThrow(
      /does not stand before/,
    );
  });
});

test("no form is written over something that is there", async () => {
  const place = mkdtempSync(join(tmpdir(), "softprompt-there-"));
  try {
    await using model = await openModel("t5-nano");
    const from = join(place, "adapter");
    saveAdapter(from, await promptAdapter(model.checkpoint, 3));
    for (const form of ["npy", "raw", "onnx", "onnx-adapter", "vllm"]) {
      const output = join(place, form);
      const file = form === "onnx-adapter" || form === "vllm";
      const there = file ? output : join(output, { npy: "prompt.npy", raw: "prompt.json" }[form] ?? "note.txt");
      if (!file) mkdirSync(output);
      writeFileSync(there, "mine");
      const text = form === "vllm" ? ["a text"] : [];
      const { code, stderr } = await commandLine(["export", form, ...text, "--adapter", from, "--output", output]);
      expect([form, code]).toEqual([form, 2]);
      expect(stderr).toContain("remove it, or give another --output");
      expect(readFileSync(there, "utf8")).toBe("mine");
    }
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
});
