/**
 * @file An adapter records under which names its values stood in the rows that it was trained on, so the same files are answered and scored
 * without naming the columns again.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadAdapter, saveAdapter } from "../src/adapter/adapter.js";
import type { Adapter } from "../src/adapter/types.js";
import { asRecorded, loadData, loadRows } from "../src/tasks/data.js";
import { evaluate } from "../src/tasks/evaluate.js";
import { openModel } from "../src/tasks/model.js";
import { promptAdapter } from "./helpers/adapters.js";
import { commandLine } from "./helpers/command-line.js";

const place = mkdtempSync(join(tmpdir(), "softprompt-columns-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));
const tickets = join(place, "tickets.csv");
writeFileSync(tickets, 'Ticket Text,Team\n"Card declined, twice",pay\nApp crashes,app\n');
const plain = join(place, "plain.csv");
writeFileSync(plain, "text,label\nCard declined,pay\nApp crashes,app\n");
const stories = join(place, "stories.jsonl");
writeFileSync(stories, '{"Body": "a long text", "Short": "a text"}\n');
const adapter = join(place, "adapter");
const writer = join(place, "writer");
let made: Adapter;

beforeAll(async () => {
  await using model = await openModel("t5-nano");
  const { task } = await loadData({
    ...{ train: tickets, template: "ticket: {text}", columns: { text: "Ticket Text" }, labelColumn: "Team" },
    validationShare: 0,
  });
  made = { ...(await promptAdapter(model.checkpoint, 3)), task };
  saveAdapter(adapter, made);
  const free = await loadData({
    ...{ train: stories, template: "{text}", columns: { text: "Body" }, targetColumn: "Short" },
    ...{ maxTargetTokens: 3, validationShare: 0 },
  });
  saveAdapter(writer, { ...made, task: free.task });
});

const model = ["--model", "t5-nano", "--quiet"];

test("the names are in the adapter's file and come back from it; those that are the usual ones are not", async () => {
  expect((await loadAdapter(adapter)).task?.columns).toEqual({ fields: { text: "Ticket Text" }, label: "Team" });
  const usual = await loadRows([{ text: "a", label: "x" }], {
    template: "{text}",
    labels: ["x", "y"],
    validationShare: 0,
  });
  expect(usual.task).not.toHaveProperty("columns");
});

test("predict reads the file that it was trained on, and one with the template's names", async () => {
  for (const file of [tickets, plain]) {
    const { code, stdout, stderr } = await commandLine(["predict", "--file", file, "--adapter", adapter, ...model]);
    expect(code, stderr).toBe(0);
    expect(stdout.trim().split("\n")).toHaveLength(2);
  }
  const other = ["--template", "a ticket: {text}"];
  const { code, stderr } = await commandLine(["predict", "--file", tickets, "--adapter", adapter, ...other, ...model]);
  expect(code, stderr).toBe(0);
  const both = await commandLine(["predict", '{"text": "b", "Ticket Text": "a"}', "--adapter", adapter, ...model]);
  const own = await commandLine(["predict", "b", "--adapter", adapter, ...model]);
  const labelled = (text: string) => JSON.parse(text).probabilities;
  expect(labelled(both.stdout)).toEqual(labelled(own.stdout));
});

test("eval scores the file alone, whichever names it has; given names count", async () => {
  for (const file of [tickets, plain]) {
    const found = await commandLine(["eval", "--validation", file, "--adapter", adapter, ...model]);
    expect(found.code, found.stderr).toBe(0);
    expect(found.stdout).toContain("2 validation rows");
  }
  const wrong = await commandLine([
    "eval",
    "--validation",
    tickets,
    "--label-column",
    "No",
    "--adapter",
    adapter,
    ...model,
  ]);
  expect([wrong.code, wrong.stderr]).toEqual([3, expect.stringContaining("there is no column No")]);
  const free = await commandLine(["eval", "--validation", stories, "--adapter", writer, ...model]);
  expect(free.code, free.stderr).toBe(0);
});

test("a program's rows are scored by either name too", async () => {
  await using opened = await openModel("t5-nano");
  for (const rows of [[{ "Ticket Text": "a", Team: "pay" }], [{ text: "a", label: "pay" }]]) {
    const { predictions } = await evaluate(opened, rows, { adapter: made });
    expect(predictions[0]!.row).toMatchObject({ input: "ticket: a", label: "pay" });
  }
});

test("options that name columns replace the recorded ones", () => {
  const { task } = made;
  expect(asRecorded({ train: "x" }, task)).toMatchObject({ columns: { text: "Ticket Text" }, labelColumn: "Team" });
  const said = asRecorded({ train: "x", columns: { text: "T" }, targetColumn: "Y" }, task);
  expect(said).toMatchObject({ columns: { text: "T" }, targetColumn: "Y" });
  expect(said).not.toHaveProperty("labelColumn");
});
