/**
 * @file `--precision auto`: what is taken and what is said, and that a run keeps to what it took. No test depends on what is faster here.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { resumedOptions } from "../src/cli/config.js";
import { trainTable } from "../src/cli/tables/train.js";
import { plannedEightBits } from "../src/engine/eight-bit.js";
import { choosePrecision, timeProducts } from "../src/engine/precision.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { blockLayers, eightBitLayers, eightBitText } from "../src/model/eight-bit.js";
import { openModel, precisionOf } from "../src/tasks/model.js";
import { commandLine } from "./helpers/command-line.js";

const place = mkdtempSync(join(tmpdir(), "softprompt-precision-"));
const cacheBefore = process.env.SOFTPROMPT_CACHE;
process.env.SOFTPROMPT_CACHE = join(place, "cache");
afterAll(() => {
  if (cacheBefore === undefined) delete process.env.SOFTPROMPT_CACHE;
  else process.env.SOFTPROMPT_CACHE = cacheBefore;
  rmSync(place, { recursive: true, force: true });
});

const softprompt = (...argv: string[]) => commandLine(argv);

test("8 bits are taken only where they are clearly faster, and the reason gives both times", () => {
  expect(choosePrecision({ float32: 40, int8: 10 })).toEqual({
    precision: "int8",
    why: "this model's products are 4.0 times as fast in 8 bits here (40 ms in float32, 10 ms in 8 bits)",
  });
  expect(choosePrecision({ float32: 11, int8: 10 }).precision).toBe("float32");
  expect(choosePrecision({ float32: 5.04, int8: 6.31 })).toEqual({
    precision: "float32",
    why: "this model's products are 0.8 times as fast in 8 bits here (5.0 ms in float32, 6.3 ms in 8 bits), and 1.25 is wanted",
  });
});

test("products of a model's own shapes are timed, of large matrices a part", async () => {
  const { config } = await openCheckpoint("models/t5-nano");
  for (const of of [config, [{ out: 50_000, into: 512, layers: 2 }]]) {
    const { float32, int8 } = await timeProducts(of, { threads: 1, plainOps: false, terms: 2 });
    for (const ms of [float32, int8]) expect(Number.isFinite(ms) && ms > 0).toBe(true);
  }
});

test("a model opened with auto says what was taken, and computes so; elsewhere than on the CPU it takes float32", async () => {
  for (const device of ["cpu", "webgpu"] as const) {
    const told: string[] = [];
    const onEvent = (event: { kind: string; message?: string }) => void (event.message && told.push(event.message));
    const model = await openModel("t5-nano", { precision: "auto", device, threads: 1, onEvent });
    const [said] = told.filter((message) => message.startsWith("precision auto:"));
    expect(said).toContain(`${precisionOf(model)}, because`);
    expect(model.checkpoint.eightBit === undefined).toBe(precisionOf(model) === "float32");
    if (device === "webgpu") expect(said).toBe("precision auto: float32, because 8-bit layers run on the CPU only");
    await model.dispose();
  }
});

test("how exactly 8 bits round is known without making any weights, and said with the reason", async () => {
  const checkpoint = await openCheckpoint("models/t5-nano");
  const plan = await plannedEightBits(checkpoint);
  const once = new Set(eightBitLayers(checkpoint.config).map(({ name }) => name));
  expect([...plan.keys()].sort()).toEqual(
    blockLayers(checkpoint.config)
      .map(({ name }) => name)
      .sort(),
  );
  for (const [name, { terms }] of plan) expect(terms, name).toBe(once.has(name) ? 1 : 2);
  const text = eightBitText({ config: checkpoint.config, eightBit: plan });
  expect(text).toMatch(/^72 of 72 linear layers .* one term, smoothed .* two where they are the neurons/);
});

test("a run records what auto took; neither its resume nor a repeated flag asks again", {
  timeout: 120_000,
}, async () => {
  const output = join(place, "run");
  const tiny = [
    "--model",
    "t5-nano",
    "--task",
    "quickstart",
    "--few-shot",
    "4",
    "--max-eval-rows",
    "4",
    "--threads",
    "1",
  ];
  const trained = await softprompt(
    ...["train", ...tiny, "--steps", "1", "--batch-size", "2", "--virtual-tokens", "2"],
    ...["--precision", "auto", "--output", output, "--json"],
  );
  expect(trained.code, trained.stderr).toBe(0);
  const took = /precision auto: (\w+), because/.exec(trained.stderr)![1]!;
  expect(["float32", "int8"]).toContain(took);
  const config = readFileSync(join(output, "config.yaml"), "utf8");
  expect(config).toMatch(new RegExp(`^precision: ${took}$`, "m"));
  const { where } = JSON.parse(readFileSync(join(output, "result.json"), "utf8")) as { where: { precision?: string } };
  expect(where.precision ?? "float32").toBe(took);
  const other = took === "int8" ? "float32" : "int8";
  for (const recorded of [took, other]) {
    writeFileSync(join(output, "config.yaml"), config.replace(/^precision: .*$/m, `precision: ${recorded}`));
    expect(await resumedOptions("train", output, trainTable, { precision: "auto" })).toMatchObject({
      precision: recorded,
    });
  }
  // a flag that names a precision is what the user wants: the run refuses it where it is another one
  expect(await resumedOptions("train", output, trainTable, { precision: took })).toMatchObject({ precision: took });
});

test("a study wants one precision for all its runs", async () => {
  const study = ["study", "masking", "--model", "t5-nano", "--tasks", `a=${place}`, "--precision", "auto"];
  const { code, stderr } = await softprompt(...study, "--output", join(place, "study"));
  expect(code).toBe(2);
  expect(stderr).toMatch(/must be computed alike[\s\S]*float32 or int8/);
});
