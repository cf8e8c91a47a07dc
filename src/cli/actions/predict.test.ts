/** @file Inputs of predict from its argument and standard input are read as the rows of files are. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { commandLine } from "../../../test/helpers/command-line.js";
import { parseTable } from "../../data/table.js";
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
