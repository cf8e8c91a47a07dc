/** @file A run that is made longer is the run that was so long from the start, or it is refused and nothing is written. */
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { fakeConfig } from "../../test/helpers/fake-engine.js";
import { fingerprint, fptJob, scratch } from "../../test/helpers/job.js";
import { partialModel } from "../model/partial.js";
import { singleStage } from "../schedule/schedule.js";
import { openRun } from "./folder.js";
import { type RunInput, trainRun } from "./train.js";

const root = scratch("extend");
afterAll(() => rmSync(root, { recursive: true, force: true }));
let count = 0;
const place = () => join(root, String(count++));

const settings = { ...fptJob().settings, evalEvery: 2, learningRateSchedule: "constant" as const };
const job = (steps: number, more: Partial<RunInput> = {}) =>
  fptJob({ schedule: singleStage(fakeConfig, steps), settings, keep: [], ...more });

/** The run in the folder, resumed for so many steps. */
async function goOn(folder: string, steps: number, more: Partial<RunInput> = {}, config = `steps: ${steps}\n`) {
  const { evalEvery } = more.settings ?? settings;
  const run = openRun(folder, { resume: true, longer: { evalEvery }, files: { "config.yaml": config } });
  try {
    return await trainRun(job(steps, { ...more, run }));
  } finally {
    run.close();
  }
}

/** Every file of the folder with its content. */
function contentOf(folder: string): Record<string, string> {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" }).sort();
  const files = names.filter((name) => statSync(join(folder, name)).isFile());
  return Object.fromEntries(files.map((name) => [name, readFileSync(join(folder, name), "latin1")]));
}

describe("exactly as if it had been begun for so many steps", () => {
  test.each<[string, number, Partial<RunInput>]>([
    ["finished where an evaluation was due", 4, {}],
    ["stopped before an end that is between two evaluations", 5, { pauseAfter: 3 }],
    ["finished without validation rows", 5, { validation: [] }],
    ["finished, with patience left", 4, { settings: { ...settings, patience: 2 } }],
  ])("%s", async (_, steps, { pauseAfter, ...more }) => {
    const folder = place();
    await trainRun(job(steps, { ...more, ...(pauseAfter !== undefined && { pauseAfter }), run: folder }));
    const longer = await goOn(folder, 8, more);
    expect(fingerprint(longer)).toEqual(fingerprint(await trainRun(job(8, { ...more, run: place() }))));
    // the next resume needs no flag
    expect(readFileSync(join(folder, "config.yaml"), "utf8")).toBe("steps: 8\n");
    expect(fingerprint(await trainRun(job(8, { ...more, run: folder, resume: true })))).toEqual(fingerprint(longer));
  });

  test("a death between run.json and config.yaml is made good by the same call again", async () => {
    const folder = place();
    await trainRun(job(4, { run: folder }));
    await goOn(folder, 8, { pauseAfter: 5 });
    writeFileSync(join(folder, "config.yaml"), "steps: 4\n");
    expect((await goOn(folder, 8)).steps).toBe(8);
    expect(readFileSync(join(folder, "config.yaml"), "utf8")).toBe("steps: 8\n");
  });
});

test("an evaluation at its end that the longer run would not make is told; the steps are the same", async () => {
  const folder = place();
  await trainRun(job(5, { run: folder }));
  const said: string[] = [];
  const observe: RunInput["observe"] = (event) => {
    if (event.kind === "warning") said.push(event.message);
  };
  const longer = await goOn(folder, 8, { observe });
  expect(said.join()).toMatch(/evaluated at its end, after step 5, where a run of 8 steps .* every 2 steps/);
  const whole = await trainRun(job(8, { run: place() }));
  expect(longer.history.map(({ step }) => step)).toEqual([2, 4, 5, 6, 8]);
  expect(longer.history.filter(({ step }) => step !== 5).map(({ loss }) => loss)).toEqual(
    whole.history.map(({ loss }) => loss),
  );
});

describe("refused, and nothing is written", () => {
  const half = singleStage(fakeConfig, 4, partialModel(fakeConfig, { depth: 0.5 }));
  test.each<[string, number, number, Partial<RunInput>, RegExp]>([
    ["fewer steps", 4, 3, {}, /more than 4 steps/],
    ["a falling rate", 4, 8, { settings: { ...settings, learningRateSchedule: "linear" } }, /falls towards the end/],
    ["ended by patience", 8, 9, { settings: { ...settings, patience: 1, learningRate: 1e-5 } }, /stopped by itself/],
    ["evaluated on the full model at its end", 4, 8, { schedule: half }, /on the full model at its end/],
  ])("%s", async (_, steps, wanted, more, message) => {
    const folder = place();
    await trainRun(job(steps, { ...more, run: folder }));
    const before = contentOf(folder);
    const { schedule, ...others } = more;
    const [stage] = schedule?.stages ?? [];
    const longer = stage === undefined ? {} : { schedule: singleStage(fakeConfig, wanted, stage.partial) };
    await expect(goOn(folder, wanted, { ...others, ...longer })).rejects.toMatchObject({
      kind: "run",
      message: expect.stringMatching(message),
    });
    expect(contentOf(folder)).toEqual(before);
  });

  test("another input beside the number of steps", async () => {
    const folder = place();
    await trainRun(job(4, { run: folder }));
    const before = contentOf(folder);
    await expect(goOn(folder, 8, { settings: { ...settings, learningRate: 9 } })).rejects.toThrow(
      /changed since it began: settings.learningRate$/m,
    );
    expect(contentOf(folder)).toEqual(before);
  });

  test("more steps, where they are not asked for", async () => {
    const folder = place();
    await trainRun(job(4, { run: folder }));
    await expect(trainRun(job(8, { run: folder, resume: true }))).rejects.toThrow(/schedule.stage 1.steps/);
  });
});
