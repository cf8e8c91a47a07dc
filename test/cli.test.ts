/**
 * @file The command line as a user meets it: help, errors, exit codes, machine output, a whole run with interruption.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { errorKinds } from "../src/base/errors.js";
import { flagName } from "../src/base/options.js";
import { command, optionTable } from "../src/cli/command.js";
import { loadCommands } from "../src/cli/commands.js";
import { fptStudies } from "../src/study/fpt.js";
import { methodStudies } from "../src/study/methods.js";
import { xpromptStudies } from "../src/study/xprompt.js";
import { commandLine } from "./helpers/command-line.js";

const commands = await loadCommands();
const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const width = JSON.parse(readFileSync(join(root, "models/t5-nano/config.json"), "utf8")).d_model as number;
const place = mkdtempSync(join(tmpdir(), "softprompt-cli-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

/** A tuning that takes seconds: few rows, few steps. */
const tiny = [
  "--model",
  "t5-nano",
  "--task",
  "quickstart",
  "--few-shot",
  "8",
  "--max-eval-rows",
  "4",
  "--batch-size",
  "4",
  "--micro-batch-size",
  "4",
  "--no-baselines",
];

describe("help", () => {
  test.each(Object.entries(commands))("%s --help names every option", async (name, c) => {
    const { code, stdout } = await commandLine([name, "--help"]);
    expect(code).toBe(0);
    for (const key of Object.keys(optionTable(c))) {
      const flag = flagName(key).slice(2);
      expect(stdout).toMatch(new RegExp(`--(no-)?${flag}\\b`));
    }
    expect(await commandLine(["help", name])).toMatchObject({ code: 0, stdout });
  });
  test("the overview lists every command", async () => {
    for (const argv of [[], ["--help"], ["help"], ["-h"]]) {
      const { code, stdout } = await commandLine(argv);
      expect(code).toBe(0);
      for (const name of Object.keys(commands)) expect(stdout).toContain(name);
    }
  });
  test.each(Object.keys(commands))("%s --help --json is one JSON object", async (name) => {
    const { code, stdout } = await commandLine([name, "--help", "--json"]);
    expect(code).toBe(0);
    const said = JSON.parse(stdout);
    expect(said.help).toContain(`softprompt ${name}`);
    expect(Object.keys(said.options.properties)).toEqual(Object.keys(optionTable(commands[name]!)));
    expect(JSON.parse((await commandLine(["help", name, "--json"])).stdout)).toEqual(said);
  });
  test("so is the overview", async () => {
    for (const argv of [["--help"], ["help"], ["-h"]]) {
      const said = JSON.parse((await commandLine([...argv, "--json"])).stdout);
      expect(said.help).toBe((await commandLine(argv)).stdout.trimEnd());
      expect(said.commands.map(({ name }: { name: string }) => name)).toEqual(Object.keys(commands));
    }
  });
  test("--version", async () => {
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    expect(await commandLine(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  });
});

/** A study that ends at the model, if not before. */
const none = (name: string) => ["study", name, "--model", "none", "--tasks", "quickstart="];

describe("refusals", () => {
  test.each([
    [["trian"], 2, /unknown command "trian".*did you mean "train"/s],
    [["train", "--lerning-rate", "1"], 2, /unknown option --lerning-rate.*did you mean --learning-rate/s],
    [["train", "--steps", "0"], 2, /--steps.*at least 1.*got: 0/s],
    [["train"], 2, /model is missing/],
    [["train", "--model", "t5-nano"], 2, /no data are given/],
    [["train", "--model", "t5-nano", "--task", "sst3", "--data", "."], 2, /no such task.*sst2/s],
    [
      ["predict", "a text", "--model", "t5-nano", "--task", "quikstart"],
      2,
      /task: no such task.*did you mean quickstart/s,
    ],
    [
      ["predict", "a text", "--model", "t5-nano", "--template", "{a}", "--verbalizer", "0=b,1=g"],
      2,
      /once for each label/,
    ],
    [
      ["predict", '{"text":"a","idx":1}', "--lines", "jsonl", "--model", "t5-nano", "--template", "{a}"],
      3,
      /column a is missing.*the columns are text, idx/s,
    ],
    [
      ["predict", "a text", "--model", "t5-nano", "--template", "{a} and {b}"],
      3,
      /text: this is no JSON object.*expected: an object with the fields of the template, \{"a": "…", "b": "…"\}.*got: "a text"/s,
    ],
    [["train", "--model", "t5-nano", "--train", "x.csv"], 2, /your own files need a template/],
    // a run would go into the folder that one stands in
    [
      ["train", "--model", "t5-nano", "--task", "quickstart", "--output", ""],
      2,
      /--output.*expected: .*folder.*got: ""/s,
    ],
    [["inspect"], 2, /TARGET is missing/],
    [["inspect", "a", "b"], 2, /too many arguments/],
    [["inspect", place], 4, /config\.json/],
    [["inspect", "t5-nano", "--nearest", "3"], 2, /a model does not read.*--nearest.*leave it out/s],
    [
      ["predict", "--model", "t5-nano", "--file", "none.jsonl", "--lines", "text"],
      2,
      /a file of rows does not read.*--lines/s,
    ],
    [["show", "--task", "quickstart", "--nearest"], 2, /a task does not read.*--nearest/s],
    [
      ["train", "--model", "t5-nano", "--train", join(place, "none.csv"), "--template", "{a}", "--label-column", "b"],
      3,
      /none\.csv/,
    ],
    [["train", "--resume", place], 6, /no run here to resume/],
    [["prune", "--resume", place], 6, /no run here to resume/],
    [["prune"], 2, /model is missing/],
    [["report", place], 6, /no result/],
    [["predict", "x", "--model", "t5-nano", "--adapter", place], 5, /this is not an adapter/],
    [["study", "comparee", "--model", "t5-nano", "--tasks", "quickstart="], 2, /did you mean compare/],
    [
      [...none("parameters"), "--level", "tokens"],
      2,
      /softprompt study parameters: this study does not read.*--level/s,
    ],
    [[...none("methods"), "--methods", "prompt", "--patience", "0"], 2, /does not read.*--patience/s],
    [[...none("search"), "--search", "linear"], 2, /does not read.*--search/s],
    [[...none("length"), "--virtual-tokens", "7"], 2, /does not read.*--virtual-tokens/s],
    [[...none("initialisation"), "--init", "uniform"], 2, /does not read.*--init/s],
    [[...none("compare"), "--pieces", "4", "--no-rescore-pieces"], 2, /does not read.*--pieces, --rescore-pieces/s],
    [
      [...none("partial-alone"), "--holdout", "0.3", "--search", "halving", "--retrain-steps", "7"],
      2,
      /does not read.*--search, --holdout, --retrain-steps.*leave them out/s,
    ],
    [[...none("similarity"), "--schedule", "fpt-cr", "--budget", "0.5"], 2, /does not read.*--schedule, --budget/s],
    [[...none("masking"), "--retrain-steps", "7"], 2, /does not read.*--retrain-steps/s],
    [["compare", "--model", "none", "--tasks", "quickstart=", "--snapshot-every", "1"], 2, /does not read/],
    [["compare", "--model", "none", "--tasks", "quickstart=", "--seeds", "1,1"], 2, /a seed is given twice.*1, 1/s],
    [["study", "masking", "--model", "none", "--tasks", "quickstart=", "--seeds", "0,2,0"], 2, /a seed is given twice/],
  ] as const)("%j exits with %i", async (argv, exitCode, message) => {
    const { code, stdout, stderr } = await commandLine(argv);
    expect(stderr).toMatch(message);
    expect(code).toBe(exitCode);
    expect(stdout).toBe("");
  });

  test("--json tells errors as JSON on stdout, with the exit code's kind", async () => {
    const { code, stdout } = await commandLine(["train", "--json", "--optimizer", "adam"]);
    const { error } = JSON.parse(stdout);
    expect(error).toMatchObject({ kind: "usage", where: "--optimizer", hint: 'did you mean "adamw"?', exitCode: code });
    expect(code).toBe(errorKinds.usage.exitCode);
  });

  test("anything unexpected is called a bug and exits with 70", async () => {
    const broken = command({
      summary: "",
      description: "",
      positionals: [],
      sections: {},
      examples: [],
      run: () => Promise.reject(new TypeError("oops")),
    });
    const { code, stderr } = await commandLine(["broken"], { table: { broken: async () => broken } });
    expect(code).toBe(70);
    expect(stderr).toMatch(/this is a bug.*TypeError: oops/s);
  });
});

test("what a study does not read are options of the command", () => {
  const known = Object.keys(optionTable(commands.study!));
  for (const [name, { unread }] of Object.entries({ ...fptStudies, ...xpromptStudies, ...methodStudies }))
    expect([name, unread.filter((key) => !known.includes(key))]).toEqual([name, []]);
});

describe("runs", () => {
  const folder = join(place, "many runs");
  const facts = { "task.name": '"sst2"', "task.metrics": '["accuracy"]', "settings.seed": "3" };
  const identity = { ...facts, "schedule.stage 1.steps": "40", method: "lora [8,16,null]" };
  const event = { step: 10, stage: 0, partial: "full", loss: 1, seconds: 1, best: true, time: "" };
  beforeAll(() => {
    mkdirSync(join(folder, "good"), { recursive: true });
    writeFileSync(join(folder, "good/run.json"), JSON.stringify({ format: 1, identity }));
    const spent = { flops: 1e9, paperFlops: 1e9, totalFlops: 2e9 };
    writeFileSync(
      join(folder, "good/metrics.jsonl"),
      `${JSON.stringify({ kind: "eval", ...event, scores: { accuracy: 0.75 }, ...spent })}\n{"kind":"st`,
    );
    mkdirSync(join(folder, "bad"));
    writeFileSync(join(folder, "bad/run.json"), "\u001b[31m");
  });

  test("one line each, the unreadable one with its reason", async () => {
    const { code, stdout } = await commandLine(["runs", folder, "--sort", "score"]);
    expect(code).toBe(0);
    const [head, good, bad, ...more] = stdout.trimEnd().split("\n");
    expect(more).toEqual([]);
    expect(head!.split(/ {2,}/).slice(0, 3)).toEqual(["run", "task", "method"]);
    expect(good!.split(/ {2,}/).slice(0, 9)).toEqual([
      "good",
      "sst2",
      "lora",
      "–",
      "stopped",
      "10/40",
      "75.0 accuracy",
      "–",
      "2.00 GFLOP",
    ]);
    expect(bad).toMatch(/^bad .*unreadable \(run\.json: this is not valid JSON\)/);
  });

  test("--json has every field; a folder that is not there is an error", async () => {
    const { stdout } = await commandLine(["runs", folder, "--json"]);
    const { runs } = JSON.parse(stdout);
    expect(runs).toHaveLength(2);
    expect(runs.find(({ path }: { path: string }) => path === join(folder, "good"))).toMatchObject({
      ...{ kind: "run", state: "stopped", task: "sst2", method: "lora", seed: 3, steps: 10, plannedSteps: 40 },
      ...{ metric: "accuracy", score: 0.75, flops: 2e9, pid: null, error: null },
    });
    const gone = await commandLine(["runs", join(folder, "nowhere")]);
    expect(gone.code).toBe(errorKinds.io.exitCode);
    expect(gone.stderr).toContain("no such file or folder");
  });
});

describe("configuration file", () => {
  const write = (name: string, text: string) => {
    const file = join(place, name);
    writeFileSync(file, text);
    return file;
  };
  test.each([
    ["learningrate: 1", /unknown option "learningrate".*did you mean "learningRate"/s],
    ["steps: many", /steps.*whole number/s],
    ["steps: 1\nsteps: 2", /not valid YAML/],
    ["a: &x 1\nb: *x", /aliases/],
    ["- 1", /not a mapping/],
    ["steps: [", /not valid YAML/],
    ['"__proto__": {"steps": 3}', /unknown option/],
  ])("refused: %s", async (text, message) => {
    const { code, stderr } = await commandLine(["show", "--config", write("bad.yaml", text)]);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });
  test("a study refuses what it does not read there too, and takes the configuration that it wrote", {
    timeout: 120_000,
  }, async () => {
    const refused = await commandLine([...none("parameters"), "--config", write("study.yaml", "level: tokens\n")]);
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringMatching(/does not read.*--level/s) });
    // what a study wrote before it refused to read the option, at its default, goes on
    const compared = (patience: number) =>
      commandLine([...none("methods"), "--methods", "prompt", "--config", write("p.yaml", `patience: ${patience}\n`)]);
    expect((await compared(1)).stderr).toMatch(/does not read.*--patience/s);
    expect((await compared(0)).stderr).not.toMatch(/does not read/);
    const output = join(place, "masking");
    const small = "--virtual-tokens 2 --steps 1 --seeds 0 --few-shot 4 --max-eval-rows 2 --pieces 2 --quiet";
    const tasks = ["--model", "t5-nano", "--tasks", "quickstart="];
    const first = await commandLine(["study", "masking", ...tasks, "--output", output, ...small.split(" ")]);
    expect(first).toMatchObject({ code: 0, stderr: "" });
    const config = join(output, "config.yaml");
    expect(readFileSync(config, "utf8")).not.toMatch(/level|retrainSteps|search/);
    expect(await commandLine(["study", "masking", "--config", config, "--quiet"])).toEqual(first);
  });
  test("one file serves every command; flags override it", async () => {
    const config = write("run.yaml", "task: quickstart\nsteps: 5\nlearningRate: 0.1\nexamples: 0\n");
    const shown = JSON.parse((await commandLine(["show", "--config", config, "--examples", "2", "--json"])).stdout);
    expect(shown.splits[0].examples).toHaveLength(2);
    expect(shown.splits[0].rows).toBe(320);
  });
});

test("prune, interrupt, and the command that the hint gives", { timeout: 300_000 }, async () => {
  const output = join(place, "search");
  const small = [
    "--virtual-tokens",
    "4",
    "--steps",
    "2",
    "--level",
    "tokens",
    "--tokens-pruned",
    "1",
    "--workers",
    "1",
  ];
  const interrupt = new AbortController();
  const stopped = await commandLine(["prune", ...tiny, ...small, "--importance-rows", "8", "--output", output], {
    signal: interrupt.signal,
    onError: (text) => text.includes("scoring tokens and pieces") && interrupt.abort("SIGINT"),
  });
  expect(stopped.code).toBe(130);
  const [, hint] = /hint: softprompt (.+)$/m.exec(stopped.stderr)!;
  expect(hint).toBe(`prune --resume ${output}`);
  const resumed = await commandLine([...hint!.split(" "), "--json"]);
  expect(resumed.stderr).not.toMatch(/^error|bug/m);
  expect(resumed.code).toBe(0);
  expect(JSON.parse(resumed.stdout)).toMatchObject({ folder: output, run: { method: "xprompt" } });
  expect((await commandLine(["prune", "--resume", output, "--learning-rate", "0.2"])).stderr).toMatch(/learningRate/);
});

test("train, interrupt, resume, eval, predict, report: one run from beginning to end", {
  timeout: 300_000,
}, async () => {
  const output = join(place, "run");
  const argv = ["train", ...tiny, "--steps", "6", "--eval-every", "3", "--output", output];
  const interrupt = new AbortController();
  // The evaluation at step 3 is told; the signal comes right then.
  const stopped = await commandLine(argv, {
    signal: interrupt.signal,
    onError: (text) => text.includes("step 3:") && interrupt.abort("SIGTERM"),
  });
  expect(stopped.code).toBe(143);
  expect(stopped.stdout).toContain(`softprompt train --resume ${output}`);
  expect(existsSync(join(output, "result.json"))).toBe(false);

  const again = await commandLine(argv);
  expect(again.code).toBe(6);
  expect(again.stderr).toMatch(/already holds a run/);
  const study = await commandLine(["study", "masking", "--model", "none", "--tasks", "a=none", "--output", output]);
  expect(study).toMatchObject({ code: 6, stderr: expect.stringMatching(/something else than a study/) });
  const changed = await commandLine(["train", "--resume", output, "--learning-rate", "0.2"]);
  expect(changed.code).toBe(6);
  expect(changed.stderr).toMatch(/settings\.learningRate = 0\.3/);

  const resumed = await commandLine(["train", "--resume", output, "--json"]);
  expect(resumed.stderr).not.toMatch(/^error|bug/m);
  expect(resumed.code).toBe(0);
  const result = JSON.parse(resumed.stdout);
  expect(result.run).toMatchObject({ task: "quickstart", method: "prompt-tuning", steps: 6, reason: "steps" });
  expect(result.where.data).toHaveLength(2);
  expect(result.cost.trainedParameters).toBe(20 * width);
  for (const file of [
    "config.yaml",
    "metrics.jsonl",
    "result.json",
    "predictions.jsonl",
    "report.html",
    "events.out.tfevents.softprompt",
    "adapter/adapter_model.safetensors",
  ])
    expect(existsSync(join(output, file)), file).toBe(true);
  const steps = readFileSync(join(output, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((l) => JSON.parse(l))
    .filter((e) => e.kind === "step");
  expect(steps.map((e) => e.step)).toEqual([1, 2, 3, 4, 5, 6]);

  const adapter = join(output, "adapter");
  const scored = JSON.parse(
    (
      await commandLine([
        "eval",
        "--model",
        "t5-nano",
        "--adapter",
        adapter,
        "--task",
        "quickstart",
        "--max-eval-rows",
        "8",
        "--json",
      ])
    ).stdout,
  );
  expect(scored.rows).toBe(8);
  expect(scored.scores.accuracy).toBeGreaterThanOrEqual(0);

  const answered = await commandLine(["predict", "A fine day.", "--model", "t5-nano", "--adapter", adapter]);
  const answer = JSON.parse(answered.stdout);
  expect(Object.keys(answer.probabilities)).toEqual(["negative", "positive"]);
  expect(answer.probabilities.negative + answer.probabilities.positive).toBeCloseTo(1, 6);
  const file = join(place, "rows.jsonl");
  writeFileSync(file, '{"text": "Good."}\n{"text": "Bad."}\n');
  const many = await commandLine(["predict", "--file", file, "--model", "t5-nano", "--adapter", adapter, "--quiet"]);
  expect(
    many.stdout
      .trim()
      .split("\n")
      .map((l) => JSON.parse(l).id),
  ).toEqual([`${file}:1`, `${file}:2`]);
  expect(many.stderr).toBe("");

  // the run's folder is enough: its adapter, the base model and the task are recorded
  const short = await commandLine(["predict", "A fine day.", "--adapter", output]);
  expect(JSON.parse(short.stdout)).toEqual(answer);
  const labelled = join(place, "labelled.csv");
  writeFileSync(labelled, "mood,text\npositive,Good.\nnegative,Bad.\npositive,Fine.\n");
  const one = JSON.parse((await commandLine(["eval", "--adapter", output, "--test", labelled, "--json"])).stdout);
  expect(one).toMatchObject({ task: "quickstart", split: "test", rows: 3 });
  expect(one.confusion.counts.flat().reduce((a: number, b: number) => a + b)).toBe(3);
  const unclear = await commandLine(["eval", "--adapter", output, "--test", file]);
  expect(unclear).toMatchObject({ code: 3, stderr: expect.stringMatching(/--label-column/) });
  // a split that was not given is not another one
  for (const split of ["test", "train"]) {
    const missing = await commandLine(["eval", "--adapter", output, "--validation", labelled, "--split", split]);
    expect(missing).toMatchObject({ code: 3, stderr: expect.stringMatching(new RegExp(`no ${split} rows`)) });
  }
  // the file is read as it is told, with the column of answers to be found; what is left out is counted
  const hats = join(place, "hats.csv");
  writeFileSync(hats, "mood^text\npositive^Good.\nnegative^Bad.\nnone^So.\npositive^Fine.^x\npositive^Well.\n");
  const told = ["eval", "--adapter", output, "--validation", hats, "--delimiter", "^", "--skip-bad-rows", "--json"];
  const kept = await commandLine(told);
  expect(kept.code, kept.stderr).toBe(0);
  expect(JSON.parse(kept.stdout)).toMatchObject({
    rows: 3,
    notices: [expect.stringMatching(/^2 bad rows were skipped: /)],
  });
  expect(kept.stderr).toMatch(/2 bad rows were skipped/);
  // a template of one's own keeps the adapter's label words, and is told of
  const other = await commandLine(["predict", "A fine day.", "--adapter", output, "--template", "film: {text}"]);
  expect(Object.keys(JSON.parse(other.stdout).probabilities)).toEqual(["negative", "positive"]);
  expect(other.stderr).toMatch(/another template/);
  const broken = join(place, "broken.jsonl");
  writeFileSync(broken, '{"text": "Good."}\n{"text": \n{"text": "Bad."}\n');
  const rest = await commandLine(["predict", "--file", broken, "--adapter", output, "--skip-bad-rows"]);
  expect(rest).toMatchObject({ code: 0, stderr: expect.stringMatching(/1 bad row was skipped: .*broken\.jsonl:2/) });
  expect(rest.stdout.trim().split("\n")).toHaveLength(2);
  const bare = await commandLine(["predict", "x", "--model", "t5-nano"]);
  expect(bare).toMatchObject({ code: 2, stderr: expect.stringMatching(/neither an adapter nor a task/) });

  const near = await commandLine(["predict", "x", "--adapter", `${output}n`]);
  expect(near).toMatchObject({ code: 5, stderr: expect.stringContaining(`did you mean ${output}?`) });

  rmSync(join(output, "report.html"));
  expect((await commandLine(["report", output])).code).toBe(0);
  expect(readFileSync(join(output, "report.html"), "utf8")).toContain("quickstart: prompt-tuning");
});

test("a finished run goes on to more steps, to the same prompt as one that was begun for them; and is pruned without being tuned again", {
  timeout: 300_000,
}, async () => {
  const argv = ["train", ...tiny, "--virtual-tokens", "4", "--eval-every", "2", "--quiet"];
  const [short, long, falling] = ["short", "long", "falling"].map((name) => join(place, name)) as [
    string,
    string,
    string,
  ];
  for (const [steps, output] of [
    ["2", short],
    ["4", long],
  ] as const)
    expect(await commandLine([...argv, "--steps", steps, "--output", output])).toMatchObject({ code: 0 });
  expect(await commandLine(["train", "--resume", short, "--steps", "4", "--quiet"])).toMatchObject({ code: 0 });
  const weights = (run: string) => readFileSync(join(run, "adapter/adapter_model.safetensors"));
  expect(weights(short).equals(weights(long))).toBe(true);
  expect(readFileSync(join(short, "config.yaml"), "utf8")).toMatch(/^steps: 4$/m);
  expect(await commandLine(["train", "--resume", short, "--quiet"])).toMatchObject({ code: 0 });

  const elsewhere = await commandLine(["train", "--resume", short, "--output", join(place, "elsewhere")]);
  expect(elsewhere).toMatchObject({ code: 2, stderr: expect.stringMatching(/stays in its folder/) });
  const back = await commandLine(["train", "--resume", short, "--steps", "3"]);
  expect(back).toMatchObject({ code: 6, stderr: expect.stringMatching(/more than 4 steps/) });
  const linear = [...argv, "--steps", "2", "--learning-rate-schedule", "linear", "--output", falling];
  expect((await commandLine(linear)).code).toBe(0);
  const inexact = await commandLine(["train", "--resume", falling, "--steps", "4"]);
  expect(inexact).toMatchObject({ code: 6, stderr: expect.stringMatching(/learning rate falls.*--init-from/s) });

  // a growing run's steps are those of all its stages
  const grown = join(place, "grown");
  const growing = [...argv, "--schedule", "fpt-ld", "--neuron-choice", "first", "--steps", "10", "--output", grown];
  expect((await commandLine(growing)).code).toBe(0);
  expect(await commandLine(["train", "--resume", grown, "--steps", "10", "--quiet"])).toMatchObject({ code: 0 });
  const further = await commandLine(["train", "--resume", grown, "--steps", "20"]);
  expect(further).toMatchObject({ code: 6, stderr: expect.stringMatching(/several stages.*expected: 10 steps/s) });

  const pruned = join(place, "pruned");
  const prune = [
    "prune",
    "--from",
    // the adapter of a run stands for the run, also under a path that does not end with its name
    `${join(short, "adapter")}/.`,
    "--output",
    pruned,
    "--level",
    "tokens",
    "--tokens-pruned",
    "1",
    "--retrain-steps",
    "2",
  ];
  const found = await commandLine([...prune, "--importance-rows", "8", "--workers", "1", "--json"]);
  expect(found.code, found.stderr).toBe(0);
  expect(existsSync(join(pruned, "tune"))).toBe(false);
  const tuned = JSON.parse(readFileSync(join(short, "result.json"), "utf8"));
  const { search } = JSON.parse(found.stdout);
  // what the run spent is counted, though it was not spent again
  expect(search.cost.tuning).toBeGreaterThanOrEqual(tuned.cost.trainFlops);
  expect(await commandLine(["prune", "--from", place])).toMatchObject({
    code: 6,
    stderr: expect.stringContaining("there is no run here whose prompt could be pruned"),
  });
  const wrong = await commandLine(["train", "--resume", pruned]);
  expect(wrong).toMatchObject({ code: 6, stderr: expect.stringMatching(/holds a search, not a run.*prune --resume/s) });
  const held = await commandLine([...prune, "--output", join(place, "held"), "--holdout", "0.5"]);
  expect(held).toMatchObject({ code: 6, stderr: expect.stringMatching(/held out/) });
});

const built = existsSync(join(root, "dist/cli/main.js"));
test.skipIf(!built)(
  "a real process: SIGINT finishes the step, saves, says how to resume, exits with 130 (needs npm run build)",
  async () => {
    const output = join(place, "signalled");
    const child = spawn(
      process.execPath,
      [join(root, "dist/cli/main.js"), "train", ...tiny, "--steps", "5000", "--eval-every", "5000", "--output", output],
      { cwd: place },
    );
    let [out, err, sent] = ["", "", false];
    child.stdout.on("data", (d) => {
      out += d;
    });
    child.stderr.on("data", (d) => {
      err += d;
      if (!sent && /step 1\//.test(err)) sent = child.kill("SIGINT"); // once: the second one would end it at once
    });
    const code = await new Promise((done) => child.on("close", done));
    expect(err).toContain("finishing this step and saving");
    expect(out).toContain(`--resume ${output}`);
    expect(code).toBe(130);
  },
);

test.skipIf(!built)(
  "doctor names every device with why it does not start, and nothing of a driver reaches the terminal (needs npm run build)",
  async () => {
    const child = spawn(process.execPath, [join(root, "dist/cli/main.js"), "doctor", "--json"], { cwd: place });
    let [out, err] = ["", ""];
    child.stdout.on("data", (d) => {
      out += d;
    });
    child.stderr.on("data", (d) => {
      err += d;
    });
    expect(await new Promise((done) => child.on("close", done))).toBe(0);
    expect(err).toBe("");
    const { findings } = JSON.parse(out) as { findings: { what: string; found: string }[] };
    const engine = findings.find(({ what }) => what === "ONNX Runtime")!.found;
    expect(engine).toMatch(/devices: .*cpu/);
    expect(engine).not.toMatch(/ended with code|undefined/);
    // where there is no card, it says what would be needed
    if (/does not start: webgpu/.test(engine)) expect(engine).toMatch(/it needs a graphics card with its driver/);
  },
);

test("a study is not written over files that are no study's", async () => {
  const own = mkdtempSync(join(tmpdir(), "own-"));
  writeFileSync(join(own, "result.json"), "mine");
  const refused = await commandLine(["study", "masking", "--model", "none", "--tasks", "a=none", "--output", own]);
  expect(refused.code).toBe(6);
  expect(refused.stderr).toMatch(/something else than a study[\s\S]*result\.json/);
  expect(readFileSync(join(own, "result.json"), "utf8")).toBe("mine");
  rmSync(own, { recursive: true, force: true });
});

test("a report is replaced by one that holds all of it; one of other settings is kept, and the command says where", {
  timeout: 120_000,
}, async () => {
  const output = mkdtempSync(join(tmpdir(), "reports-"));
  const asked = async (...more: string[]) => {
    const rows = ["--few-shot", "4", "--max-eval-rows", "2", "--model", "t5-nano", "--tasks", "quickstart="];
    const { code, stdout, stderr } = await commandLine([
      ...["compare", "--output", output, "--json", "--quiet", ...rows, ...more],
    ]);
    expect(code, stderr).toBe(0);
    return { earlier: (JSON.parse(stdout) as { earlier: string | null }).earlier, stderr };
  };
  const one = ["--methods", "instruction", "--seeds", "0"];
  const two = ["--methods", "instruction,few-shot", "--seeds", "0,1"];
  const report = () => readFileSync(join(output, "result.json"), "utf8");
  expect(await asked(...one)).toEqual({ earlier: null, stderr: "" });
  // the same again, and with a method and a seed more: nothing is lost
  expect(await asked(...one)).toEqual({ earlier: null, stderr: "" });
  expect(await asked(...two)).toEqual({ earlier: null, stderr: "" });
  const wide = report();
  for (const [more, folder, said] of [
    [[...two, "--shots", "1"], "earlier-1", /of other settings \(.*shots.*\): it is kept in .*earlier-1/],
    [one, "earlier-2", /is of other settings \(.*seeds, methods, shots\).*earlier-2/],
  ] as const) {
    const found = await asked(...more);
    expect(found.earlier).toBe(join(output, folder));
    expect(found.stderr).toMatch(said);
  }
  expect(readFileSync(join(output, "earlier-1", "result.json"), "utf8")).toBe(wide);
  // rows were edited meanwhile: the settings are the same, a score is not
  const other = report().replace(/"score": [\d.]+/, '"score": 12.5');
  writeFileSync(join(output, "result.json"), other);
  const edited = await asked(...one);
  expect(edited.stderr).toMatch(/has scores that are not in the new one, as instruction on quickstart, seed 0/);
  expect(readFileSync(join(edited.earlier!, "result.json"), "utf8")).toBe(other);
  writeFileSync(join(output, "result.json"), "{");
  expect((await asked(...one)).stderr).toMatch(/cannot be read any more: it is kept in .*earlier-4/);
  expect(readdirSync(join(output, "earlier-1")).sort()).toEqual([
    ...["config.yaml", "report.html", "result.json", "result.md"],
  ]);
  rmSync(output, { recursive: true, force: true });
});

test("a study's folder has one process at a time: a second command says whose it is; a dead process holds nothing", {
  timeout: 120_000,
}, async () => {
  const output = mkdtempSync(join(tmpdir(), "owned-"));
  const held = (pid: number) =>
    writeFileSync(join(output, `.lock-${pid}-00000000.json`), JSON.stringify({ pid, host: hostname() }));
  const few = ["--few-shot", "4", "--max-eval-rows", "2", "--methods", "instruction", "--seeds", "0"];
  const asked = () =>
    commandLine(["compare", "--model", "t5-nano", "--tasks", "quickstart=", "--output", output, ...few]);
  held(process.ppid);
  const refused = await asked();
  expect(refused.code).toBe(6);
  expect(refused.stderr).toContain(`process ${process.ppid} on ${hostname()}`);
  expect(refused.stderr).toMatch(/wait for it or stop it/);
  expect(readdirSync(output)).toEqual([`.lock-${process.ppid}-00000000.json`]);
  rmSync(join(output, `.lock-${process.ppid}-00000000.json`));
  const ended = spawnSync(process.execPath, ["-e", ""]);
  held(ended.pid);
  expect(await asked()).toMatchObject({ code: 0 });
  expect(readdirSync(output).filter((name) => name.startsWith("."))).toEqual([]);
  rmSync(output, { recursive: true, force: true });
});
