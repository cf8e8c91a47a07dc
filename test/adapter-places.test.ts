/**
 * @file Where an adapter may lie: every command that takes one takes its folder, the folder of the run that made it, or that of a search,
 * and says the same of it.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { saveAdapter } from "../src/adapter/adapter.js";
import { openAdapter } from "../src/tasks/adapter-place.js";
import { openModel } from "../src/tasks/model.js";
import { promptAdapter } from "./helpers/adapters.js";
import { commandLine } from "./helpers/command-line.js";
import { ask, startServer } from "./helpers/serve.js";

const place = mkdtempSync(join(tmpdir(), "softprompt-places-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));
const run = join(place, "run");
const search = join(place, "search");
const heads = { [run]: "run.json", [search]: "search.json" };

beforeAll(async () => {
  await using model = await openModel("t5-nano");
  const task = {
    name: "two words",
    template: "{text}",
    verbalizer: { good: "good", bad: "bad" },
    metrics: ["accuracy"] as ["accuracy"],
    maxTargetTokens: 4,
    targetPrefix: "",
  };
  const adapter = { ...(await promptAdapter(model.checkpoint, 3)), task };
  for (const folder of [run, search]) {
    saveAdapter(join(folder, "adapter"), adapter);
    writeFileSync(join(folder, heads[folder]!), "{}");
  }
});

const rows = join(place, "rows.jsonl");
writeFileSync(rows, '{"text":"good","label":"good"}\n{"text":"bad","label":"bad"}\n');
const model = ["--model", "t5-nano"];

describe("an adapter by its own folder, its run's or its search's", () => {
  test.each([
    ["inspect", (at: string) => ["inspect", at]],
    ["inspect with words", (at: string) => ["inspect", at, ...model]],
    ["predict", (at: string) => ["predict", "a fine film", "--adapter", at, ...model]],
    ["generate", (at: string) => ["generate", "a fine film", "--adapter", at, ...model, "--max-tokens", "2"]],
    ["show", (at: string) => ["show", at, "--nearest", ...model]],
    ["export raw", (at: string) => ["export", "raw", "--adapter", at, "--output", join(place, "raw")]],
    [
      "eval",
      (at: string) => [
        ...["eval", "--adapter", at, ...model, "--train", rows, "--validation", rows, "--label-column", "label"],
        ...["--template", "{text}", "--verbalizer", "good=good", "--verbalizer", "bad=bad"],
      ],
    ],
  ])("%s", async (_, argv) => {
    const own = await commandLine(argv(join(run, "adapter")));
    expect(own.code, own.stderr).toBe(0);
    for (const folder of [run, search]) {
      // no form is written over what is there
      rmSync(join(place, "raw"), { recursive: true, force: true });
      const told = await commandLine(argv(folder));
      expect(told.code, told.stderr).toBe(0);
      // the folder itself, and how long it took
      const plain = (text: string) =>
        text.replaceAll(folder, "").replaceAll(/\d[\d.]* (ms|s)\b|"seconds":[\d.e-]+/g, "");
      expect(plain(told.stdout)).toBe(plain(own.stdout.replaceAll(join(run, "adapter"), folder)));
    }
  });

  test("serve", async () => {
    const server = await startServer({
      adapters: { mine: run, other: search, own: join(run, "adapter") },
    });
    try {
      const { data } = (await ask<{ data: readonly { id: string }[] }>(server, "/v1/models")).json;
      for (const name of ["mine", "other", "own"]) expect(JSON.stringify(data)).toContain(name);
    } finally {
      await server.close();
    }
  });

  test("a run without an adapter yet is refused as one, by all", async () => {
    const unfinished = join(place, "unfinished");
    mkdirSync(unfinished);
    writeFileSync(join(unfinished, "run.json"), "{}");
    // of a program's run there is no command that goes on
    await expect(openAdapter(unfinished)).rejects.toMatchObject({
      parts: { hint: "wait for it, or go on with it: the same call with resume: true" },
    });
    writeFileSync(join(unfinished, "config.yaml"), "");
    for (const argv of [
      ["inspect", unfinished],
      ["predict", "a", "--adapter", unfinished, ...model],
    ]) {
      const { code, stderr } = await commandLine(argv);
      expect(code).toBe(5);
      expect(stderr).toMatch(/this run has left no adapter yet[\s\S]*go on with it: softprompt train --resume/);
    }
  });
});
