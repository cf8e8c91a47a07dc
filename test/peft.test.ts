/**
 * @file Adapters go both ways: PEFT's are read here with the logits PEFT computed (committed); ours are loaded by real PEFT, where
 * a Python with peft is found (SOFTPROMPT_PYTHON, or python3), and otherwise the test says that it was skipped.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { adapterBase, checkBase, loadAdapter, saveAdapter } from "../src/adapter/adapter.js";
import type { Adapter } from "../src/adapter/types.js";
import { random } from "../src/base/random.js";
import type { Tensor } from "../src/base/tensor.js";
import { type Engine, openEngine } from "../src/engine/engine.js";
import { applyMask, maskFromScores } from "../src/method/mask.js";
import { type Checkpoint, openCheckpoint } from "../src/model/checkpoint.js";
import type { EncodedRow } from "../src/text/batch.js";
import { makeBatch } from "../src/text/batch.js";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const base = here("fixtures/tiny-t5-v11");
const oracle = here("oracles/peft_adapter.py");
const asked = process.env.SOFTPROMPT_PYTHON;
const python = asked ?? "python3";
const found = spawnSync(python, [oracle, "check"], { encoding: "utf8", timeout: 300_000 });
const versions = found.status === 0 ? (JSON.parse(found.stdout.trim().split("\n").at(-1)!) as object) : null;
if (versions === null && asked === undefined)
  console.warn(`peft.test: the check against real PEFT is SKIPPED: ${python} has no peft (set SOFTPROMPT_PYTHON)`);

let checkpoint: Checkpoint;
let engine: Engine;
const folder = mkdtempSync(join(tmpdir(), "softprompt-peft-"));
beforeAll(async () => {
  checkpoint = await openCheckpoint(base);
  engine = openEngine(checkpoint);
});
afterAll(async () => {
  await engine?.dispose();
  rmSync(folder, { recursive: true, force: true });
});

interface Task {
  inputIds: number[][];
  inputMask: number[][];
  decoderIds: number[][];
  maxNewTokens: number;
}
interface Answer {
  logits: number[][][];
  generated: number[][];
}

/** Our logits and generated ids for the same task. */
async function ours(prompt: Tensor, task: Task): Promise<Answer> {
  const rows = task.inputIds.map((ids, b): EncodedRow => {
    const input = Int32Array.from(
      ids.slice(
        0,
        task.inputMask[b]!.reduce((x, y) => x + y, 0),
      ),
    );
    // the engine shifts targets right by itself; the last target is never read by the decoder
    const target = Int32Array.from([...task.decoderIds[b]!.slice(1), 1]);
    return { id: String(b), input, target, choices: null, gold: -1, truncated: false };
  });
  const { logits } = await (await engine.forward()).run({ prompt }, makeBatch(rows));
  const [B, U, V] = logits.shape as [number, number, number];
  const at = (b: number, u: number) => Array.from(logits.data.subarray((b * U + u) * V, (b * U + u + 1) * V));
  const generated = await (await engine.generate()).run({ prompt }, rows, task.maxNewTokens);
  return {
    logits: Array.from({ length: B }, (_, b) => Array.from({ length: U }, (_, u) => at(b, u))),
    generated,
  };
}

/** Largest difference over the largest magnitude. */
function relativeError(a: number[][][], b: number[][][]): number {
  const [x, y] = [a.flat(2), b.flat(2)];
  expect(x.length).toBe(y.length);
  return Math.max(...x.map((v, i) => Math.abs(v - y[i]!))) / Math.max(...y.map(Math.abs));
}

/** PEFT's ids have start, end and padding. */
const bare = (ids: number[][]) => ids.map((row) => row.filter((id) => id > 1));

test("an adapter that PEFT made gives PEFT's logits and generated ids", async () => {
  const expected = JSON.parse(readFileSync(here("fixtures/peft-adapter/expected.json"), "utf8")) as Task & Answer;
  const adapter = loadAdapter(here("fixtures/peft-adapter"));
  expect(adapter.prompt.shape).toEqual([5, 32]);
  await checkBase(adapter, checkpoint);
  const found = await ours(adapter.prompt, expected);
  expect(relativeError(found.logits, expected.logits)).toBeLessThan(1e-4);
  expect(bare(found.generated)).toEqual(bare(expected.generated));
});

// a Python that was asked for by name must work: then a failure is not a skip
test.skipIf(versions === null && asked === undefined)(
  `an adapter of ours, loaded by real PEFT, gives our logits and generated ids ${versions ? JSON.stringify(versions) : "(SKIPPED: no Python with peft; set SOFTPROMPT_PYTHON)"}`,
  { timeout: 300_000 },
  async () => {
    expect(versions, found.stderr || String(found.error ?? found.signal)).not.toBeNull();
    const stream = random(3, "peft test");
    const prompt = { shape: [4, 32], data: Float32Array.from({ length: 128 }, () => stream.uniform(-2, 2)) };
    const scores = { tokens: [1, 2, 3, 4], pieces: Array.from({ length: 64 }, () => stream.next()) };
    const mask = maskFromScores(scores, { tokensPruned: 1, piecesPruned: 5 });
    const adapter: Adapter = {
      prompt: applyMask(prompt, mask),
      mask,
      base: await adapterBase(checkpoint),
      tokenizer: null,
      task: null,
      training: null,
      scores: null,
      kept: { config: {}, extras: {} },
    };
    saveAdapter(folder, adapter);
    const task: Task = {
      inputIds: [
        [7, 33, 51, 2, 1],
        [80, 1, 0, 0, 0],
      ],
      inputMask: [
        [1, 1, 1, 1, 1],
        [1, 1, 0, 0, 0],
      ],
      decoderIds: [
        [0, 12, 40],
        [0, 95, 3],
      ],
      maxNewTokens: 6,
    };
    const run = spawnSync(python, [oracle, "logits", folder, base], {
      input: JSON.stringify(task),
      encoding: "utf8",
      maxBuffer: 1 << 26,
    });
    expect(run.status, run.stderr).toBe(0);
    const peft = JSON.parse(run.stdout.trim().split("\n").at(-1)!) as Answer;
    const mine = await ours(loadAdapter(folder).prompt, task);
    expect(relativeError(mine.logits, peft.logits)).toBeLessThan(1e-4);
    expect(bare(mine.generated)).toEqual(bare(peft.generated));
  },
);

test.skipIf(versions === null && asked === undefined)(
  `decoder-only: our adapter in real PEFT, and PEFT's in ours, give equal logits and greedy ids ${versions ? "" : "(SKIPPED: no Python with peft)"}`,
  { timeout: 300_000 },
  async () => {
    const model = here("fixtures/tiny-causal-llama");
    const llama = await openCheckpoint(model);
    const causal = openEngine(llama, { threads: 1 });
    const stream = random(4, "peft test");
    const prompt = { shape: [4, 32], data: Float32Array.from({ length: 128 }, () => stream.uniform(-2, 2)) };
    const base = await adapterBase(llama);
    const blank = { mask: null, tokenizer: null, task: null, training: null, scores: null };
    const [own, made] = [join(folder, "causal"), join(folder, "made")];
    saveAdapter(own, { ...blank, prompt, base, kept: { config: {}, extras: {} } });
    const texts = [[1, 33, 51, 20], [1], [1, 7, 8, 9, 60, 61, 62]];
    const targets = [[12, 40], [95, 3, 2], [5]];
    const run = spawnSync(python, [oracle, "causal", own, model, made], {
      input: JSON.stringify({ texts, targets, maxNewTokens: 8 }),
      encoding: "utf8",
      maxBuffer: 1 << 26,
    });
    expect(run.status, run.stderr).toBe(0);
    const theirs = JSON.parse(run.stdout.trim().split("\n").at(-1)!) as Record<"ours" | "made", Answer>;
    const rows = texts.map((text, b): EncodedRow => {
      const input = Int32Array.from(text.slice(0, -1));
      const target = Int32Array.from(targets[b]!);
      return { id: String(b), input, first: text.at(-1)!, target, choices: null, gold: -1, truncated: false };
    });
    for (const [where, answer] of [
      [own, theirs.ours],
      [made, theirs.made],
    ] as const) {
      const adapter = loadAdapter(where);
      await checkBase(adapter, llama);
      const parameters = { prompt: adapter.prompt };
      const { logits } = await (await causal.forward()).run(parameters, makeBatch(rows));
      const [, U, V] = logits.shape as [number, number, number];
      const mine = targets.map((target, b) =>
        target.map((_, u) => Array.from(logits.data.subarray((b * U + u) * V, (b * U + u + 1) * V))),
      );
      expect(relativeError(mine, answer.logits)).toBeLessThan(1e-4);
      const generated = await (await causal.generate()).run(parameters, rows, 8);
      expect(generated).toEqual(answer.generated.map((ids) => ids.filter((id) => id !== 2)));
    }
    expect(loadAdapter(made).prompt.shape).toEqual([3, 32]);
    await causal.dispose();
  },
);
