/** @file Exact resume: a run that was interrupted, killed, torn or out of space ends with the very bytes of one that was not. */
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { fakeEngine, fakeRows } from "../../test/helpers/fake-engine.js";
import { Death, type FaultPlan, faultyOps } from "../../test/helpers/faults.js";
import { fingerprint, fptJob, metricsOf, scratch, startPrompt } from "../../test/helpers/job.js";
import { sha256 } from "../base/files.js";
import { fullMask } from "../method/mask.js";
import type { TrainResult } from "../train/types.js";
import { openRun } from "./folder.js";
import { type RunInput, trainRun } from "./train.js";

const root = scratch("resume");
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folder: string;
let count = 0;
beforeEach(() => {
  folder = join(root, String(count++));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** The same training, never interrupted. */
async function uninterrupted(more: Partial<RunInput> = {}): Promise<{ result: unknown; metrics: string[] }> {
  const path = join(root, `whole-${count++}`);
  const result = await trainRun(fptJob({ ...more, run: path }));
  return { result: fingerprint(result), metrics: metricsOf(path) };
}

/** An engine that aborts at its n-th pass, and the signal. */
function abortAt(pass: number) {
  const abort = new AbortController();
  let passes = 0;
  const engine = fakeEngine({ before: () => void (++passes === pass && abort.abort()) });
  return { engine, signal: abort.signal };
}

test("what is computed again to save memory is counted over all parts of a run", async () => {
  const little = { options: { lowMemory: true } };
  const whole = await trainRun(fptJob({ engine: fakeEngine(little), run: join(root, `little-${count++}`) }));
  const abort = new AbortController();
  let passes = 0;
  const engine = fakeEngine({ ...little, before: () => void (++passes === 40 && abort.abort()) });
  const first = await trainRun(fptJob({ engine, signal: abort.signal, run: folder }));
  expect(first.reason).toBe("interrupted");
  const rest = await trainRun(fptJob({ engine: fakeEngine(little), run: folder, resume: true }));
  expect(whole.cost.recomputedFlops).toBeGreaterThan(first.cost.recomputedFlops!);
  expect(rest.cost.recomputedFlops).toBe(whole.cost.recomputedFlops);
});

describe("exact resume through every stage of an FPT schedule, with a mask", () => {
  test.each(["adafactor", "adamw", "sgd"] as const)("%s: interrupted at every pass of the run", async (optimizer) => {
    const settings = { ...fptJob().settings, optimizer, weightDecay: 0.01, momentum: 0.9 };
    const whole = await uninterrupted({ settings });
    const reasons = new Set<string>();
    const stages = new Set<number>();
    // 18 steps of up to three passes, 6 evaluations of three: 72 passes; every third pass, and every one in the middle
    for (let pass = 1; pass <= 72; pass += pass > 20 && pass < 40 ? 1 : 3) {
      const path = join(root, `cut-${count++}`);
      const first = await trainRun(fptJob({ settings, ...abortAt(pass), run: path }));
      reasons.add(first.reason);
      stages.add(first.cost.perStage.length);
      const second = await trainRun(fptJob({ settings, run: path, resume: true }));
      expect(fingerprint(second)).toEqual(whole.result);
      expect(metricsOf(path)).toEqual(whole.metrics);
      rmSync(path, { recursive: true });
    }
    expect(reasons).toContain("interrupted");
    expect([...stages].sort()).toEqual([1, 2, 3]);
  });

  test("interrupted after every step, again and again", async () => {
    const whole = await uninterrupted();
    let result: TrainResult;
    let sessions = 0;
    do {
      result = await trainRun(fptJob({ ...abortAt(4), run: folder, resume: sessions > 0 }));
      sessions++;
      expect(sessions).toBeLessThan(60);
    } while (result.reason === "interrupted");
    expect(sessions).toBeGreaterThan(12);
    expect(fingerprint(result)).toEqual(whole.result);
    expect(metricsOf(folder)).toEqual(whole.metrics);
  });

  test("plateau growth, patience, skipped steps and an optimizer reset are part of what is resumed", async () => {
    const base = fptJob();
    const poison = (rows: readonly string[]) => (rows.includes("train.jsonl:5") ? ("loss" as const) : null);
    const more = {
      settings: { ...base.settings, evalEvery: 2, patience: 3 },
      schedule: { ...base.schedule, resetOptimizerOnGrow: true, plateau: { patience: 1, minDelta: 0.3 } },
    };
    const whole = await uninterrupted({ ...more, engine: fakeEngine({ poison }) });
    let result: TrainResult;
    let sessions = 0;
    do {
      const abort = new AbortController();
      let passes = 0;
      const engine = fakeEngine({ poison, before: () => void (++passes === 5 && abort.abort()) });
      result = await trainRun(fptJob({ ...more, engine, signal: abort.signal, run: folder, resume: sessions++ > 0 }));
    } while (result.reason === "interrupted");
    expect(result.skipped).toBeGreaterThan(0);
    expect(fingerprint(result)).toEqual(whole.result);
    expect(metricsOf(folder)).toEqual(whole.metrics);
  });

  test("stopped before its first step, its start is told once", async () => {
    const whole = await uninterrupted();
    const abort = new AbortController();
    abort.abort();
    expect((await trainRun(fptJob({ run: folder, signal: abort.signal }))).steps).toBe(0);
    const result = await trainRun(fptJob({ run: folder, resume: true }));
    expect(fingerprint(result)).toEqual(whole.result);
    expect(metricsOf(folder)).toEqual(whole.metrics);
  });

  test("a finished run gives its result again and trains no more", async () => {
    const first = await trainRun(fptJob({ run: folder }));
    const engine = fakeEngine();
    const again = await trainRun(fptJob({ engine, run: folder, resume: true }));
    expect(fingerprint(again)).toEqual(fingerprint(first));
    expect(engine.calls).toEqual([]);
  });
});

describe("dying inside writes", () => {
  /** One session that dies as planned; in one process its lock must be cleared by hand, as its death does elsewhere. */
  async function session(plan: FaultPlan): Promise<{ died: boolean; writes: { ops: number; bytes: number } }> {
    const ops = faultyOps(plan);
    const clear = () => {
      if (existsSync(folder))
        for (const name of readdirSync(folder)) if (name.startsWith(".lock-")) rmSync(join(folder, name));
    };
    const resume = existsSync(join(folder, "run.json"));
    try {
      const run = openRun(folder, { resume, ops });
      await trainRun(fptJob({ run }));
      run.close();
      return { died: false, writes: ops.count };
    } catch (error) {
      if (!(error instanceof Death)) throw error;
      clear();
      return { died: true, writes: ops.count };
    }
  }

  test("at every operation of a run: once each, then resumed to the same bytes", async () => {
    const whole = await uninterrupted();
    const { writes } = await session({});
    rmSync(folder, { recursive: true });
    expect(writes.ops).toBeGreaterThan(150);
    let deaths = 0;
    for (let dieAtOp = 0; dieAtOp < writes.ops; dieAtOp += 3) {
      if ((await session({ dieAtOp })).died) deaths++;
      const { died } = await session({});
      expect(died).toBe(false);
      expect(metricsOf(folder)).toEqual(whole.metrics);
      const result = await trainRun(fptJob({ run: folder, resume: true }));
      expect(fingerprint(result)).toEqual(whole.result);
      rmSync(folder, { recursive: true });
    }
    expect(deaths).toBeGreaterThan(50);
  });

  test("at random bytes, over and over, until it gets through", async () => {
    const whole = await uninterrupted();
    let deaths = 0;
    for (let bytes = 100; ; bytes = Math.floor(bytes * 1.12)) {
      if (!(await session({ dieAtByte: bytes })).died) break;
      deaths++;
    }
    expect(deaths).toBeGreaterThan(20);
    const result = await trainRun(fptJob({ run: folder, resume: true }));
    expect(fingerprint(result)).toEqual(whole.result);
    expect(metricsOf(folder)).toEqual(whole.metrics);
  });

  test("a full disk stops the run with a typed error; with room again it goes on to the same bytes", async () => {
    const whole = await uninterrupted();
    let stops = 0;
    for (const space of [500, 3000, 7000, 12000, 20000]) {
      const ops = faultyOps({ space });
      let run: ReturnType<typeof openRun> | undefined;
      try {
        const resume = stops > 0 && readdirSync(folder).includes("run.json");
        run = openRun(folder, { resume, ops });
        await trainRun(fptJob({ run }));
      } catch (error) {
        expect(error).toMatchObject({ kind: "io", exitCode: 10, problem: expect.stringContaining("no space") });
        stops++;
      } finally {
        run?.close();
      }
    }
    expect(stops).toBeGreaterThan(3);
    const result = await trainRun(fptJob({ run: folder, resume: true }));
    expect(fingerprint(result)).toEqual(whole.result);
    expect(metricsOf(folder)).toEqual(whole.metrics);
  });
});

describe("damage", () => {
  const snapshots = () => readdirSync(join(folder, "snapshots")).filter((name) => !name.startsWith("."));
  async function interrupted() {
    await trainRun(fptJob({ ...abortAt(40), run: folder }));
    expect(snapshots().length).toBe(4);
    return snapshots()
      .filter((name) => name.endsWith(".json"))
      .map((name) => name.slice(0, -5))
      .sort()
      .reverse() as [string, string];
  }

  const flip = (at: (b: Buffer) => number) => (b: Buffer) => Buffer.from(b.map((v, n) => (n === at(b) ? v ^ 1 : v)));
  test.each([
    ["a flipped bit in the tensors", "safetensors", flip((b) => b.length - 5)],
    ["a flipped bit in the JSON", "json", flip((b) => b.length >> 1)],
    ["a torn JSON", "json", (b: Buffer) => b.subarray(0, b.length >> 1)],
    ["an empty JSON", "json", () => Buffer.alloc(0)],
    ["torn tensors", "safetensors", (b: Buffer) => b.subarray(0, 100)],
  ] as const)("%s: set aside, said, the snapshot before is used, the end is the same", async (_, ending, harm) => {
    const whole = await uninterrupted();
    const [newest, before] = await interrupted();
    const path = join(folder, "snapshots", `${newest}.${ending}`);
    const bytes = readFileSync(path);
    writeFileSync(path, harm(bytes));
    const job = fptJob({ run: folder, resume: true });
    const result = await trainRun(job);
    expect(job.events[0]).toMatchObject({
      kind: "warning",
      message: expect.stringMatching(new RegExp(`${newest} is damaged.*set aside.*going on from snapshot ${before}`)),
    });
    expect(snapshots()).toContain(`${newest}.json.corrupt`);
    expect(fingerprint(result)).toEqual(whole.result);
    expect(metricsOf(folder)).toEqual(whole.metrics);
  });

  test("missing tensors count as damage; tensors without their JSON were never valid", async () => {
    const whole = await uninterrupted();
    const [newest] = await interrupted();
    rmSync(join(folder, "snapshots", `${newest}.safetensors`));
    writeFileSync(join(folder, "snapshots", "000099.safetensors"), "half");
    const result = await trainRun(fptJob({ run: folder, resume: true }));
    expect(fingerprint(result)).toEqual(whole.result);
  });

  test("both damaged: refused, never silently begun anew", async () => {
    for (const name of await interrupted()) writeFileSync(join(folder, "snapshots", `${name}.json`), "{}");
    await expect(trainRun(fptJob({ run: folder, resume: true }))).rejects.toMatchObject({ kind: "run", exitCode: 6 });
  });

  test("a snapshot whose checksums hold but which says what cannot be is refused", async () => {
    const [newest] = await interrupted();
    const path = join(folder, "snapshots", `${newest}.json`);
    const forge = (from: string | RegExp, to: string) => {
      const body = /"body":(.*)\}\n$/s.exec(readFileSync(path, "utf8"))![1]!;
      const forged = body.replace(from, to);
      expect(forged).not.toBe(body);
      writeFileSync(path, `{"sha256":"${sha256(forged)}","body":${forged}}\n`);
    };
    const original = readFileSync(path);
    const cases: [string, string][] = [
      ['"stage":', '"stage":7,"was":'],
      ['"step":', '"step":-1,"was":'],
      ['"skipped":0', '"skipped":0,"__proto__":{"polluted":1}'],
      ['"finished":null', '"finished":"interrupted"'],
    ];
    for (const [from, to] of cases) {
      writeFileSync(path, original);
      forge(from, to);
      const job = fptJob({ run: folder, resume: true, ...abortAt(1) });
      await trainRun(job).catch((error) => expect(error).toMatchObject({ kind: "run" }));
      expect(Object.hasOwn(Object.prototype, "polluted")).toBe(false);
      expect(readdirSync(join(folder, "snapshots"))).toContain(`${newest}.json.corrupt`);
      rmSync(folder, { recursive: true });
      await interrupted();
    }
    forge(/"stage":\d/, '"stage":0');
    await expect(trainRun(fptJob({ run: folder, resume: true }))).rejects.toMatchObject({ kind: "run" });
  });

  test("metrics.jsonl cut short behind the run's back is told", async () => {
    await interrupted();
    writeFileSync(join(folder, "metrics.jsonl"), "");
    await expect(trainRun(fptJob({ run: folder, resume: true }))).rejects.toThrow(/metrics\.jsonl is shorter/);
  });
});

describe("refusals", () => {
  const cut = () => trainRun(fptJob({ ...abortAt(20), run: folder }));
  const base = fptJob();
  test.each([
    ["settings.learningRate", { settings: { ...base.settings, learningRate: 0.2 } }],
    ["settings.seed", { settings: { ...base.settings, seed: 1 } }],
    ["training rows", { train: fakeRows(22) }],
    ["validation rows", { validation: fakeRows(29, "validation.jsonl") }],
    ["model weights", { engine: fakeEngine({ sha256: "2".repeat(64) }) }],
    ["engine.device", { engine: fakeEngine({ options: { device: "webgpu" } }) }],
    ["engine.plainOps", { engine: fakeEngine({ options: { plainOps: true } }) }],
    ["engine.lowMemory", { engine: fakeEngine({ options: { lowMemory: true } }) }],
    ["tokenizer", { tokenizer: { ...base.tokenizer, sha256: "3".repeat(64) } }],
    ["task.verbalizer", { task: { ...base.task, verbalizer: { no: "No", yes: "Yes" } } }],
    ["start prompt", { parameters: { prompt: { shape: [4, 8], data: startPrompt.data.map((v) => v + 1) } } }],
    ["mask", { mask: fullMask(4, 4) }],
    [
      "schedule.stage 1.steps",
      {
        schedule: {
          ...base.schedule,
          stages: [{ ...base.schedule.stages[0], steps: 6 }, ...base.schedule.stages.slice(1)],
        },
      },
    ],
  ] as [string, Partial<RunInput>][])("resuming with another %s is refused by name", async (name, change) => {
    await cut();
    await expect(trainRun(fptJob({ ...change, run: folder, resume: true }))).rejects.toMatchObject({
      kind: "run",
      problem: expect.stringContaining(name),
    });
    const again = await trainRun(fptJob({ run: folder, resume: true }));
    expect(again.reason).toBe("steps");
  });

  test("of a stage's steps it is said which options they follow from, of other changes not", async () => {
    await cut();
    const stages = [{ ...base.schedule.stages[0], steps: 6 }, ...base.schedule.stages.slice(1)] as const;
    const resume = (change: object) => trainRun(fptJob({ ...change, run: folder, resume: true }));
    const hint = (text: unknown) => ({ parts: { hint: text } });
    await expect(resume({ schedule: { ...base.schedule, stages } })).rejects.toMatchObject(
      hint(expect.stringContaining("--steps")),
    );
    await expect(resume({ train: fakeRows(22) })).rejects.toMatchObject(hint(expect.not.stringContaining("--steps")));
  });

  test("how often to save may change, and settings that the trainer does not read", async () => {
    await cut();
    const settings = { ...base.settings, snapshotEvery: 2, snapshotSeconds: 7, output: "elsewhere" };
    expect((await trainRun(fptJob({ settings, run: folder, resume: true }))).reason).toBe("steps");
  });

  test("a folder with a run is not begun anew; one without is not resumed; a busy one is left alone", async () => {
    await expect(trainRun(fptJob({ run: folder, resume: true }))).rejects.toThrow(/no run here to resume/);
    await cut();
    await expect(trainRun(fptJob({ run: folder }))).rejects.toThrow(/already holds a run/);
    const run = openRun(folder, { resume: true });
    await expect(trainRun(fptJob({ run: folder, resume: true }))).rejects.toThrow(
      /this process is already working in this folder/,
    );
    run.close();
    expect(readdirSync(folder).filter((name) => name.startsWith(".lock"))).toEqual([]);
  });

  test.each(["metrics.jsonl", "snapshots", "run.json", "adapter", "events.out.tfevents.softprompt"])(
    "a %s that is a link to elsewhere is refused, and elsewhere untouched",
    async (name) => {
      await cut();
      mkdirSync(join(folder, "adapter"));
      writeFileSync(join(folder, "events.out.tfevents.softprompt"), "");
      const elsewhere = join(root, `elsewhere-${count++}`);
      renameSync(join(folder, name), elsewhere);
      symlinkSync(elsewhere, join(folder, name));
      const before = statSync(elsewhere).mtimeMs;
      await expect(trainRun(fptJob({ run: folder, resume: true }))).rejects.toMatchObject({
        kind: "run",
        problem: expect.stringContaining("link"),
      });
      expect(statSync(elsewhere).mtimeMs).toBe(before);
    },
  );

  test.skipIf(process.platform === "win32").each(["metrics.jsonl", "snapshots", "run.json"])(
    "a pipe called %s is refused, not waited for",
    async (name) => {
      await cut();
      rmSync(join(folder, name), { recursive: true });
      execFileSync("mkfifo", [join(folder, name)]);
      await expect(trainRun(fptJob({ run: folder, resume: true }))).rejects.toMatchObject({ kind: "run" });
    },
  );

  test.each(["search.json", "result.json", "report.html", "adapter", "runs"])(
    "a folder without a run that holds a %s is left as it is",
    async (name) => {
      mkdirSync(folder);
      writeFileSync(join(folder, name), "mine");
      await expect(trainRun(fptJob({ run: folder }))).rejects.toMatchObject({
        kind: "run",
        problem: "this folder holds something else than a run",
      });
      expect(readdirSync(folder)).toEqual([name]);
      expect(readFileSync(join(folder, name), "utf8")).toBe("mine");
    },
  );

  test("a configuration that is another is left as it is; the same one is of a run that died early", () => {
    mkdirSync(folder);
    writeFileSync(join(folder, "config.yaml"), "steps: 5\n");
    expect(() => openRun(folder, { resume: false, files: { "config.yaml": "steps: 6\n" } })).toThrow(/config\.yaml/);
    expect(readFileSync(join(folder, "config.yaml"), "utf8")).toBe("steps: 5\n");
    openRun(folder, { resume: false, files: { "config.yaml": "steps: 5\n" } }).close();
  });

  test.each([
    ["without run.json, begun", ["run.json"], false],
    ["under a run.json that knows nothing, resumed", [], true],
    ["metrics alone, begun", ["run.json", "snapshots"], false],
  ] as const)("another run's remains, %s: refused and left as they are", async (_, gone, resume) => {
    await cut();
    for (const name of gone) rmSync(join(folder, name), { recursive: true });
    if (resume) writeFileSync(join(folder, "run.json"), '{ "format": 1, "identity": null }');
    const before = readFileSync(join(folder, "metrics.jsonl"), "utf8");
    const names = readdirSync(folder);
    const settings = { ...base.settings, learningRate: 0.01 };
    await expect(trainRun(fptJob({ settings, run: folder, resume }))).rejects.toMatchObject({
      kind: "run",
      problem: expect.stringContaining("remains"),
    });
    expect(readFileSync(join(folder, "metrics.jsonl"), "utf8")).toBe(before);
    expect(readdirSync(folder)).toEqual(names);
  });

  test("three bad steps leave a reproduction in the folder, and say where", async () => {
    const engine = fakeEngine({ poison: () => "gradient" });
    await expect(trainRun(fptJob({ engine, run: folder }))).rejects.toThrow(/reproduction-3\.json/);
    const told = JSON.parse(readFileSync(join(folder, "reproduction-3.json"), "utf8"));
    expect(told).toMatchObject({
      step: 3,
      problem: "the gradient holds NaN or infinity",
      tensors: "reproduction-3.safetensors",
    });
    expect(told.rows[0].id).toMatch(/^train\.jsonl:\d+$/);
    expect(readFileSync(join(folder, "reproduction-3.safetensors")).length).toBeGreaterThan(500);
  });
});
