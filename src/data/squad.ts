/**
 * @file SQuAD's files: one JSON document of articles, paragraphs and questions → a table with a row per question.
 *
 * In: a path to train-v2.0.json or its like. Out: Table with question, answers and context. Source: rajpurkar.github.io/SQuAD-explorer.
 */
import { createHash } from "node:crypto";
import { basename } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { isObject, own, parseJson } from "../base/json.js";
import { type Table, type TableRow, tableLimits } from "./rows.js";
import { readData } from "./table.js";

/** SQuAD's one JSON document: a record per question, with its context. */
export async function readSquad(path: string): Promise<Table & { sha256: string }> {
  const bytes = await readData(path);
  const where = basename(path);
  const limits = { length: tableLimits.fileBytes, depth: 16, containers: 5_000_000 };
  const root = parseJson(bytes.toString("utf8"), where, "data", limits);
  const list = (value: unknown, at: string): readonly unknown[] => {
    if (Array.isArray(value)) return value as unknown[];
    throw new SoftpromptError("data", "this is no SQuAD file: a list is missing", {
      where: `${where}, ${at}`,
      got: typeof value,
    });
  };
  const get = (value: unknown, key: string): unknown => (isObject(value) ? own(value, key) : undefined);
  const rows: TableRow[] = [];
  list(get(root, "data"), "data").forEach((article, a) => {
    list(get(article, "paragraphs"), `data[${a}].paragraphs`).forEach((paragraph, p) => {
      const at = `data[${a}].paragraphs[${p}]`;
      list(get(paragraph, "qas"), `${at}.qas`).forEach((qa, q) => {
        const fields = Object.assign(Object.create(null), isObject(qa) ? qa : {}, {
          context: get(paragraph, "context"),
        });
        rows.push({ line: rows.length + 1, fields, where: `${where}, ${at}.qas[${q}]` });
      });
    });
  });
  const columns = ["question", "id", "answers", "is_impossible", "context"];
  return { columns, rows, skipped: 0, sha256: createHash("sha256").update(bytes).digest("hex") };
}
