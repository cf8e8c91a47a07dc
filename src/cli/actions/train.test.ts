/** @file softprompt train in a folder that holds a run: going on to more steps, what is refused, and what an interruption says. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { commandLine } from "../../../test/helpers/command-line.js";
import { scratch } from "../../../test/helpers/job.js";

const root = scratch("train-action");
afterAll(() => rmSync(root, { recursive: true, force: true }));
const tiny = [
  ...["train", "--model", "t5-nano", "--task", "quickstart", "--few-shot", "8", "--max-eval-rows", "4"],
  ...["--batch-size", "4", "--micro-batch-size", "4", "--virtual-tokens", "4", "--eval-every", "2", "--no-baselines"],
];
const told = (folder: string) =>
  ["run.json", "config.yaml", "result.json", "metrics.jsonl", "adapter/adapter_model.safetensors"].map((name) =>
    readFileSync(join(folder, name), "latin1"),
  );

test("--resume with --steps and another option that decides the result: refused, and nothing is written", async () => {
  const output = join(root, "changed");
  expect((await commandLine([...tiny, "--steps", "4", "--output", output])).code).toBe(0);
  const before = told(output);
  const refused = await commandLine(["train", "--resume", output, "--steps", "8", "--learning-rate", "9"]);
  expect(refused).toMatchObject({ code: 6, stderr: expect.stringMatching(/changed since it began: settings.learn/) });
  expect(refused.stderr).not.toContain("resuming at step");
  expect(told(output)).toEqual(before);
  expect((await commandLine(["train", "--resume", output, "--quiet"])).code).toBe(0);
});

test("an interruption on the way to more steps says whose adapter is there", async () => {
  const output = join(root, "stopped");
  expect((await commandLine([...tiny, "--steps", "2", "--output", output, "--quiet"])).code).toBe(0);
  const before = told(output).slice(-1);
  const stop = new AbortController();
  const stopped = await commandLine(["train", "--resume", output, "--steps", "3000"], {
    signal: stop.signal,
    onError: (text) => void (/step [34]/.test(text) && stop.abort("SIGINT")),
  });
  expect(stopped).toMatchObject({ code: 130, stdout: expect.stringMatching(/are still those of step 2\. Go on/) });
  expect(told(output).slice(-1)).toEqual(before);
});

test("--stage-steps that hold all steps: --steps beside them is said to be unused; a run of one stage goes on all the same", async () => {
  const output = join(root, "counted");
  const first = await commandLine([...tiny, "--steps", "100", "--stage-steps", "2", "--output", output, "--json"]);
  expect(first).toMatchObject({ code: 0, stderr: expect.stringMatching(/--steps 100 is not used: --stage-steps 2/) });
  expect(JSON.parse(first.stdout).run.steps).toBe(2);
  const longer = await commandLine(["train", "--resume", output, "--steps", "4", "--json", "--quiet"]);
  expect(longer.code, longer.stderr).toBe(0);
  expect(JSON.parse(longer.stdout).run.steps).toBe(4);
  expect(readFileSync(join(output, "config.yaml"), "utf8")).not.toContain("stageSteps");
  const again = await commandLine(["train", "--resume", output, "--json"]);
  expect(again.code, again.stderr).toBe(0);
  expect(JSON.parse(again.stdout).run.steps).toBe(4);
});

test("stages with their own steps: more steps are refused, and the run can still be resumed", async () => {
  const output = join(root, "staged");
  const staged = ["--schedule", "fpt-ld", "--neuron-choice", "first", "--stage-steps", "1,1,1,1"];
  expect((await commandLine([...tiny, ...staged, "--output", output, "--quiet"])).code).toBe(0);
  const before = told(output);
  const refused = await commandLine(["train", "--resume", output, "--steps", "8"]);
  expect(refused).toMatchObject({ code: 6, stderr: expect.stringMatching(/stages have their own.*--init-from/s) });
  expect(told(output)).toEqual(before);
  expect((await commandLine(["train", "--resume", output, "--quiet"])).code).toBe(0);
});

test("--task names a task of one's own, in the result, the adapter, its card and the report; else the file does", async () => {
  const file = join(root, "rows.jsonl");
  const rows = Array.from({ length: 20 }, (_, n) => ({ text: `text ${n}`, label: n % 2 === 0 ? "good" : "bad" }));
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  const small = tiny.filter((word) => word !== "--task" && word !== "quickstart");
  const own = [...small, "--steps", "1", "--train", file, "--template", "{text}", "--label-column", "label", "--json"];
  const named = async (name: string, more: readonly string[]) => {
    const output = join(root, `named-${name}`);
    const { code, stdout, stderr } = await commandLine([...own, ...more, "--output", output, "--quiet"]);
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout).run.task).toBe(name);
    const text = (file: string) => readFileSync(join(output, file), "utf8");
    expect(JSON.parse(text("adapter/softprompt.json")).task.name).toBe(name);
    expect(text("adapter/README.md")).toContain(` for ${name}\n`);
    expect(text("report.html")).toMatch(new RegExp(`<h1>[^<]*${name}`));
  };
  await named("reviews of films", ["--task", "reviews of films"]);
  await named("rows", []);
});
