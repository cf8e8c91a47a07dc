/**
 * @file Training under every method, on the real engine: what is interrupted ends with the very bytes of what was not, only what is declared
 * moves, masks of ones change nothing, and a prefix of length 0 is the model.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { hashFile } from "../src/base/digest.js";
import { defaults } from "../src/base/options.js";
import { random } from "../src/base/random.js";
import type { Parameters, Tensor } from "../src/base/tensor.js";
import { type Engine, openEngine } from "../src/engine/engine.js";
import { fullMask } from "../src/method/mask.js";
import type { Method } from "../src/method/method.js";
import { methods, openMethod, prunableForm } from "../src/method/methods.js";
import { type MethodName, methodOptions } from "../src/method/options.js";
import { promptTuning } from "../src/method/prompt.js";
import { type Checkpoint, openCheckpoint } from "../src/model/checkpoint.js";
import { trainRun } from "../src/run/train.js";
import { makeBatch } from "../src/text/batch.js";
import { encodeRows } from "../src/text/rows.js";
import type { TrainResult } from "../src/train/types.js";
import { fakeRows } from "./helpers/fake-engine.js";
import { fingerprint, metricsOf, scratch } from "./helpers/job.js";
import { fixture, tinyJob, tinyTokenizer } from "./helpers/tiny-job.js";

const P = 4;
const settingsOf: Partial<Record<MethodName, object>> = {
  lora: { loraRank: 3, loraTargets: ["q", "wi_0", "wo"] },
  superpos: { superposBasis: 6 },
  ulpt: { ulptRank: 5 },
  residual: { residualBottleneck: 7 },
  "low-rank": { lowRank: 3 },
  "p-tuning": { pTuningHidden: 6 },
};
/** Further forms of a method. */
const forms: [string, MethodName, object][] = [
  ...(Object.keys(methods) as MethodName[]).map((name): [string, MethodName, object] => [
    name,
    name,
    settingsOf[name] ?? {},
  ]),
  ["prefix with its network", "prefix", { prefixHidden: 5 }],
  ["p-tuning with an LSTM", "p-tuning", { pTuningHidden: 3, pTuningEncoder: "lstm" }],
  ["superpos with a trained basis", "superpos", { superposBasis: 6, superposTuneBasis: true }],
  ["full, parts", "full", { fullParts: ["layer_norm"] }],
];

const root = scratch("methods");
let checkpoint: Checkpoint;
let hash: string;
const engines: Engine[] = [];
const weights = fixture("tiny-t5-v11/model.safetensors");
beforeAll(async () => {
  checkpoint = await openCheckpoint(fixture("tiny-t5-v11"));
  hash = await hashFile(weights);
});
afterAll(async () => {
  for (const engine of engines) await engine.dispose();
  rmSync(root, { recursive: true, force: true });
  expect(await hashFile(weights)).toBe(hash);
});

const open = (name: MethodName, settings: object = {}): Method =>
  openMethod({ ...defaults(methodOptions), virtualTokens: P, seed: 0, ...settings, method: name });

function engineOf(method: Method): Engine {
  const engine = openEngine(checkpoint, { threads: 1 }, method);
  engines.push(engine);
  return engine;
}

async function startOf(method: Method): Promise<Parameters> {
  const draw = random(2, "prompt");
  const D = checkpoint.config.width;
  const prompt = async (): Promise<Tensor> => ({
    shape: [P, D],
    data: Float32Array.from({ length: P * D }, () => draw.uniform(-0.5, 0.5)),
  });
  return method.start({ checkpoint, random: random(0, `start ${method.name}`), prompt });
}

async function jobOf(method: Method) {
  const engine = engineOf(method);
  const job = tinyJob(engine);
  return {
    ...job,
    parameters: await startOf(method),
    mask: null,
    keep: [],
    settings: { ...job.settings, learningRate: method.name === "full" ? 0.001 : 0.05, checkpointSeconds: 0 },
  };
}

const bytes = (parameters: Parameters) =>
  Object.fromEntries(Object.entries(parameters).map(([name, { data }]) => [name, [...data]]));

describe.each(forms)("%s", (label, name, settings) => {
  test("stopped after every third step, it ends with the bytes of a run that was not", async () => {
    const method = open(name, settings);
    const job = await jobOf(method);
    const folder = join(root, label.replace(/\W/g, "-"));
    const whole = await trainRun({ ...job, run: join(folder, "whole") });
    let result: TrainResult;
    let sessions = 0;
    do {
      const run = { run: join(folder, "cut"), resume: sessions > 0, pauseAfter: 3 * (sessions + 1) };
      result = await trainRun({ ...job, ...run });
      sessions++;
    } while (result.reason === "interrupted");
    expect(sessions).toBe(4);
    expect(fingerprint(result)).toEqual(fingerprint(whole));
    expect(metricsOf(join(folder, "cut"))).toEqual(metricsOf(join(folder, "whole")));
  });

  test("everything that is declared moves, and nothing else", async () => {
    const method = open(name, settings);
    const job = await jobOf(method);
    const before = bytes(job.parameters);
    // by its gradient: weight decay alone would move it too
    const { last } = await trainRun({ ...job, settings: { ...job.settings, weightDecay: 0 }, run: null });
    expect(bytes(job.parameters)).toEqual(before);
    const declared = method.parameters(checkpoint.config).map((spec) => spec.name);
    expect(Object.keys(last).sort()).toEqual([...declared].sort());
    const still = Object.entries(last).filter(([key, { data }]) => data.every((v, i) => v === before[key]![i]));
    expect(still.map(([key]) => key)).toEqual([]);
  });
});

describe.each(forms.filter(([, name]) => methods[name].prunable))("%s can be masked", (_, name, settings) => {
  test("a mask of ones changes nothing", async () => {
    const { method } = prunableForm(open(name, settings), checkpoint.config)!;
    const job = await jobOf(method);
    const without = await trainRun({ ...job, run: null });
    const ones = fullMask(P, 16);
    const masked = await trainRun({ ...job, mask: ones, run: null });
    expect(fingerprint(masked)).toEqual(fingerprint(without));
  });
});

test("a prefix of length 0 is the model", async () => {
  const method = open("prefix", { virtualTokens: 0 });
  const start = await startOf(method);
  expect(Object.values(start).every(({ data }) => data.length === 0)).toBe(true);
  const rows = fakeRows(5);
  const { task } = tinyJob(engineOf(promptTuning));
  const batch = makeBatch(encodeRows(task, rows, tinyTokenizer, 64));
  const none = { prompt: { shape: [0, checkpoint.config.width], data: new Float32Array(0) } };
  const mine = await (await engineOf(method).forward()).run(start, batch);
  const bare = await (await engineOf(promptTuning).forward()).run(none, batch);
  expect(mine.logits).toEqual(bare.logits);
});
