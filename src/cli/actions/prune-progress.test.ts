import { expect, test } from "vitest";
import type { Candidate } from "../../prune/types.js";
import { terminal } from "../terminal.js";
import { pruneProgress } from "./prune-progress.js";

function fake() {
  const written: string[] = [];
  const stream = { isTTY: false, columns: 100, write: (text: unknown) => written.push(String(text)) > 0 };
  return { written, terminal: terminal({ json: false, quiet: false, stdout: stream, stderr: stream, env: {} }) };
}

let clock = 0;
/** Ten retrainings of 100 steps each. */
function watched() {
  clock = 0;
  const { written, terminal: t } = fake();
  const watch = pruneProgress(t, 10, () => clock);
  const of = (name: string, event: object) => watch({ kind: "candidate", name, event } as Parameters<typeof watch>[0]);
  return {
    written,
    watch,
    start: (name: string, step = 0) => of(name, { kind: "start", totalSteps: 100, step, stages: 1 }),
    step: (name: string, n: number, seconds = 1) => {
      clock += seconds;
      of(name, { kind: "step", step: n, stage: 0, loss: 1, tokens: 500, seconds });
    },
    end: (name: string, steps = 100) =>
      watch({ kind: "retrained", candidate: { ...candidate, name, steps, finished: steps === 100 } as Candidate }),
  };
}
const candidate = { counts: { tokens: 3, parameters: 24 }, score: 0.5, cost: { seconds: 100 } };

test("where nobody watches, a line in ten seconds says how far the retrainings are, however many train at once", () => {
  const { written, start, step } = watched();
  for (const name of ["t01", "t02"]) start(name);
  for (let n = 1; n <= 30; n++) for (const name of ["t01", "t02"]) step(name, n, 0.5);
  expect(written).toHaveLength(2);
  expect(written[0]).toMatch(/^t0[12]: step \d+\/100 · loss 1/);
});

test("short retrainings are told of by their ends alone", () => {
  const { written, start, step, end } = watched();
  for (const name of ["t01", "t02", "t03", "t04"]) {
    start(name);
    step(name, 1, 6);
    end(name);
  }
  expect(written.map((line) => line.split(" ")[0])).toEqual(["t01:", "t02:", "t03:", "t04:"]);
});

test("the time left leaves out what was made before a resume", () => {
  const { written, watch, start, step, end } = watched();
  watch({ kind: "phase", phase: "control" });
  for (const name of ["control", "t01", "t02", "t03"]) end(name); // read back: no time, no steps
  start("t04", 50);
  for (let n = 51; n <= 100; n++) step("t04", n);
  written.length = 0;
  end("t04");
  // five of ten are left, of 100 s each
  expect(written[0]).toContain("about 8 min left in all");
});
