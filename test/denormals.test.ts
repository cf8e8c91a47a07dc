/**
 * @file Numbers below 1.2e-38: zeros in the command line's process, kept in a program's, unless it says otherwise. Needs npm run build.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, test } from "vitest";

const dist = resolve(import.meta.dirname, "../dist");
const module = (name: string) => JSON.stringify(pathToFileURL(join(dist, name)).href);

/** What a process says of 1e-30 · 1e-10 in a session, whose own result it is only where both threads agree. */
const program = `
  import { openSession } from ${module("index-engine.js")};
  import { emptyGraph, input, mul, output } from ${module("index-graph.js")};
  const g = emptyGraph();
  output(g, "y", mul(g, input(g, "a", "float32", ["N"]), input(g, "b", "float32", ["N"])));
  const session = await openSession("product", g, { threads: 2, device: "cpu", lowMemory: false, plainOps: false });
  const of = (x) => ({ dtype: "float32", shape: [100_000], data: new Float32Array(100_000).fill(x) });
  const { y } = await session.run({ a: of(1e-30), b: of(1e-10) });
  await session.dispose();
  console.log(JSON.stringify([...new Set(y.data)]));
`;

const run = (args: readonly string[], denormals: string | null) => {
  const { SOFTPROMPT_DENORMALS: _, ...env } = process.env;
  const own = denormals === null ? env : { ...env, SOFTPROMPT_DENORMALS: denormals };
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: "utf8", env: own });
  expect(status, stderr).toBe(0);
  return stdout.trim().split("\n").at(-1)!;
};

describe.skipIf(!existsSync(join(dist, "cli/main.js")))("numbers below 1.2e-38", () => {
  const product = (denormals: string | null) =>
    JSON.parse(run(["--input-type=module", "--eval", program], denormals)) as number[];

  test("a program's session keeps them, on every thread", () => {
    for (const given of [null, "keep"]) expect(product(given)).toEqual([Math.fround(1e-40)]);
  });

  // ONNX Runtime has it for x86 alone
  test.runIf(process.arch === "x64")("a program may ask for zeros", () => {
    expect(product("zero")).toEqual([0]);
  });

  test("the command line asks for zeros, unless it is told otherwise", () => {
    const tell = `data:text/javascript,process.on("exit",()=>console.log(process.env.SOFTPROMPT_DENORMALS))`;
    const asked = (given: string | null) => run(["--import", tell, join(dist, "cli/main.js"), "--version"], given);
    expect(asked(null)).toBe("zero");
    expect(asked("keep")).toBe("keep");
  });
});
