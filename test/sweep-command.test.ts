/**
 * @file softprompt sweep as a command: its files, its answer, what it refuses, and the configuration that it leaves for train.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { commandLine } from "./helpers/command-line.js";

const place = mkdtempSync(join(tmpdir(), "sweep-command-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

const rows = ["--model", "t5-nano", "--task", "quickstart", "--few-shot", "16"];
const few = [...rows, "--steps", "2", "--batch-size", "4", "--threads", "1", "--search-holdout", "0.5"];

test("tables, report and the configuration of the best setting, which train takes as it stands", {
  timeout: 120_000,
}, async () => {
  const output = join(place, "sweep");
  const asked = (...more: string[]) => commandLine(["sweep", ...few, "--output", output, "--json", ...more]);
  const { code, stdout, stderr } = await asked(
    "--try",
    "learning-rate=0.1,0.3",
    "--try",
    "virtualTokens=2",
    "--seeds",
    "0,1",
  );
  expect(code, stderr).toBe(0);
  expect(stderr).toMatch(/4\/4 quickstart, seed 1: virtualTokens 2, learningRate 0.3/);
  const answer = JSON.parse(stdout);
  expect(answer.ranked.map(({ label }: { label: string }) => label).sort()).toEqual([
    "virtualTokens 2, learningRate 0.1",
    "virtualTokens 2, learningRate 0.3",
  ]);
  const best = answer.ranked[0].values;
  expect(answer.best).toMatchObject({ ...best, steps: 2, batchSize: 4 });
  for (const name of ["config.yaml", "result.json", "result.md", "report.html"])
    expect(existsSync(join(output, name))).toBe(true);
  const config = parse(readFileSync(answer.config, "utf8"));
  expect(config).toEqual({
    model: "t5-nano",
    threads: 1,
    task: "quickstart",
    fewShot: 16,
    batchSize: 4,
    steps: 2,
    ...best,
  });
  const trained = await commandLine([
    "train",
    "--config",
    answer.config,
    "--output",
    join(place, "run"),
    "--json",
    "--quiet",
  ]);
  expect(trained.code, trained.stderr).toBe(0);
  // a seed and a value more: the earlier report's scores are all in the new one
  const wider = await asked(
    "--try",
    "learning-rate=0.1,0.3,1",
    "--try",
    "virtualTokens=2",
    "--seeds",
    "0,1,2",
    "--quiet",
  );
  expect(JSON.parse(wider.stdout)).toMatchObject({ earlier: null });
  // its own configuration runs it again, in its folder
  const again = await commandLine(["sweep", "--config", join(output, "config.yaml"), "--json", "--quiet"]);
  expect(again.code, again.stderr).toBe(0);
  expect(JSON.parse(again.stdout)).toMatchObject({ earlier: null, ranked: [{}, {}, {}] });
  const other = await asked("--try", "batch-size=2,4", "--seeds", "0", "--quiet");
  // batchSize is given and tried
  expect(other.code).toBe(2);
  const less = await asked("--try", "learning-rate=0.1", "--try", "virtualTokens=2", "--seeds", "0", "--quiet");
  const kept = JSON.parse(less.stdout).earlier;
  expect(existsSync(join(kept, "best.yaml"))).toBe(true);
  const listed = await commandLine(["runs", output, "--json"]);
  expect(JSON.parse(listed.stdout).runs).toHaveLength(9);
});

test("best.yaml has nothing that the best setting does not read, and a run's configuration can be swept over", {
  timeout: 120_000,
}, async () => {
  const [one, two] = [join(place, "start"), join(place, "again")];
  const wide = ["--try", "init=uniform,sampledVocab", "--init-range", "1000", "--seeds", "0", "--virtual-tokens", "2"];
  const found = await commandLine(["sweep", ...few, ...wide, "--output", one, "--json", "--quiet"]);
  expect(found.code, found.stderr).toBe(0);
  const { config, best } = JSON.parse(found.stdout);
  expect(best.init).toBe("sampledVocab");
  const trained = await commandLine(["train", "--config", config, "--output", two, "--json", "--quiet"]);
  expect(trained.code, trained.stderr).toBe(0);
  const lists = join(place, "lists.yaml");
  writeFileSync(
    lists,
    `${readFileSync(join(two, "config.yaml"), "utf8")}try:\n  virtualTokens: [2, 3]\n  initText: ["a, b", c]\n`,
  );
  const over = await commandLine([
    "sweep",
    "--config",
    lists,
    "--init",
    "text",
    "--seeds",
    "0",
    "--output",
    join(place, "over"),
    "--json",
    "--quiet",
  ]);
  expect(over.code, over.stderr).toBe(0);
  expect(JSON.parse(over.stdout).ranked.map(({ values }: { values: object }) => values)).toEqual(
    expect.arrayContaining([
      { virtualTokens: 2, initText: "a, b" },
      { virtualTokens: 3, initText: "c" },
    ]),
  );
  // the run's folder is not taken over
  expect(existsSync(join(two, "runs"))).toBe(false);
});

describe("refused before a model is opened", () => {
  test.each([
    [["learningrate=0.1"], /try: learningrate[\s\S]*did you mean "learningRate"/],
    [["learning-rate=0.1,x"], /--try learning-rate[\s\S]*a number/],
    [["learning-rate="], /--try learning-rate[\s\S]*a number/],
    [["stage-steps=10"], /have commas themselves[\s\S]*\[\[10,20\],\[5,25\]\]/],
    [["constructor=1"], /unknown option "constructor"/],
    [["virtual-tokens=1,1.0"], /a value is given twice/],
    [["learning-rate=0.1", "learningRate=0.2"], /an option is tried under two names/],
    [["seed=1,2"], /this option cannot be tried/],
    [["template=a,b"], /this option cannot be tried/],
    [["learning-rate"], /name=text/],
  ])("--try %j", async (tried, message) => {
    const flags = tried.flatMap((one) => ["--try", one]);
    const asked = [
      "sweep",
      ...few,
      ...flags,
      "--model",
      join(place, "no-model"),
      "--output",
      join(place, "none"),
      "--quiet",
    ];
    const { code, stderr } = await commandLine(asked);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
    expect(existsSync(join(place, "none"))).toBe(false);
  });
  test("without --try, and with a precision that could differ between two sessions", async () => {
    const without = await commandLine(["sweep", ...few]);
    expect(without).toMatchObject({ code: 2 });
    expect(without.stderr).toMatch(/try is missing/);
    const auto = await commandLine(["sweep", ...few, "--try", "virtual-tokens=1", "--precision", "auto"]);
    expect(auto.stderr).toMatch(/must be computed alike/);
  });
});
