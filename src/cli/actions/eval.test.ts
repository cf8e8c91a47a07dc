/** @file softprompt eval says how far it is, and which rows its baseline is of; one labelled file can be scored alone. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, expect, test, vi } from "vitest";
import { commandLine } from "../../../test/helpers/command-line.js";

afterEach(() => vi.restoreAllMocks());

test("a long evaluation says how many rows are scored, on stderr", async () => {
  // a clock by which each look is four seconds later
  let time = 0;
  vi.spyOn(performance, "now").mockImplementation(() => {
    time += 4000;
    return time;
  });
  const rows = ["--max-eval-rows", "8", "--batch-size", "1"];
  const { code, stdout, stderr } = await commandLine([
    ...["eval", "--model", "t5-nano", "--task", "quickstart", ...rows, "--json"],
  ]);
  expect(code, stderr).toBe(0);
  expect(JSON.parse(stdout).rows).toBe(8);
  expect(stderr).toMatch(/^scoring rows [1-7]\/8 · \d/m);
});

const place = mkdtempSync(join(tmpdir(), "softprompt-eval-"));
afterAll(() => rmSync(place, { recursive: true }));
const tickets = join(place, "tickets.csv");
writeFileSync(tickets, "Text,Team,Answer\npaid twice,billing,a\ncrashes,bug,b\ncharged,billing,c\n");

test.each(["validation", "test"])("a frozen model is scored on one labelled file, as --%s", async (split) => {
  const argv = [
    "eval",
    "--model",
    "t5-nano",
    `--${split}`,
    tickets,
    "--split",
    split,
    "--template",
    "{Text}",
    "--quiet",
  ];
  const plain = await commandLine([...argv, "--label-column", "Team"]);
  expect(plain.code, plain.stderr).toBe(0);
  expect(plain.stdout).toMatch(/^tickets, 3 \w+ rows +score +majority class \(of these rows\)\naccuracy +\S+ +66\.7$/m);
  const words = ["--verbalizer", "billing=money", "--verbalizer", "bug=error"];
  const said = await commandLine([...argv, ...words, "--json"]);
  expect(JSON.parse(said.stdout)).toMatchObject({
    split,
    rows: 3,
    majority: { accuracy: 2 / 3 },
    majorityOf: "scored rows",
    confusion: { labels: ["billing", "bug"] },
  });
});

test("written texts have no most frequent answer without training rows", async () => {
  const own = ["--template", "{Text}", "--target-column", "Answer", "--max-target-tokens", "2"];
  const argv = ["eval", "--model", "t5-nano", "--validation", tickets, ...own, "--quiet"];
  expect((await commandLine(argv)).stdout).toMatch(/^exactMatch +\S+ +–$/m);
  expect(JSON.parse((await commandLine([...argv, "--json"])).stdout)).toMatchObject({
    majority: null,
    majorityOf: null,
  });
  const beside = await commandLine([...argv, "--train", tickets, "--json"]);
  expect(JSON.parse(beside.stdout)).toMatchObject({ majority: { exactMatch: 1 / 3 }, majorityOf: "training rows" });
});

test("one file without anything that says how its texts are put", async () => {
  const { code, stderr } = await commandLine(["eval", "--model", "t5-nano", "--validation", tickets]);
  expect(code).toBe(2);
  expect(stderr).toMatch(/nothing says how the texts are put[\s\S]*--template/);
});

test("each label's precision, recall, F1 and support; coverage; and the answers beside the true labels", async () => {
  const predictions = join(place, "predictions.jsonl");
  const own = [
    "--template",
    "{Text}",
    "--label-column",
    "Team",
    "--verbalizer",
    "billing=money",
    "--verbalizer",
    "bug=error",
  ];
  const argv = ["eval", "--model", "t5-nano", "--test", tickets, ...own, "--min-probability", "0.6", "--quiet"];
  const { stdout, code, stderr } = await commandLine([...argv, "--json", "--predictions", predictions]);
  expect(code, stderr).toBe(0);
  const { labels, selective, scores } = JSON.parse(stdout);
  const lines = readFileSync(predictions, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(lines.map(({ trueLabel }) => trueLabel)).toEqual(["billing", "bug", "billing"]);
  expect(lines.filter(({ correct }) => correct).length / 3).toBeCloseTo(scores.accuracy, 12);
  const of = (is: (line: { label: string; trueLabel: string }) => boolean) => lines.filter(is).length;
  for (const { label, support, predicted, precision, recall } of labels) {
    expect([support, predicted]).toEqual([of((line) => line.trueLabel === label), of((line) => line.label === label)]);
    const both = of((line) => line.trueLabel === label && line.label === label);
    expect([precision, recall]).toEqual([predicted === 0 ? null : both / predicted, both / support]);
  }
  const sure = lines.filter(({ probabilities, label }) => probabilities[label] >= 0.6);
  expect(selective).toMatchObject({ minProbability: 0.6, rows: sure.length, coverage: sure.length / 3 });
  // a label that was never said has no precision
  const plain = await commandLine(argv);
  const never = labels.find(({ predicted }: { predicted: number }) => predicted === 0);
  expect(plain.stdout).toMatch(/^label +precision +recall +f1 +support\n/m);
  if (never !== undefined)
    expect(plain.stdout).toMatch(new RegExp(`^${never.label} +– +0\\.0 +0\\.0 +${never.support}$`, "m"));
  expect(plain.stdout).toMatch(/^probability 0\.6 or more: \d of 3 rows \(coverage \S+\), accuracy \S+$/m);
  const written = await commandLine([...argv, "--evaluate-by", "generation"]);
  expect(written).toMatchObject({ code: 2, stderr: expect.stringContaining("written answers have no probability") });
});

test("eval says that every row got the same answer, as the end of a training does", async () => {
  const same = join(place, "same.csv");
  writeFileSync(same, `text,label\n${Array.from({ length: 8 }, (_, n) => `x ${n},${n % 2 ? "b" : "a"}\n`).join("")}`);
  // the sum of log-probabilities prefers the short words, whatever the row
  const { stderr, stdout } = await commandLine([
    ...["eval", "--model", "t5-nano", "--validation", same, "--template", "x {text}", "--label-column", "label"],
    ...["--verbalizer", "a=positive", "--verbalizer", "b=ungrammatical sentence nobody would say", "--json"],
  ]);
  const told = /each of the 8 rows got the same answer, “(a|positive)”: the score is that of a constant answer/;
  expect(stderr).toMatch(told);
  expect(JSON.parse(stdout).notices.join()).toMatch(told);
});
