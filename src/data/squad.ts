/**
 * @file SQuAD's files: one JSON document of articles, paragraphs and questions → a table with a row per question.
 *
 * In: the document of train-v2.0.json or its like. Out: Table with question, answers and context. Source: rajpurkar.github.io/SQuAD-explorer.
 */
import { SoftpromptError } from "../base/errors.js";
import { isObject, own } from "../base/json.js";
import type { Table, TableRow } from "./rows.js";

const get = (value: unknown, key: string): unknown => (isObject(value) ? own(value, key) : undefined);

/** Whether a document has SQuAD's shape: a list of articles, at least one of them with paragraphs. */
export function isSquad(root: unknown): boolean {
  const data = get(root, "data");
  return Array.isArray(data) && data.some((article) => get(article, "paragraphs") !== undefined);
}

/** SQuAD's one JSON document: a record per question, with its context. Throws SoftpromptError (data). */
export function squadTable(root: unknown, where: string): Table {
  const list = (value: unknown, at: string): readonly unknown[] => {
    if (Array.isArray(value)) return value as unknown[];
    throw new SoftpromptError("data", "this is no SQuAD file: a list is missing", {
      where: `${where}, ${at}`,
      got: typeof value,
    });
  };
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
  return { columns, rows, skipped: 0, bad: [], notices: [] };
}
