/**
 * @file Rows that a program has already, as a table: the same checks as for a file.
 *
 * In: objects with texts, numbers, truth values, lists or objects of them. Out: Table. Rows are named by their index: `rows[3]`.
 */
import { createHash } from "node:crypto";
import { SoftpromptError } from "../base/errors.js";
import { isObject } from "../base/json.js";
import { columnCollector } from "./jsonl.js";
import { type Fields, type Table, type TableRow, tableLimits } from "./rows.js";

/** One row: column → value. Of any object type, so that rows of an interface or a class fit; values that no file could hold are refused. */
export type MemoryRow = object;

/** A list of objects as a table, with the sha256 of its JSON. @param name of the list in errors. Throws SoftpromptError (data). */
export function tableOf(list: readonly MemoryRow[], name: string): Table & { sha256: string } {
  const refuse = (problem: string, where: string, expected: string, got?: unknown): never => {
    throw new SoftpromptError("data", problem, { where, expected, got });
  };
  if (!Array.isArray(list)) refuse("the rows are no list", name, "[{ column: value, … }, …]", typeof list);
  if (list.length > tableLimits.rows) refuse("too many rows", name, `at most ${tableLimits.rows}`, list.length);
  const columns = columnCollector(name);
  const hash = createHash("sha256");
  const rows = list.map((row, i): TableRow => {
    const where = `${name}[${i}]`;
    if (!isObject(row)) refuse("a row is no object", where, "{ column: value, … }", row);
    const fields = Object.create(null) as Record<string, unknown>;
    for (const [column, value] of Object.entries(row)) {
      if (!isPlain(value, 0))
        refuse(`column ${column} holds no plain value`, where, "a text, a number, true or false", kindOf(value));
      fields[column] = typeof value === "bigint" ? String(value) : value;
    }
    columns.add(fields);
    hash.update(`${JSON.stringify(fields)}\n`);
    return { line: i + 1, fields: fields as Fields };
  });
  return { columns: columns.all(), rows, skipped: 0, bad: [], notices: [], sha256: hash.digest("hex") };
}

/** Only values that a file could hold too. A date or a Map would be turned into a text that the user did not choose. */
function isPlain(value: unknown, depth: number): boolean {
  if (value === undefined || value === null) return true;
  if (typeof value === "number") return true; // NaN is refused where the value is used
  if (["string", "boolean"].includes(typeof value)) return true;
  if (typeof value === "bigint") return depth === 0;
  if (typeof value !== "object" || depth > 16) return false;
  if (Array.isArray(value)) return value.every((item) => isPlain(item, depth + 1));
  const proto: unknown = Object.getPrototypeOf(value);
  return (
    (proto === null || proto === Object.prototype) && Object.values(value).every((item) => isPlain(item, depth + 1))
  );
}

function kindOf(value: unknown): string {
  return typeof value === "object" && value !== null ? (value.constructor?.name ?? "object") : typeof value;
}
