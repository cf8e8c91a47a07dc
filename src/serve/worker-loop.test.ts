import { rmSync } from "node:fs";
import { MessageChannel } from "node:worker_threads";
import { afterAll, expect, test, vi } from "vitest";
import { promptAdapter, saved } from "../../test/helpers/serve.js";
import { defineTask } from "../data/define.js";
import { openModel } from "../tasks/model.js";
import { answerInputs } from "../tasks/predictor.js";
import type { Order, Report, RowEvent } from "./protocol.js";
import { bareNumber, serveEngine } from "./worker-loop.js";
import { openGroup } from "./writer.js";

vi.mock("../tasks/predictor.js", { spy: true });
vi.mock("../tasks/model.js", { spy: true });
vi.mock("./writer.js", { spy: true });

const task = defineTask({ name: "mood", template: "say {text}", verbalizer: { bad: "bad", good: "good" } });
const folder = saved(promptAdapter(task, { tokens: 2, seed: 1 }));
/** Its answers are written: 40 tokens. */
const story = defineTask({ name: "story", template: "say {text}", maxTargetTokens: 40 });
const storyFolder = saved(promptAdapter(story, { tokens: 2, seed: 3 }));
afterAll(() => {
  for (const one of [folder, storyFolder]) rmSync(one, { recursive: true });
});

/** A machine under load is slow. */
const patience = { timeout: 20_000 };

/**
 * The engine's loop in this thread.
 * @param closesAt the row at whose first event it is told to close
 */
function openEngine(closesAt?: number, { onlyLabels = false } = {}) {
  const { port1, port2 } = new MessageChannel();
  const heard = new Map<number, RowEvent["kind"][]>();
  const kinds: Report["kind"][] = [];
  const order: (readonly [id: number, kind: RowEvent["kind"]])[] = [];
  /** Names of models and adapters whose first passes were told as done. */
  const warmed: string[] = [];
  port2.on("message", (report: Report) => {
    kinds.push(report.kind);
    if (report.kind === "opening" && report.event.kind === "progress" && report.event.doing === "warming")
      if (report.event.done === report.event.total) warmed.push(report.event.file);
    if (report.kind === "events")
      for (const [id, { kind }] of report.events) {
        heard.set(id, [...(heard.get(id) ?? []), kind]);
        order.push([id, kind]);
        if (id === closesAt) send({ kind: "close" });
      }
  });
  const ended = serveEngine(port1, {
    model: "t5-nano",
    options: { threads: 1 },
    batchSize: 8,
    writingRows: 8,
    maxInputTokens: 50,
    onlyLabels,
    parked: new Int32Array(new SharedArrayBuffer(8)),
  });
  const send = (order: Order) => port2.postMessage(order);
  return { heard, kinds, order, warmed, ended, send };
}

test("rows that are ranked and that nobody wants any longer are left; the next are answered", async () => {
  const { heard, kinds, ended, send } = openEngine();
  await expect.poll(() => kinds, patience).toContain("ready");
  // its texts are not known before: the newest are kept
  expect(openModel).toHaveBeenCalledWith("t5-nano", expect.objectContaining({ evictTexts: true }));
  const skill = bareNumber + 1;
  send({ kind: "add", skill, name: "mood", folder, anyBase: true });
  await expect.poll(() => kinds, patience).toContain("added");
  const rows = (...ids: number[]) =>
    send({ kind: "rows", rows: ids.map((id) => ({ kind: "predict", id, skill, input: "a", name: "input" })) });
  // stands for a long batch: it ends when it is told to
  vi.mocked(answerInputs).mockImplementationOnce(
    (_model, _read, { signal }) =>
      new Promise((_, reject) => signal!.addEventListener("abort", () => reject(new Error("left")))),
  );
  rows(1, 2);
  await expect.poll(() => heard.get(2), patience).toEqual(["began"]);
  send({ kind: "drop", ids: [1] });
  rows(3);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(heard.get(3)).toBeUndefined();
  send({ kind: "drop", ids: [2] });
  await expect.poll(() => heard.get(3), patience).toEqual(["began", "answer"]);
  expect([heard.get(1), heard.get(2)]).toEqual([["began"], ["began"]]);
  send({ kind: "close" });
  await ended;
});

test("a text gets its tokens while a batch of labels is written; closing ends that batch after its token", async () => {
  const { heard, kinds, order, ended, send } = openEngine(3);
  await expect.poll(() => kinds, patience).toContain("ready");
  const skill = bareNumber + 1;
  send({ kind: "add", skill, name: "story", folder: storyFolder, anyBase: true });
  await expect.poll(() => kinds, patience).toContain("added");
  const how = { maxTokens: 5, temperature: 0, topP: 1, topK: 0, seed: 0, stop: [] };
  send({ kind: "rows", rows: [{ kind: "predict", id: 1, skill, input: "a", name: "input" }] });
  send({ kind: "rows", rows: [{ kind: "write", id: 2, skill, prompt: { text: "once" }, how }] });
  await expect.poll(() => heard.get(1), patience).toEqual(["began", "answer"]);
  const at = (id: number, kind: RowEvent["kind"]) => order.findIndex(([of, what]) => of === id && what === kind);
  expect(at(2, "end")).toBeGreaterThan(at(1, "began"));
  expect(at(2, "end")).toBeLessThan(at(1, "answer"));
  send({ kind: "rows", rows: [{ kind: "predict", id: 3, skill, input: "a", name: "input" }] });
  await ended;
  await expect.poll(() => heard.get(3), patience).toEqual(["began", "failed"]);
});

test("the bare model has written before it is ready, an adapter has ranked and written before it is listed; both are told", async () => {
  const { kinds, warmed, ended, send } = openEngine();
  vi.mocked(openGroup).mockClear();
  vi.mocked(answerInputs).mockClear();
  await expect.poll(() => kinds, patience).toContain("ready");
  expect(openGroup).toHaveBeenCalledTimes(1);
  expect(warmed).toEqual(["t5-nano"]);
  expect(kinds.indexOf("opening")).toBeLessThan(kinds.indexOf("ready"));
  send({ kind: "add", skill: bareNumber + 1, name: "mood", folder, anyBase: true });
  await expect.poll(() => kinds, patience).toContain("added");
  expect([vi.mocked(openGroup).mock.calls.length, vi.mocked(answerInputs).mock.calls.length]).toEqual([2, 1]);
  expect(warmed).toEqual(["t5-nano", "mood"]);
  // one that cannot write what it shall is refused, though it ranks
  vi.mocked(openGroup).mockImplementationOnce(async () => {
    const failure = { kind: "numeric", problem: "no numbers", where: "logits" } as const;
    let steps = 0;
    return { running: 1, step: async () => (steps++ === 0 ? [[0, { kind: "failed", failure }]] : null) };
  });
  send({ kind: "add", skill: bareNumber + 2, name: "other", folder, anyBase: true });
  await expect.poll(() => kinds, patience).toContain("refused");
  send({ kind: "close" });
  await ended;
});

test("where only labels are answered nothing is written: neither the model nor an adapter with a label task opens a session for it", async () => {
  vi.mocked(openGroup).mockClear();
  vi.mocked(answerInputs).mockClear();
  const { heard, kinds, warmed, ended, send } = openEngine(undefined, { onlyLabels: true });
  await expect.poll(() => kinds, patience).toContain("ready");
  const skill = bareNumber + 1;
  send({ kind: "add", skill, name: "mood", folder, anyBase: true });
  await expect.poll(() => kinds, patience).toContain("added");
  expect(warmed).toEqual(["mood"]);
  const how = { maxTokens: 5, temperature: 0, topP: 1, topK: 0, seed: 0, stop: [] };
  send({ kind: "rows", rows: [{ kind: "predict", id: 1, skill, input: "a", name: "input" }] });
  send({ kind: "rows", rows: [{ kind: "write", id: 2, skill, prompt: { text: "once" }, how }] });
  await expect.poll(() => [heard.get(1), heard.get(2)], patience).toEqual([["began", "answer"], ["failed"]]);
  expect([vi.mocked(openGroup).mock.calls.length, vi.mocked(answerInputs).mock.calls.length]).toEqual([0, 2]);
  send({ kind: "close" });
  await ended;
});

test("an engine that is told to close while it opens ends without being ready", async () => {
  const { kinds, ended, send } = openEngine();
  send({ kind: "close" });
  await ended;
  expect(kinds).not.toContain("ready");
});
