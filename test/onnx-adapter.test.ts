/**
 * @file `.onnx_adapter` and the models that take it: the file against one that ONNX Runtime made (committed), a model fed by it in Node, and
 * both under ONNX Runtime's own adapters, where a Python with it is found (SOFTPROMPT_PYTHON, or python3).
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { fileURLToPath } from "node:url";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { ByteBuffer } from "flatbuffers";
import { ModelProtoSchema } from "onnx-buf";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { afterAll, describe, expect, test } from "vitest";
import { saveAdapter } from "../src/adapter/adapter.js";
import { runnable } from "../src/adapter/applied.js";
import type { Adapter } from "../src/adapter/types.js";
import type { Parameters } from "../src/base/tensor.js";
import { run as runCommand } from "../src/cli/run.js";
import { openEngine } from "../src/engine/engine.js";
import { adapterFile } from "../src/export/onnx-adapter.js";
import { architectureOf } from "../src/model/architectures.js";
import type { Checkpoint } from "../src/model/checkpoint.js";
import { exportModel, exportOnnxAdapter } from "../src/tasks/export.js";
import { type OpenModel, openModel } from "../src/tasks/model.js";
import { type EncodedRow, makeBatch } from "../src/text/batch.js";
import { methodAdapter, placedTask, promptAdapter } from "./helpers/adapters.js";
import { tinyCausal } from "./helpers/tiny-causal.js";

const root = mkdtempSync(join(tmpdir(), "softprompt-onnx-adapter-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

const oracle = here("oracles/onnx_adapter.py");
const python = process.env.SOFTPROMPT_PYTHON ?? "python3";
const hasRuntime = spawnSync(python, [oracle, "check"], { timeout: 120_000 }).status === 0;
if (!hasRuntime)
  console.warn(
    `onnx-adapter.test: ONNX Runtime's own adapters are SKIPPED: ${python} has no onnxruntime that knows them (set SOFTPROMPT_PYTHON)`,
  );
function ask<T>(args: readonly string[], input = ""): T {
  const { status, stdout, stderr } = spawnSync(python, [oracle, ...args], {
    input,
    encoding: "utf8",
    maxBuffer: 1 << 28,
    timeout: 120_000,
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as T;
}

interface Read {
  readonly versions: readonly number[];
  readonly parameters: Readonly<
    Record<string, { readonly shape: readonly number[]; readonly type: number; readonly values: readonly number[] }>
  >;
}

/** By the schema of the format. @param aligned numbers lie at multiples of 8 bytes, as the schema asks and ONNX Runtime's writer ignores */
function readFile(bytes: Uint8Array, aligned = true): Read {
  const b = new ByteBuffer(bytes);
  expect(b.__has_identifier("TORT")).toBe(true);
  const field = (table: number, i: number) => {
    const at = b.__offset(table, 4 + 2 * i);
    return at === 0 ? null : table + at;
  };
  const number = (table: number, i: number) => {
    const at = field(table, i);
    return at === null ? 0 : b.readInt32(at);
  };
  const list = (table: number, i: number) => {
    const at = field(table, i)!;
    const start = b.__vector(at);
    return { start, length: b.__vector_len(at) };
  };
  const file = b.readInt32(0);
  const all = list(file, 3);
  const parameters = Array.from({ length: all.length }, (_, n) => {
    const table = b.__indirect(all.start + 4 * n);
    const [dims, raw] = [list(table, 1), list(table, 3)];
    if (aligned) expect([dims.start % 8, raw.start % 8]).toEqual([0, 0]);
    const shape = Array.from({ length: dims.length }, (_, i) => Number(b.readInt64(dims.start + 8 * i)));
    const values = Array.from({ length: raw.length / 4 }, (_, i) => b.readFloat32(raw.start + 4 * i));
    return [String(b.__string(field(table, 0)!)), { shape, type: number(table, 2), values }] as const;
  });
  return { versions: [0, 1, 2].map((i) => number(file, i)), parameters: Object.fromEntries(parameters) };
}

const numbers = (shape: readonly number[]) => {
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.fround(Math.sin(i)));
  return { shape, data };
};

describe("the file", () => {
  test("one that ONNX Runtime made is read as what was put in", () => {
    const bytes = new Uint8Array(readFileSync(here("fixtures/onnx-adapter/made.onnx_adapter")));
    expect(readFile(bytes, false)).toEqual({
      versions: [1, 3, 2],
      parameters: {
        one: { shape: [2, 3], type: 1, values: [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5] },
        "other name": { shape: [1], type: 1, values: [0.25] },
      },
    });
  });
  const cases: [string, Parameters][] = [
    ["one vector", { soft_prompt: numbers([1, 1]) }],
    ["odd sizes", { a: numbers([3, 5]), "a longer name": numbers([1, 3, 7, 1]), c: numbers([2]) }],
    ["larger than the buffer that it starts in", { soft_prompt: numbers([100, 128]) }],
  ];
  test.each(cases)("ours, %s, is read the same way, and by ONNX Runtime", (name, tensors) => {
    const bytes = adapterFile(tensors);
    const wanted = {
      versions: [1, 1, 1],
      parameters: Object.fromEntries(
        Object.entries(tensors).map(([key, { shape, data }]) => [key, { shape, type: 1, values: [...data] }]),
      ),
    };
    expect(readFile(bytes)).toEqual(wanted);
    if (!hasRuntime) return;
    const path = join(root, `${name}.onnx_adapter`);
    writeFileSync(path, bytes);
    expect(ask<Read>(["read", path])).toEqual(wanted);
  });
});

/** Texts of one length per model, and what comes after them. A text of a decoder-only model is padded on the left. */
const texts = [
  [7, 33, 51, 20],
  [80, 5],
];
const targets = [
  [12, 40, 9],
  [95, 3, 17],
];

interface Told {
  readonly ids: number[][];
  readonly mask: number[][];
  readonly decoder: number[][] | null;
}

/** The same texts as callers of an exported model feed them. */
function toldTo(checkpoint: Pick<Checkpoint, "config">): Told {
  const longest = Math.max(...texts.map((ids) => ids.length));
  const causal = isCausal(checkpoint);
  const padded = (row: readonly number[], fill: readonly number[]) => (causal ? [...fill, ...row] : [...row, ...fill]);
  const rest = (b: number) => (causal ? targets[b]!.slice(0, -1) : []);
  const of = (value: (id: number) => number) =>
    texts.map((ids, b) => [
      ...padded(ids.map(value), Array<number>(longest - ids.length).fill(0)),
      ...rest(b).map(value),
    ]);
  return {
    ids: of((id) => id),
    mask: of(() => 1),
    decoder: causal ? null : targets.map((ids) => [0, ...ids.slice(0, -1)]),
  };
}

const isCausal = ({ config }: Pick<Checkpoint, "config">) => architectureOf(config).taskType === "CAUSAL_LM";

/** Our engine's logits of the targets. */
async function ours(checkpoint: Checkpoint, adapter: Adapter | null): Promise<number[]> {
  const rows = texts.map((ids, b): EncodedRow => {
    const text = isCausal(checkpoint)
      ? { input: Int32Array.from(ids.slice(0, -1)), first: ids.at(-1)! }
      : { input: Int32Array.from(ids) };
    const target = Int32Array.from(targets[b]!);
    return { id: String(b), ...text, target, choices: null, gold: -1, truncated: false };
  });
  const { method, parameters } = runnable(adapter ?? (await promptAdapter(checkpoint, 0)), checkpoint.config);
  const engine = openEngine(checkpoint, { threads: 1 }, method);
  try {
    const { logits } = await (await engine.forward()).run(parameters, makeBatch(rows));
    return [...logits.data];
  } finally {
    await engine.dispose();
  }
}

/** Logits of the targets among those of all tokens. */
const lastOf = (logits: number[][][]) => logits.flatMap((row) => row.slice(-targets[0]!.length)).flat();

/** Largest difference over the largest magnitude. */
function apart(found: readonly number[], wanted: readonly number[]): number {
  expect(found.length).toBe(wanted.length);
  const most = (values: readonly number[]) => values.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  return most(found.map((v, i) => v - wanted[i]!)) / most(wanted);
}

/** Optional inputs made required: ONNX Runtime for Node feeds no others. */
async function sessionOf(path: string): Promise<InferenceSession> {
  const model = fromBinary(ModelProtoSchema, readFileSync(path));
  const graph = model.graph!;
  graph.initializer = graph.initializer.filter(({ name }) => !name.startsWith("soft_prompt"));
  return InferenceSession.create(toBinary(ModelProtoSchema, model), { logSeverityLevel: 3, intraOpNumThreads: 1 });
}

const int64 = (rows: readonly (readonly number[])[]) =>
  new Tensor("int64", BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0]!.length]);

/** Logits of an exported model whose optional inputs are fed what the file holds. */
async function fedBy(folder: string, { ids, mask, decoder }: Told, { parameters }: Read): Promise<number[]> {
  const prompt = Object.fromEntries(
    Object.entries(parameters).map(([name, { shape, values }]) => [name, new Tensor("float32", values, shape)]),
  );
  const none = (session: InferenceSession) =>
    Object.fromEntries(
      session.inputMetadata.flatMap((input) => {
        if (!input.isTensor || !input.name.startsWith("past_key_values")) return [];
        const shape = input.shape.map((d) => (typeof d === "number" ? d : d === "batch_size" ? ids.length : 0));
        return [[input.name, new Tensor("float32", new Float32Array(0), shape)]];
      }),
    );
  const [texts, attention] = [int64(ids), int64(mask)];
  const first = await sessionOf(join(folder, "onnx", decoder ? "encoder_model.onnx" : "model.onnx"));
  const text = { input_ids: texts, attention_mask: attention, ...prompt };
  let logits: Tensor;
  if (decoder === null) {
    const all = new Tensor("int64", BigInt64Array.of(0n), []);
    logits = (await first.run({ ...text, ...none(first), num_logits_to_keep: all })).logits as Tensor;
  } else {
    const { last_hidden_state: states } = await first.run(text);
    const second = await sessionOf(join(folder, "onnx/decoder_model_merged.onnx"));
    const feeds = { encoder_attention_mask: attention, encoder_hidden_states: states!, input_ids: int64(decoder) };
    const branch = new Tensor("bool", Uint8Array.of(0), [1]);
    logits = (await second.run({ ...feeds, ...none(second), use_cache_branch: branch })).logits as Tensor;
    await second.release();
  }
  await first.release();
  const [B, U, V] = logits.dims as [number, number, number];
  const data = [...(logits.data as Float32Array)];
  return lastOf(
    Array.from({ length: B }, (_, b) =>
      Array.from({ length: U }, (_, u) => data.slice((b * U + u) * V, (b * U + u + 1) * V)),
    ),
  );
}

const models: [string, () => Promise<OpenModel>, string[]][] = [
  ["t5-nano", () => openModel("t5-nano"), ["soft_prompt"]],
  ...["llama", "gpt2", "qwen2-window", "neox", "qwen3"].map((family): [string, () => Promise<OpenModel>, string[]] => [
    family,
    () => openModel(tinyCausal({ family })),
    ["soft_prompt_keys", "soft_prompt_values"],
  ]),
];

describe("one model and a file per prompt", () => {
  test.each(models)(
    "%s: each file gives its prompt's logits, and none the frozen model's",
    async (name, open, inputs) => {
      await using model = await open();
      const { checkpoint } = model;
      const folder = join(root, name);
      await exportModel(model, { adapter: null, output: folder, promptInput: true });
      const pruned = { tokens: Uint8Array.of(1, 0, 1), piecesKept: new Uint8Array(3).fill(1), pieces: 1 };
      const adapters: Record<string, Adapter> = {
        five: await promptAdapter(checkpoint, 5),
        three: await promptAdapter(checkpoint, 3, 0.4, { mask: { ...pruned, layout: "contiguous" } }),
        ...(isCausal(checkpoint) && { prefix: await methodAdapter(checkpoint, "prefix") }),
      };
      const paths: string[] = [];
      const wanted = [await ours(checkpoint, null)];
      for (const [key, adapter] of Object.entries(adapters)) {
        const path = join(root, `${name}-${key}.onnx_adapter`);
        const written = await exportOnnxAdapter(model, { adapter, output: path });
        expect(Object.keys(written.inputs)).toEqual(inputs);
        expect(written.bytes).toBe(readFileSync(path).length);
        paths.push(path);
        wanted.push(await ours(checkpoint, adapter));
      }
      // each of them says something else
      for (const [i, logits] of wanted.entries())
        for (const other of wanted.slice(i + 1)) expect(apart(logits, other)).toBeGreaterThan(1e-2);
      const told = toldTo(checkpoint);
      const files = paths.map((path) => readFile(new Uint8Array(readFileSync(path))));
      const empty = Object.entries(files[0]!.parameters).map(([key, { shape, type }]) => {
        const [tokens, axis] = [shape.at(-2), shape.length - 2];
        expect(tokens).toBe(5);
        return [key, { shape: shape.map((size, i) => (i === axis ? 0 : size)), type, values: [] }];
      });
      const nothing: Read = { versions: [], parameters: Object.fromEntries(empty) };
      for (const [i, file] of [nothing, ...files].entries())
        expect(apart(await fedBy(folder, told, file), wanted[i]!)).toBeLessThan(1e-4);
      if (!hasRuntime) return;
      // back to the first and to none at the end: nothing of a run stays in the session
      const order = [0, ...paths.map((_, i) => i + 1), 1, 0];
      const given = order.map((i) => (i === 0 ? "-" : paths[i - 1]!));
      const theirs = ask<number[][][][]>(["logits", folder, ...given], JSON.stringify(told));
      for (const [i, logits] of theirs.entries()) expect(apart(lastOf(logits), wanted[order[i]!]!)).toBeLessThan(1e-4);
    },
  );

  test.skipIf(!hasRuntime)("a file of another model's is refused by ONNX Runtime", async () => {
    await using llama = await openModel(tinyCausal({}));
    await using t5 = await openModel("t5-nano");
    const folder = join(root, "other");
    await exportModel(llama, { adapter: null, output: folder, promptInput: true });
    const path = join(root, "other.onnx_adapter");
    await exportOnnxAdapter(t5, { adapter: await promptAdapter(t5.checkpoint, 3), output: path });
    const [said] = ask<string[]>(["logits", folder, path], JSON.stringify(toldTo(llama.checkpoint)));
    expect(said).toMatch(/Invalid input name: soft_prompt/);
  });
});

describe("what has no such form is refused", () => {
  test("LoRA, trained weights, prompts that stand elsewhere or enter late, prefixes of an encoder-decoder", async () => {
    await using t5 = await openModel("t5-nano");
    await using llama = await openModel(tinyCausal({}));
    const output = join(root, "refused.onnx_adapter");
    const task = placedTask("{text}{prompt}");
    for (const model of [t5, llama]) {
      const { checkpoint } = model;
      const behind = await promptAdapter(checkpoint, 3, 1, { task });
      await expect(exportOnnxAdapter(model, { adapter: behind, output })).rejects.toThrow(/does not stand before/);
      for (const name of ["lora", "full"] as const) {
        const adapter = await methodAdapter(checkpoint, name, name === "lora" ? { loraRank: 2 } : {});
        await expect(exportOnnxAdapter(model, { adapter, output })).rejects.toMatchObject({ kind: "adapter" });
      }
      const adapter = await promptAdapter(checkpoint, 3);
      const whole = { adapter, output: join(root, "refused"), promptInput: true };
      await expect(exportModel(model, whole)).rejects.toThrow(/takes no prompt at run time/);
    }
    for (const adapter of [
      await methodAdapter(t5.checkpoint, "prefix"),
      await methodAdapter(t5.checkpoint, "prompt", { insertLayer: 2 }),
    ])
      await expect(exportOnnxAdapter(t5, { adapter, output })).rejects.toThrow(/more than vectors/);
    await using small = await openModel(tinyCausal({ config: { max_position_embeddings: 16 } }));
    const long = await promptAdapter(small.checkpoint, 16);
    await expect(exportOnnxAdapter(small, { adapter: long, output })).rejects.toThrow(/no position for a text/);
    expect([output, join(root, "refused")].filter(existsSync)).toEqual([]);
  });
});

test("the command writes both, and says which inputs the file fills", async () => {
  const adapter = join(root, "adapter");
  await using model = await openModel("t5-nano");
  saveAdapter(adapter, await promptAdapter(model.checkpoint, 4));
  const said = async (...argv: string[]) => {
    const parts: string[] = [];
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    for (const stream of [stdout, stderr]) stream.on("data", (chunk) => parts.push(String(chunk)));
    const code = await runCommand(argv, { stdout, stderr, env: {}, signal: new AbortController().signal } as never);
    return { code, text: parts.join("") };
  };
  const file = join(root, "command.onnx_adapter");
  const written = await said("export", "onnx-adapter", "--adapter", adapter, "--output", file);
  expect(written.code, written.text).toBe(0);
  expect(written.text).toMatch(/soft_prompt +4 × 128/);
  expect(readFile(new Uint8Array(readFileSync(file))).parameters.soft_prompt!.shape).toEqual([4, 128]);
  const folder = join(root, "command");
  expect(await said("export", "onnx", "--prompt-input", "--model", "t5-nano", "--output", folder)).toMatchObject({
    code: 0,
  });
  expect(readFileSync(join(folder, "README.md"), "utf8")).toMatch(/optional inputs/);
  const readme = readFileSync(join(folder, "README.md"), "utf8");
  expect(readme).toContain("| `soft_prompt`, optional | float32 | [prompt_length, 128] |");
  expect(readme).toContain("| `use_cache_branch` | bool | [1] |");
  expect(readme.match(/^\| `past_key_values\.LAYER\.decoder\.key`/gm)).toHaveLength(1);
  const bare = await said("export", "onnx-adapter", "--model", "t5-nano", "--output", file);
  expect(bare).toMatchObject({ code: 2, text: expect.stringContaining("--adapter is missing") });
});
