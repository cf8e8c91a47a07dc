/**
 * @file Data as users have them, by the command line: what is shown, said and refused. The files of public bug reports
 * (../shared/inputs) are tried too where they lie.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { commandLine } from "./helpers/command-line.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const place = mkdtempSync(join(tmpdir(), "softprompt-data-cli-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));
const write = (name: string, content: string | Uint8Array) => {
  const path = join(place, name);
  writeFileSync(path, content);
  return path;
};

const softprompt = (argv: readonly string[], signal?: AbortSignal) =>
  commandLine(argv, { columns: 80, ...(signal && { signal }) });
const show = (train: string, ...more: string[]) =>
  softprompt(["show", "--train", train, "--template", "{text}", "--label-column", "label", ...more]);

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const control = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/;

test("control characters in cells, labels and column names never reach the terminal", async () => {
  const esc = "\x1b[2J\x1b]0;t\x07\x1b[31m\u202e\x9b";
  const cells = (name: string) => write(name, `text,label,${esc}\n${esc}a,x${esc},1\nb,y,2\nc,x${esc},3\nd,y,4\n`);
  for (const argv of [
    ["show", "--train", cells("a.csv"), "--template", "{text}", "--label-column", "label"],
    ["show", "--train", cells("a.csv"), "--template", "{txt}", "--label-column", "label"],
    ["show", "--train", cells("a.csv"), "--template", "{text}", "--label-column", "labl"],
    [
      "show",
      "--train",
      cells("a.csv"),
      "--template",
      "{text}",
      "--label-column",
      "label",
      "--verbalizer",
      "x=1",
      "--verbalizer",
      "y=2",
    ],
    ["eval", "--model", "t5-nano", "--train", cells("a.csv"), "--template", "{text}", "--label-column", "label"],
    ["show", esc, "--nearest"],
  ]) {
    const { stdout, stderr } = await softprompt(argv);
    expect(`${stdout}${stderr}`).not.toMatch(control);
    expect(`${stdout}${stderr}`).toContain("\\u001b[2J");
    const json = await softprompt([...argv, "--json"]);
    if (json.code === 0) expect(JSON.stringify(JSON.parse(json.stdout))).toContain("u001b[2J");
  }
});

test("notices are said by every command that loads data, and are part of its JSON", async () => {
  const rows = `text,label\n${Array.from({ length: 12 }, (_, i) => `t ${i},${i % 2 ? "a" : "b"}`).join("\n")}\n`;
  const train = write("leak.csv", rows);
  const leak = /12 of 12 validation rows have an input that also stands in the training rows/;
  const own = ["--train", train, "--validation", train, "--template", "{text}", "--label-column", "label"];
  const tasks = write("leak.yaml", `train: ${train}\nvalidation: ${train}\ntemplate: "{text}"\nlabelColumn: label\n`);
  const quick = ["--model", "t5-nano", "--virtual-tokens", "2", "--steps", "1", "--output"];
  for (const argv of [
    ["show", ...own],
    ["eval", "--model", "t5-nano", ...own],
    ["train", ...own, ...quick, join(place, "run")],
    [
      "prune",
      ...own,
      ...quick,
      join(place, "search"),
      "--retrain-steps",
      "1",
      "--tokens-pruned",
      "1",
      "--pieces-pruned",
      "1",
    ],
    ["compare", "--tasks", `leak=${tasks}`, "--seeds", "0", ...quick, join(place, "study")],
  ]) {
    const { code, stdout, stderr } = await softprompt([...argv, "--json"]);
    expect([argv[0], code, code === 0 ? "" : stderr + stdout]).toEqual([argv[0], 0, ""]);
    expect(stderr).toMatch(leak);
    expect(JSON.parse(stdout).notices.join("\n")).toMatch(leak);
  }
}, 120_000);

test("labels are counted by name, whatever the name; long ones are cut to the terminal", async () => {
  const long = "l".repeat(500);
  const labels = ["constructor", "__proto__", "toString", long, ...Array.from({ length: 60 }, (_, i) => `label ${i}`)];
  const file = write(
    "names.csv",
    `text,label\n${labels
      .map((l, i) => `t${i},${l}\n`)
      .join("")
      .repeat(2)}`,
  );
  const { stdout } = await show(file, "--validation", file, "--examples", "0");
  for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
  expect(stdout).toMatch(/and \d+ more/);
  const json = JSON.parse((await show(file, "--validation", file, "--json")).stdout);
  const counts = new Map(Object.entries(json.splits[0].labels));
  for (const label of labels) expect(counts.get(label)).toBe(2);
});

test("a row that is cut is shown as the model reads it", async () => {
  const file = write("long.csv", `text,label\n${"good film and then some ".repeat(20)},a\nbad film,b\n`);
  const settings = ["--model", "t5-nano", "--template", "review: {text} verdict:", "--label-column", "label"];
  const long = ["show", "--train", file, "--validation", file, ...settings, "--max-input-tokens", "16"];
  const { stdout } = await softprompt(long);
  expect(stdout).toMatch(
    /long\.csv:2 {2}\(the model reads this, \d+ tokens are cut\)\n {2}review: good film .{0,60} verdict:\n/,
  );
  expect(stdout).toMatch(/long\.csv:3\n {2}review: bad film verdict:\n/);
  const [cut, whole] = JSON.parse((await softprompt([...long, "--json"])).stdout).splits[0].examples;
  expect(cut.read.length).toBeLessThan(80);
  expect(cut.input.length).toBeGreaterThan(400);
  expect(cut.tokensCut).toBeGreaterThan(50);
  expect(whole.read).toBeUndefined();
});

test("a task whose rows bring their own answers is ranked, not free text", async () => {
  const record = (i: number) =>
    JSON.stringify({ premise: `p${i}`, choice1: "a", choice2: "b", question: "cause", label: i % 2, idx: i });
  write("train.jsonl", Array.from({ length: 30 }, (_, i) => record(i)).join("\n"));
  const { stdout } = await softprompt(["show", "--task", "copa", "--format", "openprompt", "--data", place]);
  expect(stdout).toMatch(/verbalizer {2}none: every row has its own answers/);
});

test("reading stops at a signal", async () => {
  const rows = `text,label\n${Array.from({ length: 20_000 }, (_, i) => `t ${i},${i % 2 ? "a" : "b"}`).join("\n")}`;
  for (const [name, content] of [
    ["many.csv", rows],
    [
      "many.jsonl",
      rows
        .split("\n")
        .slice(1)
        .map((l) => JSON.stringify({ text: l, label: l.slice(-1) }))
        .join("\n"),
    ],
  ] as const) {
    const abort = new AbortController();
    const train = write(name, content);
    const stopped = softprompt(
      ["show", "--train", train, "--template", "{text}", "--label-column", "label"],
      abort.signal,
    );
    abort.abort("SIGINT");
    const { code, stdout, stderr } = await stopped;
    expect([code, stdout]).toEqual([130, ""]);
    expect(stderr).toMatch(/stopped/);
  }
});

test("a verbalizer in YAML is taken as it is written", async () => {
  write("yn.csv", "text,label\na,no\nb,yes\nc,no\nd,yes\n");
  for (const [text, words] of [
    ["{ no: False, yes: True }", { no: "False", yes: "True" }],
    ["{ no: 0.0, yes: 1.0 }", { no: "0.0", yes: "1.0" }],
    ["{ no: 007, yes: 1e3 }", { no: "007", yes: "1e3" }],
    ['{ "no": false, "yes": "true" }', { no: "false", yes: "true" }],
  ] as const) {
    const config = write(
      "run.yaml",
      `train: ${join(place, "yn.csv")}\ntemplate: "{text}"\nlabelColumn: label\nverbalizer: ${text}\nvalidationShare: 0.5\n`,
    );
    const { stdout, stderr } = await softprompt(["show", "--config", config, "--json"]);
    expect([JSON.parse(stdout).task?.verbalizer, stderr.includes("error")]).toEqual([words, false]);
  }
  write("odd.csv", "text,label\na,1\nb,true\nc,__proto__\n");
  const config = write(
    "keys.yaml",
    `train: ${join(place, "odd.csv")}\ntemplate: "{text}"\nlabelColumn: label\nverbalizer: { 1.0: good, True: fine, __proto__: odd }\n`,
  );
  const { stdout } = await softprompt(["show", "--config", config, "--validation", join(place, "odd.csv"), "--json"]);
  const answer = JSON.parse(stdout);
  expect(Object.entries(answer.task.verbalizer)).toEqual([
    ["1.0", "good"],
    ["True", "fine"],
    ["__proto__", "odd"],
  ]);
  expect(Object.entries(answer.splits[0].labels)).toEqual([
    ["1.0", 1],
    ["True", 1],
    ["__proto__", 1],
  ]);
});

test("the separator and the quotes can be said", async () => {
  const file = write("odd.csv", "text~label\na, b~x\nc~y\nd~x\n");
  expect((await show(file)).code).not.toBe(0);
  const { stdout } = await show(file, "--delimiter", "~", "--json");
  expect(JSON.parse(stdout).task.verbalizer).toEqual({ x: "x", y: "y" });
  const quoted = write("q.csv", 'text,label\n"a",x\nb,y\n');
  const texts = async (...flags: string[]) =>
    JSON.parse((await show(quoted, "--json", "--validation-share", "0.5", ...flags)).stdout)
      .splits.flatMap((s: { examples: { input: string }[] }) => s.examples.map((e) => e.input))
      .sort();
  expect(await texts()).toEqual(["a", "b"]);
  expect(await texts("--no-quotes")).toEqual(['"a"', "b"]);
  expect((await show(quoted, "--delimiter", "ab")).stderr).toMatch(/no separator of fields/);
});

const inputs = join(root, "../shared/inputs");
describe.skipIf(!existsSync(inputs))("files of public bug reports (../shared/inputs)", () => {
  const folder = (number: string) => join(inputs, readdirSync(inputs).find((name) => name.startsWith(`${number}-`))!);
  const shown = async (number: string, file: string, ...more: string[]) => {
    const { code, stdout, stderr } = await show(
      join(folder(number), file),
      ...["--validation-share", "0.4", "--examples", "99", "--json", ...more],
    );
    const answer = JSON.parse(stdout);
    if (code !== 0) return { code, said: stdout };
    const rows = answer.splits.flatMap((s: { examples: unknown[] }) => s.examples) as Record<string, string>[];
    rows.sort((a, b) => a.id!.localeCompare(b.id!, "en", { numeric: true }));
    return { code, said: stderr, rows, verbalizer: answer.task.verbalizer };
  };
  const texts = async (number: string, file: string) => (await shown(number, file)).rows!.map((r) => r.input);
  const ids = async (number: string, file: string) => (await shown(number, file)).rows!.map((r) => r.id);

  test("23 to 26: joined files, separators, quotes, lines", async () => {
    expect((await shown("23", "joined.jsonl")).said).toMatch(/byte order mark stands before line 4/);
    for (const file of ["semi.csv", "quote.csv", "comma.csv"])
      expect((await shown("24", file)).said).toMatch(/separated by ;/);
    expect((await texts("25", "pandas.tsv"))[0]).toBe('he said "good"');
    expect(await ids("26", "rows.csv")).toEqual(["rows.csv:2", "rows.csv:5", "rows.csv:6"]);
    expect((await shown("26", "bad.csv")).said).toMatch(/bad\.csv:7/);
    expect((await shown("26b", "open.csv")).said).toMatch(/open\.csv:3/);
  });
  test("27 to 30c: NaN, labels, parquet", async () => {
    for (const file of ["nan.jsonl", "inf.jsonl"])
      expect((await shown("27", file)).said).toMatch(/NaN and Infinity are no JSON/);
    const float = await shown("28", "float.csv", "--verbalizer", "0=bad", "--verbalizer", "1=good");
    expect(float.rows!.map((r) => r.label)).toEqual(["1", "0", "1"]);
    expect((await shown("28", "missing.csv")).said).toMatch(/column label is missing.*missing\.csv:4/);
    for (const file of ["zstd.parquet", "lz4.parquet"])
      expect(await texts("30", file)).toEqual(["good", "bad", "fine", "ok"]);
    expect(Object.keys((await shown("30c", "date.parquet")).verbalizer)).toEqual(["1969-12-31", "2024-01-02"]);
  });
  test("48 to 72: numbers, line ends, names, index columns, one class, look-alikes", async () => {
    expect(Object.keys((await shown("48", "ids.jsonl")).verbalizer).length).toBe(4);
    expect(await ids("49", "rows.csv")).toEqual(["rows.csv:2", "rows.csv:3", "rows.csv:4"]);
    for (const text of await texts("49", "rows.csv")) expect(text).not.toContain("\r");
    expect(Object.keys((await shown("52", "rows.csv")).verbalizer)).toEqual(["constructor", "method"]);
    expect((await shown("56", "frame.csv")).said).toMatch(/column 1 has no name and is left out/);
    expect((await shown("71", "one.csv")).said).toMatch(/holds only one value/);
    expect((await shown("71", "header.csv")).said).toMatch(/no usable row/);
    expect((await shown("71", "empty.jsonl")).said).toMatch(/this file is empty/);
    expect((await shown("72", "labels.csv")).said).toMatch(/look the same.*U\+200B/);
  });
});
