/**
 * @file Old names of options: understood for one version by flags, configuration files and calls of the library, and told the new name.
 */
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { flagName, type OptionTable, readOptions, renamedIn } from "../src/base/options.js";
import { optionTable } from "../src/cli/command.js";
import { loadCommands } from "../src/cli/commands.js";
import { loadDataset } from "../src/data/dataset.js";
import { prepareEvaluation } from "../src/evaluate/evaluate.js";
import { defineTask, loadData, loadRows, openModel, openPredictor, predict, prune, tune } from "../src/index.js";
import { scheduleOptions } from "../src/schedule/options.js";
import { currentInput } from "../src/study/runs.js";
import { evaluate } from "../src/tasks/evaluate.js";
import type { OpenModel } from "../src/tasks/model.js";
import { commandLine } from "./helpers/command-line.js";

const place = mkdtempSync(join(tmpdir(), "softprompt-renamed-"));
let model: OpenModel;
beforeAll(async () => {
  model = await openModel("t5-nano");
});
afterAll(async () => {
  await model.dispose();
  rmSync(place, { recursive: true, force: true });
});

const softprompt = (...argv: string[]) => commandLine(argv);

/** Commands that have the option; they end at once, for there is no such model, adapter or file. */
const train = ["train", "--model", "none", "--task", "quickstart"];
const pruning = ["prune", "--model", "none", "--task", "quickstart"];
const names: readonly [command: readonly string[], old: string, value: string | number, now: string][] = [
  [["show", "--task", "quickstart", "--examples", "0"], "holdoutFraction", 0.25, "validationShare"],
  [["compare", "--model", "none", "--tasks", "quickstart="], "trainRows", 8, "fewShot"],
  [["predict", "x", "--adapter", "none", "--model", "none"], "by", "generation", "evaluateBy"],
  [train, "checkpointEvery", 3, "snapshotEvery"],
  [train, "checkpointSeconds", 5, "snapshotSeconds"],
  [train, "scoreExamples", 7, "scoreRows"],
  [pruning, "importanceExamples", 9, "importanceRows"],
];

describe("on the command line", () => {
  test("every option that was renamed is tried here", async () => {
    const tables = Object.values(await loadCommands()).map(optionTable);
    const all = Object.assign({}, ...tables.map(renamedIn));
    expect(all).toEqual(Object.fromEntries(names.map(([, old, , now]) => [old, now])));
    // an old name that is a new one elsewhere would mean two things in one configuration
    const merged: OptionTable = Object.assign({}, ...tables);
    expect(Object.keys(all).filter((old) => Object.hasOwn(merged, old))).toEqual([]);
  });

  test.each(names)("%j: %s as a flag and in a configuration", async (command, old, value, now) => {
    const asFlag = await softprompt(...command, flagName(old), String(value));
    expect(asFlag.stderr).toContain(`notice ${flagName(old)} is called ${flagName(now)} now`);
    expect(asFlag.stderr).not.toMatch(/unknown option/);
    const config = join(place, `${old}.yaml`);
    writeFileSync(config, `${old}: ${value}\n`);
    const inFile = await softprompt(...command, "--config", config);
    expect(inFile.stderr).toContain(`notice ${old} is called ${now} now`);
    expect(inFile.stderr).not.toMatch(/unknown option/);
    writeFileSync(config, `${now}: ${value}\n`);
    const current = await softprompt(...command, "--config", config);
    expect(current.stderr).not.toMatch(/is called/);
    expect([asFlag.code, inFile.code]).toEqual([current.code, current.code]);
  });

  test("an old word of an option: as a flag and in a configuration", async () => {
    const asFlag = await softprompt(...train, "--budget-by", "honest");
    expect(asFlag.stderr).toContain("notice --budget-by honest is called total now");
    const config = join(place, "word.yaml");
    writeFileSync(config, "budgetBy: honest\n");
    const inFile = await softprompt(...train, "--config", config);
    expect(inFile.stderr).toContain("notice budgetBy honest is called total now");
    expect(asFlag.stderr + inFile.stderr).not.toMatch(/cannot be used/);
  });

  test("the value takes effect, and stdout carries JSON alone", async () => {
    const shown = async (...more: string[]) => {
      const { code, stdout } = await softprompt("show", "--task", "quickstart", "--json", ...more);
      expect(code).toBe(0);
      return JSON.parse(stdout);
    };
    expect(await shown("--train-rows", "8")).toEqual(await shown("--few-shot", "8"));
  });

  test("an option under both names is refused; help and a misspelling name the new one alone", async () => {
    const both = join(place, "both.yaml");
    writeFileSync(both, "holdoutFraction: 0.1\nvalidationShare: 0.2\n");
    const refused = await softprompt("show", "--task", "quickstart", "--config", both);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/two names[\s\S]*holdoutFraction and validationShare/);
    const help = await softprompt("prune", "--help");
    for (const [, old] of names.filter(([, name]) => name !== "by")) expect(help.stdout).not.toContain(flagName(old));
    const near = await softprompt("show", "--holdout-fractio", "0.1");
    expect(near.stderr).not.toMatch(/did you mean --holdout-fraction/);
  });
});

describe("in a program", () => {
  const task = defineTask({
    name: "mood",
    template: "sentence: {text}",
    verbalizer: { negative: "negative", positive: "positive" },
  });
  const rows = [
    { text: "fine food", label: "positive" },
    { text: "cold food", label: "negative" },
    { text: "warm room", label: "positive" },
    { text: "dull room", label: "negative" },
  ];
  const put = { template: task.template, verbalizer: task.verbalizer! };
  const own = { rows, ...put };
  const tiny = { virtualTokens: 2, steps: 2, batchSize: 2, evalEvery: 2, baselines: false, init: "uniform" } as const;
  /** What a call gives, and what the process was warned of. */
  async function warned<R>(call: () => R | Promise<R>): Promise<{ value: R; warnings: string[] }> {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    try {
      const value = await call();
      return { value, warnings: warn.mock.calls.map(([message]) => String(message)) };
    } finally {
      warn.mockRestore();
    }
  }
  const called = (old: string, now: string) => [expect.stringContaining(`${old} is called ${now} now`)];

  test("loadData, loadRows and loadDataset: holdoutFraction; said once", async () => {
    const first = await warned(() => loadData({ ...own, holdoutFraction: 0.5 }));
    expect(first.warnings).toEqual(called("holdoutFraction", "validationShare"));
    expect(first.value.validation).toHaveLength(2);
    const second = await warned(() => loadRows(rows, { ...put, holdoutFraction: 0.5 }));
    expect([second.value.validation.length, second.warnings]).toEqual([2, []]);
    const spec = { ...put, label: "label", rows: { train: rows } };
    expect((await loadDataset({ ...spec, holdoutFraction: 0.5 } as never)).validation).toHaveLength(2);
  });

  test("loadData: trainRows", async () => {
    const { value, warnings } = await warned(() => loadData({ ...own, trainRows: 2 } as never));
    expect(warnings).toEqual(called("trainRows", "fewShot"));
    expect(value.train).toHaveLength(2);
  });

  test("tune: checkpointEvery, checkpointSeconds, scoreExamples, and budgetBy honest", async () => {
    const data = await loadData({ ...own, validationRows: rows });
    const { value, warnings } = await warned(() =>
      tune(model, data, {
        ...tiny,
        ...{ checkpointEvery: 1, checkpointSeconds: 7, scoreExamples: 3 },
        budgetBy: "honest" as never,
      }),
    );
    expect(warnings).toHaveLength(4);
    expect(value.result.run.options).toMatchObject({
      snapshotEvery: 1,
      snapshotSeconds: 7,
      scoreRows: 3,
      budgetBy: "total",
    });
    const read = readOptions(scheduleOptions, { budgetBy: "honest" }, "x", () => {});
    expect(read.budgetBy).toBe("total");
  });

  test("prune: importanceExamples; a search that recorded the old name goes on", async () => {
    const data = await loadData({ ...own, validationRows: rows });
    const output = join(place, "search");
    const search = { ...tiny, pieces: 2, tokensPruned: [1], level: "tokens", workers: 1, output } as const;
    const { value, warnings } = await warned(() => prune(model, data, { ...search, importanceExamples: 2 }));
    expect(warnings).toEqual(called("importanceExamples", "importanceRows"));
    expect(value.record.run.options).toMatchObject({ importanceRows: 2 });
    const head = join(output, "search.json");
    writeFileSync(head, readFileSync(head, "utf8").replace("pruning.importanceRows", "pruning.importanceExamples"));
    const again = await prune(model, data, { ...search, importanceRows: 2, resume: true });
    expect(again.record.scores).toEqual(value.record.scores);
    await expect(prune(model, data, { ...search, importanceRows: 3, resume: true })).rejects.toThrow(/importanceRows/);
  });

  test("predict, openPredictor, evaluate and prepareEvaluation: by", async () => {
    const first = await warned(() => predict(model, null, ["fine"], { task, by: "generation" }));
    expect(first.warnings).toEqual(called("by", "evaluateBy"));
    expect(first.value[0]!.probabilities).toBeNull();
    const bare = { adapter: null, task, by: "generation" } as const;
    const predictor = await openPredictor(model, { adapters: { bare }, evaluateBy: "ranking" });
    expect((await predictor.predict([{ adapter: "bare", input: "fine" }]))[0]!.probabilities).toBeNull();
    const scored = await evaluate(model, own, { by: "generation" });
    expect(scored.predictions[0]!.probabilities).toBeNull();
    const { train: some } = await loadRows(rows, put);
    expect(prepareEvaluation(model.tokenizer, task, some, { by: "generation" }).evaluateBy).toBe("generation");
  });

  test("a study's input: promptLength", async () => {
    const { value, warnings } = await warned(() => currentInput({ promptLength: 3 } as never, "study"));
    expect(warnings).toEqual(called("promptLength", "virtualTokens"));
    expect(value).toEqual({ virtualTokens: 3 });
  });
});

test("a run whose snapshots lie where version 0.1 kept them goes on, in that folder", async () => {
  const output = join(place, "run");
  const settings = ["--task", "quickstart", "--few-shot", "8", "--virtual-tokens", "2", "--batch-size", "4"];
  const one = [...settings, "--max-eval-rows", "4", "--no-baselines", "--threads", "1", "--quiet"];
  expect((await softprompt("train", "--model", "t5-nano", ...one, "--steps", "2", "--output", output)).code).toBe(0);
  renameSync(join(output, "snapshots"), join(output, "checkpoint"));
  const config = join(output, "config.yaml");
  const text = readFileSync(config, "utf8");
  writeFileSync(
    config,
    text
      .replace("snapshotEvery", "checkpointEvery")
      .replace("snapshotSeconds", "checkpointSeconds")
      .replace("validationShare", "holdoutFraction")
      .replace("scoreRows", "scoreExamples")
      .replace("budgetBy: paper", "budgetBy: honest"),
  );
  const resumed = await softprompt("train", "--resume", output, "--steps", "4", "--json");
  expect(resumed.code).toBe(0);
  expect(resumed.stderr).not.toMatch(/is called/);
  const { run: told } = JSON.parse(resumed.stdout);
  expect(told).toMatchObject({ steps: 4, options: { budgetBy: "total" } });
});
