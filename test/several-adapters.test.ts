/**
 * @file Several adapters on one input of `predict`: a line for each, as if it were asked alone.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadAdapter, saveAdapter } from "../src/adapter/adapter.js";
import { writeNpy } from "../src/adapter/npy.js";
import { namedPlaces } from "../src/cli/actions/predict.js";
import type { Task } from "../src/data/row.js";
import { openModel } from "../src/tasks/model.js";
import { promptAdapter } from "./helpers/adapters.js";
import { commandLine } from "./helpers/command-line.js";

const place = mkdtempSync(join(tmpdir(), "softprompt-several-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));
const spam = join(place, "spam");
const tone = join(place, "tone");

beforeAll(async () => {
  await using model = await openModel("t5-nano");
  const common = { metrics: ["accuracy"] as ["accuracy"], maxTargetTokens: 4, targetPrefix: "" };
  const tasks: Record<string, Task> = {
    [spam]: { name: "spam", template: "mail: {text}", verbalizer: { yes: "yes", no: "no" }, ...common },
    // another name of the field: a plain text fills it too
    [tone]: { name: "tone", template: "{sentence} It was", verbalizer: { good: "good", bad: "bad" }, ...common },
  };
  for (const [folder, task] of Object.entries(tasks))
    saveAdapter(folder, { ...(await promptAdapter(model.checkpoint, 3)), task });
});

const model = ["--model", "t5-nano"];
type Line = { id: string; adapter?: string; label: string | null; probabilities: Record<string, number> };
const linesOf = (text: string) =>
  text
    .trim()
    .split("\n")
    .map((line): Line => JSON.parse(line));

test("each answers each input, under its name, as it answers alone", async () => {
  const file = join(place, "rows.jsonl");
  writeFileSync(
    file,
    ["a fine film", "win a car now"].map((text) => `${JSON.stringify({ text, sentence: text })}\n`).join(""),
  );
  const both = await commandLine([
    ...["predict", "--file", file, ...model, "--quiet"],
    ...["--adapter", `spam=${spam}`, "--adapter", `tone=${tone}`],
  ]);
  expect(both.code, both.stderr).toBe(0);
  const told = linesOf(both.stdout);
  expect(told.map(({ adapter }) => adapter)).toEqual(["spam", "tone", "spam", "tone"]);
  for (const [n, folder] of [spam, tone].entries()) {
    const alone = await commandLine(["predict", "--file", file, ...model, "--quiet", "--adapter", folder]);
    for (const [row, line] of linesOf(alone.stdout).entries()) {
      expect(line).not.toHaveProperty("adapter");
      const beside = told[row * 2 + n]!;
      expect([beside.id, beside.label]).toEqual([line.id, line.label]);
      for (const [label, probability] of Object.entries(line.probabilities))
        expect(beside.probabilities[label]).toBeCloseTo(probability, 5);
    }
  }
});

test("a text fills the one field of each; what one cannot read is said with its name", async () => {
  const given = ["--adapter", `spam=${spam}`, "--adapter", tone, ...model, "--quiet"];
  const text = await commandLine(["predict", "a fine film", ...given]);
  expect(linesOf(text.stdout).map(({ adapter }) => adapter)).toEqual(["spam", tone]);
  const lacks = await commandLine(["predict", '{"text": "a fine film"}', ...given]);
  expect(lacks.code).toBe(3);
  expect(lacks.stderr).toContain(`adapter ${tone}`);
  const skipped = await commandLine(["predict", '{"text": "a fine film"}', ...given, "--skip-bad-rows"]);
  expect(linesOf(skipped.stdout)).toMatchObject([
    { adapter: "spam", label: expect.any(String) },
    { adapter: tone, label: null, error: { problem: expect.any(String) } },
  ]);
});

test("the model is that of the first adapter that records one", async () => {
  const bare = join(place, "bare.npy");
  const { prompt } = await loadAdapter(spam);
  writeFileSync(bare, writeNpy(prompt));
  const task = ["--template", "{text} It was", "--verbalizer", "good=good", "--verbalizer", "bad=bad", "--any-base"];
  const given = ["--adapter", bare, "--adapter", `spam=${spam}`, ...task, "--quiet"];
  const { code, stdout, stderr: said } = await commandLine(["predict", "a fine film", ...given]);
  expect(code, said).toBe(0);
  expect(linesOf(stdout).map(({ adapter }) => adapter)).toEqual([bare, "spam"]);
});

test("a name goes before the first equals sign, unless the place is there with it", () => {
  const odd = join(place, "a=b");
  mkdirSync(odd);
  expect(namedPlaces(["runs/x"])).toEqual([{ name: null, place: "runs/x" }]);
  expect(namedPlaces(["x=runs/x"])).toEqual([{ name: "x", place: "runs/x" }]);
  expect(namedPlaces([odd, "x=runs/a=b"])).toEqual([
    { name: odd, place: odd },
    { name: "x", place: "runs/a=b" },
  ]);
  expect(() => namedPlaces(["x=a", "x=b"])).toThrow("two adapters have one name");
});

test("a settings file names one by a text, several by a list; an empty name is refused", async () => {
  const config = join(place, "one.yaml");
  writeFileSync(config, `model: t5-nano\nadapter: ${spam}\n`);
  const one = await commandLine(["predict", "a", "--config", config, "--quiet"]);
  expect(linesOf(one.stdout)).toHaveLength(1);
  writeFileSync(config, `model: t5-nano\nadapter: [spam=${spam}, tone=${tone}]\n`);
  const two = await commandLine(["predict", "a", "--config", config, "--quiet"]);
  expect(linesOf(two.stdout)).toHaveLength(2);
  const none = await commandLine(["predict", "a", ...model, "--adapter", ""]);
  expect([none.code, none.stderr]).toEqual([2, expect.stringContaining("leave the option out, or name one")]);
});
