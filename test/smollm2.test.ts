/**
 * A real decoder-only model, SmolLM2-135M-Instruct in bfloat16, against transformers in float32: logits, losses and greedy ids of random
 * rows of several lengths; then logits of 100 real rows, and 50 real rows continued for 64 tokens.
 *
 * Needs the model's folder (SOFTPROMPT_SMOLLM2, or what helpers/smollm2.ts makes), a Python with transformers (SOFTPROMPT_PYTHON, or
 * python3), and for the real rows ../shared/datasets; otherwise it says what was skipped. SOFTPROMPT_PARITY=FILE writes the figures.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { random } from "../src/base/random.js";
import { openEngine } from "../src/engine/engine.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { makeBatch } from "../src/text/batch.js";
import { loadTokenizer } from "../src/text/load.js";
import { distance } from "./helpers/close.js";
import { python, smollm2Folder } from "./helpers/smollm2.js";

const folder = process.env.SOFTPROMPT_SMOLLM2 ?? smollm2Folder();
const oracle = fileURLToPath(new URL("oracles/smollm2_logits.py", import.meta.url));
const datasets = fileURLToPath(new URL("../../shared/datasets", import.meta.url));
const ready =
  folder !== null &&
  existsSync(join(folder, "config.json")) &&
  spawnSync(python, [oracle, "check"], { timeout: 300_000 }).status === 0;
if (!ready)
  console.warn(
    "smollm2.test: SKIPPED: set SOFTPROMPT_SMOLLM2 to the model's folder and SOFTPROMPT_PYTHON to a Python with transformers",
  );

/** Ids of a text, and those that it is taught to go on with. */
interface Asked {
  readonly text: readonly number[];
  readonly target: readonly number[];
}

const rowOf = ({ text, target }: Asked, b: number) => ({
  id: `row ${b}`,
  input: Int32Array.from(text.slice(0, -1)),
  first: text.at(-1)!,
  target: Int32Array.from(target),
  choices: null,
  gold: -1,
  truncated: false,
});

interface Wanted {
  readonly versions: Record<string, string>;
  readonly logits: readonly string[];
  readonly greedy: readonly number[][];
}

function transformers(asked: object): Wanted {
  const run = spawnSync(python, [oracle, folder!], {
    input: JSON.stringify(asked),
    encoding: "utf8",
    maxBuffer: 1 << 29,
  });
  expect(run.status, run.stderr).toBe(0);
  return JSON.parse(run.stdout.trim().split("\n").at(-1)!);
}

async function compared(asked: readonly Asked[], { maxTokens = 12, continued = asked.length, cache = false, at = 8 }) {
  const wanted = transformers({ rows: asked, maxTokens, continued, cache });
  const checkpoint = await openCheckpoint(folder!);
  const engine = openEngine(checkpoint, { threads: 1 });
  const none = { prompt: { shape: [0, 576], data: new Float32Array(0) } };
  const rows = asked.map(rowOf);
  const forward = await engine.forward();
  const errors: number[] = [];
  for (let from = 0; from < rows.length; from += at) {
    const { logits } = await forward.run(none, makeBatch(rows.slice(from, from + at)));
    const [B, U, V] = logits.shape as [number, number, number];
    for (let b = 0; b < B; b++) {
      const bytes = Buffer.from(wanted.logits[from + b]!, "base64");
      const theirs = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
      expect(theirs.length).toBe(asked[from + b]!.target.length * V);
      errors.push(distance(logits.data.subarray(b * U * V, b * U * V + theirs.length), theirs));
    }
  }
  const generate = await engine.generate();
  const greedy: number[][] = [];
  for (let from = 0; from < continued; from += at)
    greedy.push(...(await generate.run(none, rows.slice(from, Math.min(continued, from + at)), maxTokens)));
  await engine.dispose();
  return { checkpoint, wanted, errors, greedy };
}

test.skipIf(!ready)("logits, losses and greedy ids are those of transformers", { timeout: 900_000 }, async () => {
  const stream = random(1, "smollm2 test");
  const ids = (n: number) => Array.from({ length: n }, () => stream.integer(49_152));
  // random ids reach all of the vocabulary; the words "The quick brown fox…" are what a greedy continuation is worth looking at
  const words = [504, 2365, 6354, 16438, 27003, 690, 260, 23790, 2767, 30];
  const texts = [words, words.slice(0, 1), ids(3), ids(28), ids(60)];
  const asked = texts.map((text, b) => ({ text, target: ids(1 + (b % 3)) }));
  const { checkpoint, wanted, errors, greedy } = await compared(asked, {});
  expect(checkpoint.warnings).toEqual([]);
  expect(checkpoint.parameters).toBe(134_515_008);
  console.log(`smollm2: relative errors of the logits ${errors.map((e) => e.toExponential(1)).join(", ")}`);
  expect(Math.max(...errors)).toBeLessThan(1e-4);
  expect(greedy).toEqual(wanted.greedy);
});

const real = ready && existsSync(datasets);
if (ready && !real) console.warn("smollm2.test: the real rows are SKIPPED: ../shared/datasets is not there");

/** Ids of real rows, the tasks in turn; the last four tokens of a row are its target. */
async function realRows(count: number): Promise<Asked[]> {
  const tokenizer = await loadTokenizer(folder!);
  const put = {
    "SST-2": ({ sentence }: Record<string, string>) => `Review: ${sentence}\nSentiment:`,
    CB: ({ premise, hypothesis }: Record<string, string>) =>
      `${premise}\nQuestion: ${hypothesis} True, False, or Neither?\nAnswer:`,
    RTE: ({ premise, hypothesis }: Record<string, string>) =>
      `${premise}\nQuestion: ${hypothesis} True or False?\nAnswer:`,
    WiC: ({ sentence1, sentence2, word }: Record<string, string>) =>
      `${sentence1}\n${sentence2}\nIs ${word} used in the same sense?\nAnswer:`,
  };
  const tasks = Object.entries(put).map(([task, text]) => ({
    text,
    lines: readFileSync(join(datasets, task, "validation.jsonl"), "utf8").split("\n"),
  }));
  return Array.from({ length: count }, (_, n) => {
    const { text, lines } = tasks[n % tasks.length]!;
    const ids = tokenizer.encode(text(JSON.parse(lines[Math.floor(n / tasks.length)]!)));
    return { text: ids.slice(0, -4), target: ids.slice(-4) };
  });
}

/** Puts figures beside those that the file has. */
function say(figures: object, { versions }: Wanted): void {
  console.log(`smollm2, real rows: ${JSON.stringify(figures)}`);
  const file = process.env.SOFTPROMPT_PARITY;
  if (!file) return;
  const before = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {};
  const all = { ...before, ...figures, oracle: { ...versions, dtype: "float32" } };
  writeFileSync(file, `${JSON.stringify(all, null, 1)}\n`);
}

test.skipIf(!real)("logits of 100 real rows", { timeout: 3_600_000 }, async () => {
  const asked = await realRows(100);
  const { wanted, errors } = await compared(asked, { continued: 0 });
  const mean = errors.reduce((a, b) => a + b) / errors.length;
  const tokens = asked.reduce((sum, { text }) => sum + text.length, 0);
  const largest = Math.max(...errors);
  say({ logits: { rows: asked.length, textTokens: tokens, positions: 4 * asked.length, largest, mean } }, wanted);
  expect(largest).toBeLessThan(1e-4);
});

/** SOFTPROMPT_PARITY_TOKENS: fewer, on a busy machine. */
const maxTokens = Number(process.env.SOFTPROMPT_PARITY_TOKENS ?? 64);
test.skipIf(!real)(`50 real rows continued for ${maxTokens} tokens`, { timeout: 3_600_000 }, async () => {
  const asked = await realRows(50);
  const { wanted, greedy } = await compared(asked, { maxTokens, continued: 50, cache: true, at: 10 });
  const equal = greedy.filter((ids, b) => ids.join() === wanted.greedy[b]!.join()).length;
  say({ continuations: { rows: 50, maxTokens, equal, tokens: greedy.flat().length } }, wanted);
  expect(greedy).toEqual(wanted.greedy);
});
