import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { sha256 } from "../base/files.js";
import { fromText, toText } from "../base/kept.js";
import { keptRun } from "./kept-runs.js";

const folder = () => mkdtempSync(join(tmpdir(), "kept-runs-"));
const counter = () => {
  let runs = 0;
  return { runs: () => runs, compute: async () => ({ run: ++runs, prompt: Float32Array.of(0.1, -0, 1e-40) }) };
};

test("a finished run is not done again, and comes back bit for bit", async () => {
  const at = folder();
  const { runs, compute } = counter();
  const first = await keptRun(at, "sst2 seed 0/fpt", { seed: 0 }, compute);
  const again = await keptRun(at, "sst2 seed 0/fpt", { seed: 0 }, compute);
  expect(runs()).toBe(1);
  expect(again).toEqual(first);
  expect(Object.is(again.prompt[1], -0)).toBe(true);
  await keptRun(at, "sst2 seed 0/fpt", { seed: 1 }, compute);
  expect(runs()).toBe(2);
  expect(readdirSync(at)).toHaveLength(2);
});

test("a damaged file is computed again: cut at any byte, or one digit changed", async () => {
  const at = folder();
  const { runs, compute } = counter();
  await keptRun(at, "a", {}, compute);
  const path = join(at, readdirSync(at)[0]!);
  const whole = readFileSync(path, "utf8");
  for (const damaged of [
    "",
    whole.slice(0, whole.length >> 1),
    whole.slice(0, -1),
    whole.replace('"run":1', '"run":7'),
  ]) {
    const before = runs();
    writeFileSync(path, damaged);
    expect((await keptRun(at, "a", {}, compute)).run).toBe(before + 1);
  }
});

test("an unfinished run is given back but not kept; without a folder nothing is", async () => {
  const at = folder();
  const { runs, compute } = counter();
  await keptRun(at, "a", {}, compute, () => false);
  await keptRun(at, "a", {}, compute);
  await keptRun(null, "a", {}, compute);
  expect(runs()).toBe(3);
});

test("a run that an earlier version kept is read, unless it is damaged or of other inputs", async () => {
  const at = folder();
  const result = { run: 9, prompt: Float32Array.of(0.1, -0) };
  const inputs = { seed: 0, lengths: [1, 2] };
  const { runs, compute } = counter();
  await keptRun(at, "a", inputs, compute);
  const path = join(at, readdirSync(at)[0]!);
  const key = sha256(toText(inputs));
  const write = (more: object) =>
    writeFileSync(path, toText({ name: "a", key, check: sha256(toText(result)), inputs, result, ...more }));
  write({});
  expect(await keptRun(at, "a", inputs, compute)).toEqual(result);
  expect(runs()).toBe(1);
  for (const more of [{ key: "0" }, { check: sha256("") }, { result: { run: 8 } }]) {
    const before = runs();
    write(more);
    expect((await keptRun(at, "a", inputs, compute)).run).toBe(before + 1);
  }
});

test("float32 arrays survive as text inside anything", () => {
  const value = { a: [Float32Array.of(1.5, Number.MIN_VALUE)], b: { float32: 3 }, c: null };
  expect(fromText(toText(value))).toEqual(value);
});
