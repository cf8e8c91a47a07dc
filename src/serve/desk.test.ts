import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Desk, type DeskEvent } from "./desk.js";
import type { Failure } from "./protocol.js";

/** An engine that answers adapters, dies at a row, and in its n-th life does what the n-th word of the model's name says. */
const engine = `
import { readFileSync, writeFileSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
const file = import.meta.filename + "." + workerData.model.replaceAll(" ", "-");
let life = 0;
try { life = Number(readFileSync(file, "utf8")); } catch {}
writeFileSync(file, String(life + 1));
const does = workerData.model.split(" ")[life] ?? "lives";
const facts = { abilities: ["completions"], task: null, fields: [], labels: null, virtualTokens: 0 };
const failure = { kind: "adapter", problem: "its file is damaged", where: "a file" };
parentPort.on("message", ({ kind, skill }) => {
  if (kind === "rows") process.exit(4);
  if (kind === "close") process.exit(0);
  if (kind !== "add") return;
  if (does === "dies") process.exit(5);
  parentPort.postMessage(does === "refuses" ? { kind: "refused", skill, failure } : { kind: "added", skill, facts });
});
parentPort.postMessage({ kind: "ready", name: "a model", bare: facts });
`;
const folder = mkdtempSync(join(tmpdir(), "softprompt-desk-"));
const module = join(folder, "engine.mjs");
writeFileSync(module, engine);
afterAll(() => rmSync(folder, { recursive: true }));

/** A machine under load starts threads slowly. */
const patience = { timeout: 20_000 };
const place = { folder: "a folder", anyBase: false };
const stopped: Failure = { kind: "interrupted", problem: "stopped", where: "server" };

async function opened(lives: string) {
  const told: string[] = [];
  let lose: (error: Error) => void;
  const lost = new Promise<Error>((resolve) => {
    lose = resolve;
  });
  const desk = new Desk({
    start: { model: lives, options: {}, batchSize: 1, writingRows: 1, maxInputTokens: 10, onlyLabels: false },
    mostRows: 10,
    module,
    onEvent: (event: DeskEvent) => void (event.kind === "notice" && told.push(event.message)),
    onLost: (error) => lose(error),
  });
  await desk.open();
  /** Asks for a row, at which the engine dies. @returns what the row hears */
  const kill = () =>
    new Promise<string>((resolve) => {
      const how = { maxTokens: 1, temperature: 0, topP: 1, topK: 0, seed: 0, stop: [] };
      desk.ask([{ kind: "write", skill: 0, prompt: { text: "a" }, how }], (_, event) => resolve(event.kind));
    });
  return {
    desk,
    told,
    lost,
    kill,
    starts: () => Number(readFileSync(`${module}.${lives.replaceAll(" ", "-")}`, "utf8")),
  };
}

test("an engine that dies again while its adapters are loaded is opened once more, with all of them", async () => {
  const { desk, kill, starts } = await opened("lives dies lives");
  await desk.add("one", place);
  await desk.add("two", place);
  expect(await kill()).toBe("failed");
  await expect.poll(() => desk.state, patience).toBe("ready");
  expect(starts()).toBe(3);
  expect(desk.listed.map(({ name }) => name)).toEqual([null, "one", "two"]);
  await desk.close(stopped);
});

test("one that dies whenever adapters are loaded is given up at its third death", async () => {
  const { desk, kill, lost, starts } = await opened("lives dies dies dies dies");
  await desk.add("one", place);
  await kill();
  expect((await lost).message).toMatch(/thread died.*exit code 5/s);
  expect([desk.state, starts()]).toEqual(["lost", 3]);
  await expect(desk.add("two", place)).rejects.toMatchObject({ kind: "engine" });
  await desk.close(stopped);
});

test("what a new engine refuses is listed no longer, and said", async () => {
  const { desk, kill, told } = await opened("lives refuses");
  await desk.add("one", place);
  await kill();
  await expect.poll(() => desk.state, patience).toBe("ready");
  expect(desk.find("one")).toBeUndefined();
  expect(told.at(-1)).toMatch(/^adapter one could not be loaded again: .*damaged/);
  await desk.close(stopped);
});

test("an adapter is refused at once while the engine is opened again, and when the desk is closed", async () => {
  const { desk, kill } = await opened("lives");
  await kill();
  await expect.poll(() => desk.state, patience).toBe("starting");
  await expect(desk.add("one", place)).rejects.toMatchObject({ kind: "engine" });
  await expect.poll(() => desk.state, patience).toBe("ready");
  await desk.close(stopped);
  await expect(desk.add("one", place)).rejects.toMatchObject({ kind: "engine" });
});
