/**
 * A real decoder-only model, SmolLM2-135M-Instruct in bfloat16, against transformers: logits, losses and greedy ids of rows of several lengths.
 *
 * Needs the folder that `to_huggingface.py` beside the model writes (SOFTPROMPT_SMOLLM2), and a Python with transformers
 * (SOFTPROMPT_PYTHON, or python3); otherwise the test says that it was skipped.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { random } from "../src/base/random.js";
import { openEngine } from "../src/engine/engine.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import type { EncodedRow } from "../src/text/batch.js";
import { makeBatch } from "../src/text/batch.js";
import { distance } from "./helpers/close.js";

const folder = process.env.SOFTPROMPT_SMOLLM2;
const python = process.env.SOFTPROMPT_PYTHON ?? "python3";
const oracle = fileURLToPath(new URL("oracles/smollm2_logits.py", import.meta.url));
const ready =
  folder !== undefined &&
  existsSync(join(folder, "config.json")) &&
  spawnSync(python, [oracle, "check"], { timeout: 300_000 }).status === 0;
if (!ready)
  console.warn(
    "smollm2.test: SKIPPED: set SOFTPROMPT_SMOLLM2 to the model's folder and SOFTPROMPT_PYTHON to a Python with transformers",
  );

test.skipIf(!ready)("logits, losses and greedy ids are those of transformers", { timeout: 900_000 }, async () => {
  const stream = random(1, "smollm2 test");
  const ids = (n: number) => Int32Array.from({ length: n }, () => stream.integer(49_152));
  // random ids reach all of the vocabulary; the words "The quick brown fox…" are what a greedy continuation is worth looking at
  const words = Int32Array.from([504, 2365, 6354, 16438, 27003, 690, 260, 23790, 2767, 30]);
  const texts = [words, words.subarray(0, 1), ids(3), ids(28), ids(60)];
  const rows = texts.map(
    (text, b): EncodedRow => ({
      id: `row ${b}`,
      input: text.subarray(0, -1),
      first: text.at(-1)!,
      target: ids(1 + (b % 3)),
      choices: null,
      gold: -1,
      truncated: false,
    }),
  );
  const maxTokens = 12;
  const asked = { rows: rows.map(({ target }, b) => ({ text: [...texts[b]!], target: [...target] })), maxTokens };
  const run = spawnSync(python, [oracle, folder!], {
    input: JSON.stringify(asked),
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  expect(run.status, run.stderr).toBe(0);
  const wanted = JSON.parse(run.stdout.trim().split("\n").at(-1)!) as { logits: string[]; greedy: number[][] };

  const checkpoint = await openCheckpoint(folder!);
  expect(checkpoint.warnings).toEqual([]);
  expect(checkpoint.parameters).toBe(134_515_008);
  const engine = openEngine(checkpoint, { threads: 1 });
  const none = { prompt: { shape: [0, 576], data: new Float32Array(0) } };
  const { logits } = await (await engine.forward()).run(none, makeBatch(rows));
  const [, U, V] = logits.shape as [number, number, number];
  const errors = rows.map(({ target }, b) => {
    const bytes = Buffer.from(wanted.logits[b]!, "base64");
    const theirs = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    expect(theirs.length).toBe(target.length * V);
    return distance(logits.data.subarray(b * U * V, b * U * V + theirs.length), theirs);
  });
  console.log(`smollm2: relative errors of the logits ${errors.map((e) => e.toExponential(1)).join(", ")}`);
  expect(Math.max(...errors)).toBeLessThan(1e-4);
  expect(await (await engine.generate()).run(none, rows, maxTokens)).toEqual(wanted.greedy);
  await engine.dispose();
});
