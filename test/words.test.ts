/** @file Prompts read as words: a prompt that is made of words' own vectors is read back as them and loses nothing. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { saveAdapter } from "../src/adapter/adapter.js";
import { run } from "../src/cli/run.js";
import type { MetricName } from "../src/data/metrics.js";
import { architectureOf } from "../src/model/architectures.js";
import { type OpenModel, openModel } from "../src/tasks/model.js";
import { promptWords } from "../src/tasks/words.js";
import { methodAdapter, promptAdapter } from "./helpers/adapters.js";
import { commandLine } from "./helpers/command-line.js";
import { tinyCausal } from "./helpers/tiny-causal.js";

const root = mkdtempSync(join(tmpdir(), "softprompt-words-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const rowsFile = fileURLToPath(new URL("../examples/quickstart/validation.jsonl", import.meta.url));

/** A prompt of these words' own vectors, times a factor. */
async function spoken(model: OpenModel, text: string, factor: number) {
  const ids = model.tokenizer.encode(text);
  const { shape, data } = await model.checkpoint.readRows(architectureOf(model.checkpoint.config).embedding, ids);
  const task = {
    name: "reviews",
    template: "review: {text}",
    verbalizer: { positive: "positive", negative: "negative" },
    metrics: ["accuracy"] as [MetricName],
    maxTargetTokens: 4,
    targetPrefix: "",
  };
  const adapter = await promptAdapter(model.checkpoint, ids.length, 1, {
    prompt: { shape, data: data.map((v) => factor * v) },
    task,
  });
  return { ids, adapter };
}

test("words' own vectors are read back, at any length, and keep the score; pruned tokens have no word", async () => {
  await using model = await openModel("t5-nano");
  const text = "a very good film";
  const { ids, adapter } = await spoken(model, text, 1);
  const read = await promptWords(model, { adapter });
  expect(read.tokens.map(([best]) => best!.id)).toEqual(ids);
  for (const [best] of read.tokens) expect(best!.cosine).toBeCloseTo(1, 5);
  expect(read.text).toBe(text);
  expect(read.scores).toBeNull();
  const rows = readFileSync(rowsFile, "utf8")
    .split("\n")
    .slice(0, 24)
    .map((line) => JSON.parse(line) as { text: string; label: string });
  const scored = await promptWords(model, { adapter, rows });
  expect(scored.scores!.rows).toBe(24);
  expect(scored.scores!.words).toEqual(scored.scores!.prompt);

  const { adapter: long } = await spoken(model, text, -40);
  const pruned = {
    tokens: Uint8Array.of(...ids.map((_, i) => (i === 1 ? 0 : 1))),
    pieces: 1,
    layout: "contiguous" as const,
  };
  const masked = { ...long, mask: { ...pruned, piecesKept: new Uint8Array(ids.length).fill(1) } };
  const found = await promptWords(model, { adapter: { ...masked, prompt: zeroed(masked.prompt, 1) }, nearest: 2 });
  expect(found.tokens.map((nearest) => nearest.length)).toEqual(ids.map((_, i) => (i === 1 ? 0 : 2)));
  await expect(promptWords(model, { adapter: await methodAdapter(model.checkpoint, "lora") })).rejects.toThrow(
    /no virtual tokens/,
  );
});

test("another model's words are refused, in the command and for inspect, unless --any-base says so", async () => {
  const place = join(root, "other-base");
  const folder = tinyCausal({});
  {
    await using model = await openModel(folder);
    const { adapter } = await spoken(model, "the cat", 1);
    saveAdapter(place, { ...adapter, base: { ...adapter.base, sha256: "0".repeat(64) } });
  }
  for (const argv of [
    ["show", place, "--nearest", "--model", folder],
    ["inspect", place, "--model", folder],
  ]) {
    expect(await commandLine(argv)).toMatchObject({ code: 5, stderr: expect.stringMatching(/another base model/) });
    expect((await commandLine([...argv, "--any-base"])).code).toBe(0);
  }
});

function zeroed({ shape, data }: { shape: readonly number[]; data: Float32Array }, token: number) {
  const width = shape[1]!;
  return { shape, data: data.map((v, i) => (Math.floor(i / width) === token ? 0 : v)) };
}

test("a decoder-only model's words too, and what the score is with them", async () => {
  await using model = await openModel(tinyCausal({}));
  const { ids, adapter } = await spoken(model, "the cat", 3);
  const rows = Array.from({ length: 6 }, (_, i) => ({
    text: "a cat ".repeat(1 + (i % 2)),
    label: i % 2 ? "positive" : "negative",
  }));
  const read = await promptWords(model, { adapter, rows });
  expect(read.tokens.map(([best]) => best!.id)).toEqual(ids);
  expect(read.text.trim()).toBe("the cat");
  expect(read.scores!.rows).toBe(6);
});

test("softprompt show ADAPTER --nearest, with data and without", async () => {
  await using model = await openModel("t5-nano");
  const { adapter } = await spoken(model, "good film", 2);
  const folder = join(root, "adapter");
  saveAdapter(folder, adapter);
  const said = async (...argv: string[]) => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const parts: string[] = [];
    stdout.on("data", (chunk) => parts.push(String(chunk)));
    stderr.resume();
    const code = await run(["show", folder, ...argv], {
      stdout,
      stderr,
      env: {},
      signal: new AbortController().signal,
    } as never);
    return { code, text: parts.join("") };
  };
  const plain = await said("--nearest", "--model", "t5-nano");
  expect(plain.code).toBe(0);
  expect(plain.text).toMatch(/as words {2}good film/);
  const scored = await said("--nearest", "--model", "t5-nano", "--validation", rowsFile, "--json");
  expect(scored.code).toBe(0);
  const json = JSON.parse(scored.text) as { scores: { rows: number; prompt: { accuracy: number } } };
  expect(json.scores.rows).toBe(160);
  expect(json.scores.prompt.accuracy).toBeGreaterThanOrEqual(0);
  expect((await said("--model", "t5-nano")).code).not.toBe(0);
});
