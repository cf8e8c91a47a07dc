/** @file Inputs of predict from its argument and standard input are read as the rows of files are. */
import { expect, test } from "vitest";
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
