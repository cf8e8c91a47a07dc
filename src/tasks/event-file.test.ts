/** @file TensorBoard's file while a run goes on: it grows with every event, and a death anywhere leaves no step twice. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { fakeEngine, fakeRows, fakeTask, fakeTokenizer } from "../../test/helpers/fake-engine.js";
import { Death, faultyOps } from "../../test/helpers/faults.js";
import { fptJob, metricsOf, scratch } from "../../test/helpers/job.js";
import { listFolder } from "../base/files.js";
import { openRun } from "../run/folder.js";
import { trainRun } from "../run/train.js";
import { followEvents, renewEventFile, renewSearchEvents } from "./event-file.js";
import { prune } from "./prune.js";
import { writeReport } from "./run-report.js";
import { tune } from "./tune.js";

const root = scratch("events");
afterAll(() => rmSync(root, { recursive: true, force: true }));
let count = 0;
const fresh = () => join(root, `run-${count++}`);
const eventFile = (folder: string) => join(folder, "events.out.tfevents.softprompt");

/** [tag, step, value] of every record, by the format's own description: length u64, crc u32, data, crc u32. */
function scalarsIn(folder: string): [string, number, number][] {
  const bytes = readFileSync(eventFile(folder));
  const out: [string, number, number][] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    const data = bytes.subarray(at + 12, at + 12 + length);
    if (data.length < length) throw new Error("the file ends inside a record");
    at += 16 + length;
    if (data[9] === 0x1a) continue; // file_version: the header
    const step = data[9] === 0x10 ? data[10]! : 0; // all steps here are below 128: one byte
    const tag = data.indexOf(0x0a, data.indexOf(0x0a, data[9] === 0x10 ? 11 : 9) + 1);
    const end = tag + 2 + data[tag + 1]!;
    out.push([data.toString("utf8", tag + 2, end), step, data.readFloatLE(end + 1)]);
  }
  return out;
}

/** The same from metrics.jsonl. */
function scalarsOf(folder: string): [string, number, number][] {
  return readFileSync(join(folder, "metrics.jsonl"), "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line))
    .flatMap((e) => {
      const at = (tag: string, value: number): [string, number, number] => [tag, e.step, Math.fround(value)];
      if (e.kind === "step")
        return [
          at("train/loss", e.loss),
          at("train/learningRate", e.learningRate),
          at("train/gradientNorm", e.gradientNorm),
          at("train/tokensPerSecond", e.tokens / e.seconds),
        ];
      if (e.kind !== "eval") return [];
      const scores = Object.entries(e.scores).map(([name, score]) => at(`validation/${name}`, score as number));
      return [at("validation/loss", e.loss), ...scores];
    });
}

test("after every event the file holds all that metrics.jsonl does", async () => {
  const folder = fresh();
  const run = openRun(folder, { resume: false, follow: followEvents });
  let events = 0;
  await trainRun(
    fptJob({
      run,
      observe: (event) => {
        if (event.kind === "start") return;
        events++;
        expect(scalarsIn(folder)).toEqual(scalarsOf(folder));
      },
    }),
  );
  run.close();
  expect(events).toBeGreaterThan(22);
  expect(scalarsIn(folder).filter(([tag]) => tag === "train/loss").length).toBe(18);
});

test("a death at any operation or byte, then a resume: every step once, in order", async () => {
  const whole = fresh();
  const measure = faultyOps({});
  const first = openRun(whole, { resume: false, ops: measure, follow: followEvents });
  await trainRun(fptJob({ run: first }));
  first.close();
  const plans = [
    ...Array.from({ length: 12 }, (_, i) => ({ dieAtOp: Math.floor((i * measure.count.ops) / 12) })),
    ...Array.from({ length: 12 }, (_, i) => ({ dieAtByte: Math.floor((i * measure.count.bytes) / 12) + 7 })),
  ];
  let resumed = 0;
  for (const plan of plans) {
    const folder = fresh();
    let run: ReturnType<typeof openRun> | undefined;
    try {
      run = openRun(folder, { resume: false, ops: faultyOps(plan), follow: followEvents });
      await trainRun(fptJob({ run }));
    } catch (error) {
      expect(error).toBeInstanceOf(Death);
    }
    for (const name of listFolder(folder).filter((n) => n.startsWith(".lock"))) rmSync(join(folder, name)); // its process lives on here
    const resume = existsSync(join(folder, "run.json"));
    const again = openRun(folder, { resume, follow: followEvents });
    await trainRun(fptJob({ run: again, resume }));
    again.close();
    if (resume) resumed++;
    expect(metricsOf(folder)).toEqual(metricsOf(whole));
    expect(scalarsIn(folder)).toEqual(scalarsOf(folder));
    expect(readdirSync(folder).sort()).toEqual([
      "events.out.tfevents.softprompt",
      "metrics.jsonl",
      "run.json",
      "snapshots",
    ]);
  }
  expect(resumed).toBeGreaterThan(18);
}, 60_000);

test("a resume cuts the file where it is, so that a reader's place in it stays good", async () => {
  const folder = fresh();
  const run = openRun(folder, { resume: false, follow: followEvents });
  await trainRun(fptJob({ run }));
  run.close();
  const bytes = readFileSync(eventFile(folder));
  const metrics = readFileSync(join(folder, "metrics.jsonl"), "utf8").split("\n");
  writeFileSync(join(folder, "metrics.jsonl"), `${metrics.slice(0, 9).join("\n")}\n`);
  const length = renewEventFile(folder);
  expect(readFileSync(eventFile(folder))).toEqual(bytes.subarray(0, length));
  expect(scalarsIn(folder)).toEqual(scalarsOf(folder));
  writeFileSync(eventFile(folder), "another program's");
  renewEventFile(folder);
  expect(readFileSync(eventFile(folder))).toEqual(bytes.subarray(0, length));
});

test("tune writes it while it trains; --no-tensorboard writes none", async () => {
  const engine = fakeEngine();
  const model = {
    checkpoint: { ...engine.checkpoint, parameters: 1000 },
    tokenizer: fakeTokenizer,
    engine,
    device: "cpu",
    dispose: async () => {},
  };
  const data = { task: fakeTask, train: fakeRows(16), validation: fakeRows(9), test: [], files: [], skipped: 0 };
  const prompt = { shape: [4, 8], data: Float32Array.from({ length: 32 }, (_, n) => Math.sin(n)) };
  const given = { virtualTokens: 4, steps: 4, evalEvery: 2 };
  const output = fresh();
  let atStep2 = 0;
  const observe = (event: { kind: string; step?: number }) => {
    if (event.kind === "step" && event.step === 2) atStep2 = scalarsIn(output).length;
  };
  await tune(model, data, { ...given, output, prompt, onEvent: observe });
  expect(atStep2).toBe(8);
  expect(scalarsIn(output)).toEqual(scalarsOf(output));
  const silent = fresh();
  await tune(model, data, { ...given, output: silent, tensorboard: false, prompt });
  expect(existsSync(eventFile(silent))).toBe(false);
  // a run that has the file keeps it in step, also where a resume does not ask for one
  const halted = fresh();
  const stop = new AbortController();
  const stopAt2 = (event: { kind: string; step?: number }) => {
    if (event.kind === "step" && event.step === 2) stop.abort("SIGINT");
  };
  const halt = tune(model, data, { ...given, output: halted, prompt, onEvent: stopAt2, signal: stop.signal });
  await halt.catch(() => {});
  expect(scalarsIn(halted).length).toBeGreaterThan(0);
  await tune(model, data, { ...given, output: halted, tensorboard: false, prompt, resume: true });
  expect(scalarsIn(halted)).toEqual(scalarsOf(halted));
});

test("an event file that is a link elsewhere is refused, and elsewhere untouched", () => {
  const folder = fresh();
  mkdirSync(folder, { recursive: true });
  const elsewhere = join(root, "precious");
  writeFileSync(elsewhere, "mine");
  symlinkSync(elsewhere, eventFile(folder));
  expect(() => renewEventFile(folder)).toThrow(/link/);
  expect(readFileSync(elsewhere, "utf8")).toBe("mine");
});

test("a search leaves one for its tuning, its control and every candidate, in folders that have their names", async () => {
  const folder = fresh();
  const engine = fakeEngine();
  const checkpoint = { ...engine.checkpoint, parameters: 1000, bytes: 4000 };
  const model = { checkpoint, tokenizer: fakeTokenizer, engine, device: "cpu" as const, dispose: async () => {} };
  const data = { task: fakeTask, train: fakeRows(16), validation: fakeRows(9), test: [], files: [], skipped: 0 };
  const given = {
    ...{ virtualTokens: 4, init: "uniform" as const, steps: 4, evalEvery: 2, pieces: 4, workers: 1 },
    ...{ tokensPruned: [1], piecesPruned: [1], baselines: false },
  };
  await prune(model, data, { ...given, output: folder, tensorboard: false });
  expect(listFolder(folder).filter((name) => name.startsWith("events"))).toEqual([]);
  expect(existsSync(eventFile(join(folder, "tune")))).toBe(false);
  await writeReport(folder);
  const candidates = readdirSync(join(folder, "candidates")).sort();
  expect(candidates).toEqual(["control", "t01-p00", "t01-p01"]);
  expect(scalarsIn(join(folder, "tune"))).toEqual(scalarsOf(join(folder, "tune")));
  for (const name of candidates) {
    const scalars = scalarsIn(join(folder, "candidates", name));
    expect(scalars).toEqual(scalarsOf(join(folder, "candidates", name, "run")));
    expect(scalars.filter(([tag]) => tag === "train/loss").map(([, step]) => step)).toEqual([1, 2, 3, 4]);
  }
  // a link among the candidates is not followed
  const elsewhere = fresh();
  mkdirSync(join(elsewhere, "run"), { recursive: true });
  writeFileSync(join(elsewhere, "run", "metrics.jsonl"), "");
  symlinkSync(elsewhere, join(folder, "candidates", "t02-p02"));
  renewSearchEvents(folder);
  expect(readdirSync(elsewhere)).toEqual(["run"]);
}, 30_000);
