import { expect, test } from "vitest";
import type { TuneEvent } from "../tasks/tune.js";
import { answerProgress, modelContext, progress } from "./progress.js";
import { terminal } from "./terminal.js";

function fake(isTTY: boolean, env: Record<string, string> = {}, quiet = false) {
  const written: string[] = [];
  const stream = { isTTY, columns: 100, write: (text: unknown) => written.push(String(text)) > 0 };
  return { written, terminal: terminal({ json: false, quiet, stdout: stream, stderr: stream, env }) };
}

const step = (n: number): TuneEvent => ({
  kind: "step",
  step: n,
  stage: 0,
  loss: 1 / n,
  learningRate: 0.3,
  gradientNorm: 1,
  tokens: 500,
  seconds: 0.5,
  openSeconds: 0,
  flops: n,
  paperFlops: n,
  totalFlops: n,
});
const evaluation: TuneEvent = {
  kind: "eval",
  step: 2,
  stage: 0,
  partial: "full",
  scores: { accuracy: 0.5 },
  loss: 0.7,
  seconds: 1,
  best: true,
  flops: 2,
  paperFlops: 2,
  totalFlops: 2,
};

test("plain lines where nobody watches: no escapes, at most one status in ten seconds", () => {
  const { written, terminal: t } = fake(false);
  let clock = 0;
  const watch = progress(t, () => clock);
  watch({ kind: "start", totalSteps: 100, step: 0, stages: 1 });
  for (let n = 1; n <= 40; n++) {
    clock += 0.5;
    watch(step(n));
  }
  watch(evaluation);
  const text = written.join("");
  expect(text).not.toContain("\x1b");
  expect(text).not.toContain("\r");
  expect(written).toHaveLength(3); // at 0.5 s, at 10.5 s, the evaluation
  // 500 tokens in half a second; 79 steps left of half a second each
  expect(written[1]).toMatch(/step 21\/100 · loss 0\.\d+ · 39\.5 s left · 1\.00 k tokens\/s/);
  expect(written[2]).toMatch(/step 2: accuracy 50\.0, loss 0\.7, best so far \(1\.0 s\)/);
});

test("on a terminal one line is redrawn in place and never longer than the window", () => {
  const { written, terminal: t } = fake(true, { NO_COLOR: "1", TERM: "xterm" });
  let clock = 0;
  const watch = progress(t, () => clock);
  watch({ kind: "start", totalSteps: 500, step: 0, stages: 1 });
  for (let n = 1; n <= 300; n++) {
    clock += 0.5;
    watch(step(n));
  }
  expect(written).toHaveLength(300);
  for (const line of written) {
    expect(line.startsWith("\r\x1b[2K")).toBe(true);
    expect(line.slice(5).length).toBeLessThanOrEqual(100);
    expect(line).not.toContain("\n");
  }
  expect(written.at(-1)).toMatch(/▁/);
});

test("quiet says nothing but warnings; CI and dumb terminals are not redrawn", () => {
  const { written, terminal: t } = fake(true, {}, true);
  const watch = progress(t);
  watch({ kind: "start", totalSteps: 5, step: 0, stages: 1 });
  watch(step(1));
  watch(evaluation);
  expect(written).toEqual([]);
  watch({ kind: "warning", message: "careful" });
  expect(written.join("")).toContain("careful");
  expect(fake(true, { CI: "true" }).terminal.live).toBe(false);
  expect(fake(true, { TERM: "dumb" }).terminal.live).toBe(false);
});

test.each([
  ["texts", "reading texts"],
  [undefined, "scoring rows"],
] as const)(
  "%s: the time left is told from the second on, without the opening that the first one waited for",
  (what, doing) => {
    const { written, terminal: t } = fake(false);
    let clock = 0;
    const watch = progress(t, () => clock);
    const rows = (seconds: number, done: number) => {
      clock += seconds;
      watch({ kind: "rows", done, total: 250, ...(what && { what }) } as TuneEvent);
    };
    for (let pass = 0; pass < 2; pass++) {
      written.length = 0;
      rows(100, 0);
      rows(60, 1); // opens the session
      for (let done = 2; done <= 12; done++) rows(1, done);
      expect(written).toEqual([`${doing} 1/250\n`, `${doing} 11/250 · 3 min 59 s left\n`]);
    }
  },
);

test("the work of opening a model is called what it is", () => {
  for (const doing of ["downloading", "converting", "making"] as const) {
    const { written, terminal: t } = fake(false);
    modelContext(t, new AbortController().signal).onEvent!({ kind: "progress", doing, file: "a", done: 0, total: 2e6 });
    expect(written).toEqual([`${doing} a: 0 B of 2.00 MB\n`]);
  }
});

test("colours: NO_COLOR beats FORCE_COLOR beats the terminal", () => {
  expect(fake(true, { NO_COLOR: "1", FORCE_COLOR: "1" }).terminal.colors.red("x")).toBe("x");
  expect(fake(false, { FORCE_COLOR: "1" }).terminal.colors.red("x")).not.toBe("x");
  expect(fake(false).terminal.colors.red("x")).toBe("x");
  expect(fake(true).terminal.colors.red("x")).not.toBe("x");
});

test("texts that are read in parts between steps: the time left is that of reading, without the steps between", () => {
  const { written, terminal: t } = fake(false);
  let clock = 0;
  const watch = progress(t, () => clock);
  const texts = (done: number, seconds: number) => {
    clock += seconds;
    watch({ kind: "rows", done, total: 100, what: "texts" });
  };
  watch({ kind: "start", totalSteps: 100, step: 0, stages: 1 });
  texts(0, 0);
  texts(10, 20); // opens the session
  texts(20, 10);
  // a row a second
  expect(written.at(-1)).toMatch(/reading texts 20\/100 · 1 min 20 s left/);
  for (let n = 1; n <= 100; n++) {
    clock += 0.5;
    watch(step(n));
  }
  texts(20, 0);
  texts(30, 1);
  texts(40, 10);
  // 20 rows in 11 seconds: the session is open by now, so the first ten count too
  expect(written.at(-1)).toMatch(/reading texts 40\/100 · 33\.0 s left/);
});

/** Row events by a clock of its own, on a terminal that can redraw. */
function rowsOf(total: number) {
  const { written, terminal: t } = fake(true, { NO_COLOR: "1", TERM: "xterm" });
  let clock = 0;
  const watch = progress(t, () => clock);
  const rows = (seconds: number, done: number, tokens?: number) => {
    clock += seconds;
    watch({ kind: "rows", done, total, ...(tokens !== undefined && { tokens }) });
  };
  return { written, rows };
}

test("answers that are written: the tokens of the batch in progress, also of the first, and no time left from them alone", () => {
  const { written, rows } = rowsOf(64);
  rows(0, 0);
  rows(0.5, 0, 1);
  expect(written).toEqual([]);
  for (let token = 2; token <= 5; token++) rows(1, 0, token);
  expect(written).toHaveLength(4);
  expect(written.at(-1)).toMatch(/scoring rows 0\/64 · writing the next, token 5$/);
  rows(1, 32);
  rows(1, 32, 1);
  expect(written.at(-1)).toMatch(/scoring rows 32\/64 · writing the next, token 1$/);
});

test("while answers are written the time left goes by the batches before, and runs down", () => {
  const { written, rows } = rowsOf(160);
  rows(0, 0);
  rows(20, 32); // opens the session
  rows(10, 64);
  rows(4, 64, 1);
  expect(written.at(-1)).toMatch(/scoring rows 64\/160 · 26\.0 s left · writing the next, token 1$/);
  rows(40, 64, 2);
  expect(written.at(-1)).toMatch(/scoring rows 64\/160 · writing the next, token 2$/);
});

test("a prediction says how many inputs are answered, on a terminal alone", () => {
  for (const live of [true, false]) {
    const { written, terminal: t } = fake(live, { NO_COLOR: "1", TERM: "xterm" });
    let clock = 0;
    const watch = answerProgress(t, () => clock);
    const after = (seconds: number, event: Parameters<typeof watch>[0]) => {
      clock += seconds;
      watch(event);
    };
    after(0.9, { done: 0, total: 200, tokens: 1 });
    after(0.2, { done: 0, total: 200, tokens: 2 });
    after(1, { done: 32, total: 200 });
    after(1, { done: 33, total: null, tokens: 1 });
    expect(written.map((line) => line.slice(5))).toEqual(
      live
        ? ["answered 0/200 · writing the next, token 2", "answered 32/200", "answered 33 · writing the next, token 1"]
        : [],
    );
  }
});
