/** @file Inputs of predict from its argument and standard input are read as the rows of files are; answers as lines and as tables. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "csv-parse/sync";
import { expect, test } from "vitest";
import { commandLine } from "../../../test/helpers/command-line.js";
import { SoftpromptError } from "../../base/errors.js";
import { parseTable } from "../../data/table.js";
import { type AskedInput, answerLines, formatOf } from "../answers.js";
import { fromText } from "./predict.js";

test.each(["auto", "jsonl"] as const)(
  "numbers that JavaScript cannot hold stay as they are written (%s)",
  async (lines) => {
    const line = '{"id": 9007199254740993, "text": "fine", "stars": 5, "weight": 0.25}';
    const input = fromText(line, { lines, fields: ["text"] }, "stdin:1");
    expect(input).toEqual({ id: "9007199254740993", text: "fine", stars: 5, weight: 0.25 });
    const { rows } = await parseTable(Buffer.from(line), "jsonl", "rows.jsonl");
    expect({ ...rows[0]!.fields }).toEqual(input);
  },
);

test("a stopped prediction says how many answers were written, and that their file stays", async () => {
  const place = mkdtempSync(join(tmpdir(), "softprompt-stopped-"));
  const [file, output] = [join(place, "rows.jsonl"), join(place, "answers.jsonl")];
  // a notice is said of the second batch, whose first row has no text
  const texts = Array.from({ length: 200 }, (_, n) => (n === 32 ? "long ".repeat(600) : `text ${n}`));
  writeFileSync(file, texts.map((text) => `${JSON.stringify({ text })}\n`).join(""));
  try {
    const task = ["--model", "t5-nano", "--task", "quickstart", "--file", file];
    for (const more of [[], ["--output", output]]) {
      const stop = new AbortController();
      const { code, stdout, stderr } = await commandLine(["predict", ...task, ...more], {
        signal: stop.signal,
        onError: (text) => text.includes("notice") && stop.abort("SIGINT"),
      });
      expect(code, stderr).toBe(130);
      const lines = (more.length === 0 ? stdout : readFileSync(output, "utf8")).trim().split("\n");
      expect(lines).toHaveLength(32);
      const said =
        more.length === 0 ? "32 answers were written before" : `${output} stays, with 32 answers: it is not complete`;
      expect(stderr).toContain(`hint: ${said}`);
    }
  } finally {
    rmSync(place, { recursive: true });
  }
});

const scratch = (use: (place: string) => Promise<void>) => async () => {
  const place = mkdtempSync(join(tmpdir(), "softprompt-answers-"));
  try {
    await use(place);
  } finally {
    rmSync(place, { recursive: true });
  }
};
const quickstart = ["predict", "--model", "t5-nano", "--task", "quickstart", "--max-input-tokens", "64"];

test.each(["csv", "tsv"])(
  "the ending .%s of the output: the input's columns, then the answer's, as the JSON lines have it",
  (ending) =>
    scratch(async (place) => {
      const [file, output] = [join(place, "rows.csv"), join(place, `answers.${ending}`)];
      const texts = ['He said "no", twice', "tab\there", "two\nlines", "plain"];
      const quoted = texts.map((text, n) => `${n},"${text.replaceAll('"', '""')}",x`);
      writeFileSync(file, `n,text,more\n${quoted.join("\n")}\n`);
      const json = await commandLine([...quickstart, "--file", file]);
      expect(json.code, json.stderr).toBe(0);
      const lines = json.stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
      const { code, stderr, stdout } = await commandLine([...quickstart, "--file", file, "--output", output]);
      expect([code, stdout], stderr).toEqual([0, ""]);
      const rows: string[][] = parse(readFileSync(output, "utf8"), { delimiter: ending === "csv" ? "," : "\t" });
      expect(rows[0]).toEqual(["n", "text", "more", "answer_label", "answer_text", "answer_probability"]);
      expect(rows.slice(1)).toEqual(
        lines.map(({ label, text, probabilities }, n) => [
          ...[String(n), texts[n], "x", label, text],
          String(Math.max(...Object.values<number>(probabilities))),
        ]),
      );
      const { rows: again } = await parseTable(readFileSync(output), ending as "csv", "answers");
      expect(again.map(({ fields }) => fields.text)).toEqual(texts);
    })(),
);

test(
  "a table on standard output is refused beside --json, and columns that would be there twice",
  scratch(async (place) => {
    const both = await commandLine([...quickstart, "fine", "--output-format", "csv", "--json"]);
    expect([both.code, JSON.parse(both.stdout).error.where]).toEqual([2, "--output-format"]);
    const file = join(place, "rows.csv");
    writeFileSync(file, "text,answer_label\nfine,positive\n");
    const twice = await commandLine([...quickstart, "--file", file, "--output-format", "csv"]);
    expect(twice).toMatchObject({
      code: 3,
      stdout: "",
      stderr: expect.stringMatching(/got: "answer_label"[\s\S]*NAME=PLACE/),
    });
  }),
);

test("several adapters stand in one row; columns of any row, values that are none, errors", () => {
  const form = { format: formatOf("a.CSV"), adapters: ["spam", null], withheld: true, errors: true } as const;
  const lines = answerLines(form);
  const asked = (input: AskedInput["input"], columns?: readonly string[]): AskedInput => ({
    ...{ id: "f:1", where: "f:1", column: "text", input },
    ...(columns && { columns }),
  });
  const none = { label: null, text: "", probabilities: null };
  const yes = { label: "y", text: "yes", probabilities: { y: 0.75, n: 0.25 } };
  const unsure = { ...none, probabilities: { y: 0.4, n: 0.6 }, withheld: "n" };
  const error = new SoftpromptError("data", "this line is blank", { where: "f:1" });
  // what is no input names no columns, so it waits for one that does
  expect(
    lines.of(asked(error), [
      { ...none, error },
      { ...none, error },
    ]),
  ).toEqual([]);
  const columns = ["b", "a"];
  const own = ["label", "text", "probability", "withheld", "error"];
  expect(lines.of(asked({ a: { list: [1, null] }, b: 7n }, columns), [yes, unsure])).toEqual([
    ["b", "a", ...own.map((name) => `spam_${name}`), ...own.map((name) => `answer_${name}`)].join(","),
    ",,,,,,f:1: this line is blank,,,,,f:1: this line is blank",
    '7,"{""list"":[1,null]}",y,yes,0.75,,,,,0.6,n,',
  ]);
  expect(lines.of(asked({ a: true, b: null }), [{ ...none, text: "free" }, yes])).toEqual([
    ",true,,free,,,,y,yes,0.75,,",
  ]);
  // the names of its columns may be what is wrong with an input that cannot be used
  const bad = { ...none, error };
  expect(lines.of(asked({ c: 1, a: 2 }), [bad, bad])).toEqual([
    ",2,,,,,f:1: this line is blank,,,,,f:1: this line is blank",
  ]);
  const first = answerLines({ ...form, adapters: [null], withheld: false });
  expect(first.of(asked({ c: 1 }), [bad])).toEqual([]);
  expect(first.of(asked({ a: 2 }), [yes])[0]).toBe("a,answer_label,answer_text,answer_probability,answer_error");
  expect(() => lines.of(asked({ c: 1 }), [yes, yes])).toThrow(/f:1: this input has a column[\s\S]*got: "c"/);
  const alone = answerLines({ ...form, adapters: [null], withheld: false });
  expect(alone.of(asked(error), [{ ...none, error }])).toEqual([]);
  expect(alone.end()).toEqual([
    "text,answer_label,answer_text,answer_probability,answer_error",
    ",,,,f:1: this line is blank",
  ]);
});

test(
  "answers below --min-probability are withheld: no label, and the one that it would have been beside it",
  scratch(async (place) => {
    const file = join(place, "rows.jsonl");
    writeFileSync(
      file,
      ["fine", "bad", "a dull film", "great"].map((text) => `${JSON.stringify({ text })}\n`).join(""),
    );
    const argv = [...quickstart, "--file", file];
    const all = (await commandLine(argv)).stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const top = all.map(({ probabilities }) => Math.max(...Object.values<number>(probabilities)));
    const limit = [...top].sort((a, b) => a - b)[2]!;
    const { code, stdout, stderr } = await commandLine([...argv, "--min-probability", String(limit)]);
    expect(code, stderr).toBe(0);
    const kept = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    for (const [n, line] of kept.entries()) {
      const { label, text, ...rest } = all[n];
      expect(line).toEqual(top[n]! >= limit ? all[n] : { ...rest, label: null, text: "", withheld: label });
    }
    expect(kept.filter(({ label }) => label === null)).toHaveLength(2);
    expect(stderr).toContain(`2 of 4 answers are less probable than ${limit} and are withheld`);
    const written = await commandLine([...argv, "--min-probability", "0.8", "--evaluate-by", "generation"]);
    expect(written).toMatchObject({
      code: 2,
      stdout: "",
      stderr: expect.stringContaining("written answers have no probability"),
    });
    const free = ["predict", "fine", "--model", "t5-nano", "--template", "{text}", "--max-target-tokens", "2"];
    expect(await commandLine([...free, "--min-probability", "0.8"])).toMatchObject({ code: 2, stdout: "" });
  }),
);

test(
  "a row that cannot be used ends the command: how many answers are in the file, and how to go on",
  scratch(async (place) => {
    const [file, output] = [join(place, "rows.jsonl"), join(place, "answers.jsonl")];
    const rows = Array.from({ length: 40 }, (_, n) => (n === 35 ? { other: n } : { text: `text ${n}` }));
    writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    const { code, stderr } = await commandLine([...quickstart, "--file", file, "--output", output]);
    expect(code).toBe(3);
    expect(stderr).toContain(`${file}:36`);
    expect(stderr).toContain(`${output} has the answers of 35 inputs before, and is not complete`);
    expect(stderr).toContain("--skip-bad-rows");
    expect(readFileSync(output, "utf8").trim().split("\n")).toHaveLength(35);
    const first = await commandLine([...quickstart, "--lines", "jsonl", '{"other": 1}']);
    expect(first.stderr).not.toContain("not complete");
  }),
);

test(
  "rows without text are told once, however many each batch has",
  scratch(async (place) => {
    const file = join(place, "rows.jsonl");
    const blank = new Set([3, 33, 34, 65, 66, 67]);
    const rows = Array.from({ length: 96 }, (_, n) => ({ text: blank.has(n) ? "" : `text ${n}` }));
    writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    const { code, stderr } = await commandLine([...quickstart, "--file", file]);
    expect(code, stderr).toBe(0);
    expect(stderr.match(/no text in text/g)).toHaveLength(1);
  }),
);
