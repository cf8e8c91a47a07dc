import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, expect, test } from "vitest";
import { Answering } from "./answers.js";

const folder = mkdtempSync(join(tmpdir(), "softprompt-studio-"));
mkdirSync(join(folder, "adapter"));
const module = join(folder, "child.mjs");
/** Ends by itself where the input says how. */
writeFileSync(
  module,
  `process.on("message", ({ id, input, model }) => {
    if (input.code !== undefined) process.exit(Number(input.code));
    if (input.signal !== undefined) return process.kill(process.pid, input.signal);
    setTimeout(() => process.send({ id, answers: [], model }), 200);
  });`,
);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let answering: Answering;
afterEach(() => answering.close());
const ask = (input: Record<string, string> = {}) =>
  answering.ask([{ path: "run", folder, model: "m", options: {} }], input, false);

test("a question that is asked after the process was closed is not told the end of the old one", async () => {
  answering = new Answering(module);
  const old = expect(ask()).rejects.toThrow("it was closed");
  answering.close();
  expect((await ask()).model).toBe("m");
  await old;
});

test("questions while the process ends are answered by an error or by another process", async () => {
  answering = new Answering(module);
  const first = expect(ask({ code: "7" })).rejects.toThrow("has ended: exit code 7");
  const others: Promise<unknown>[] = [];
  for (let i = 0; i < 200; i++) {
    others.push(ask().catch((error: Error) => error.message));
    await new Promise((done) => setTimeout(done, 2));
  }
  await first;
  const told = await Promise.all(others);
  expect([...new Set(told.filter((one) => typeof one === "string"))]).toEqual([
    "the process that answers has ended: exit code 7",
  ]);
  expect(told.at(-1)).toMatchObject({ model: "m" });
});

test("runs whose models are not opened alike are not asked together", async () => {
  answering = new Answering(module);
  const run = (options: object) => ({ path: "run", folder, model: "m", options: { ...options } });
  const together = (...options: object[]) => answering.ask(options.map(run), {}, false);
  await expect(together({}, { precision: "int8" })).rejects.toThrow('precision "float32", chat false, run of');
  await expect(together({ chat: true }, {})).rejects.toThrow("chat true, run of");
  await together({ threads: 1 }, { precision: "float32", chat: false, threads: 2 });
});

test.skipIf(process.platform === "win32")("a signal that ended the process is named", async () => {
  answering = new Answering(module);
  await expect(ask({ signal: "SIGTERM" })).rejects.toThrow("has ended: SIGTERM");
});
