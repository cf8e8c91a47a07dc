/**
 * @file Answers of predict as lines: JSON, or a table of the inputs' columns with the answers beside them. In: an input, its answers. Out: lines.
 */
import { extname } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { isObject, type JsonObject } from "../base/json.js";
import { recordText } from "../data/delimited.js";
import { topProbability } from "../evaluate/evaluate.js";
import type { Answer, PredictInput } from "../tasks/predictor.js";
import type { AnswerFormat } from "./tables/predict.js";

/** The form that a file's name asks for; JSON lines where its ending is none of a table. */
export function formatOf(output: string | undefined): AnswerFormat {
  const ending = extname(output ?? "").toLowerCase();
  return ending === ".csv" ? "csv" : ending === ".tsv" ? "tsv" : "jsonl";
}

/** An input, and what is known of it. */
export interface AskedInput {
  /** The input's own id, or its place. */
  readonly id: string | number;
  /** Its place, for errors. */
  readonly where: string;
  /** The name of a plain text's column in a table. */
  readonly column: string;
  /** An input, or the error of a line that is not valid text. */
  readonly input: PredictInput | SoftpromptError;
  /** Columns of all inputs, where they are known before the first is answered. */
  readonly columns?: readonly string[];
}

/** Writes inputs in their order. */
export interface AnswerLines {
  /** The lines of one input. @param answers one for each adapter */
  of(asked: AskedInput, answers: readonly Answer[]): string[];
  /** What was held back. */
  end(): string[];
}

/** What decides the lines. */
export interface AnswerForm {
  readonly format: AnswerFormat;
  /** Names of the adapters; null is one without a name, or the bare model. */
  readonly adapters: readonly (string | null)[];
  /** Whether answers may be withheld: a column of a table. */
  readonly withheld: boolean;
  /** Whether an input may have an error in place of an answer: a column of a table. */
  readonly errors: boolean;
}

export function answerLines(form: AnswerForm): AnswerLines {
  if (form.format !== "jsonl") return tableLines(form, form.format === "csv" ? "," : "\t");
  const lines = (asked: AskedInput, answers: readonly Answer[]) =>
    answers.map((answer, n) => JSON.stringify(jsonLine(asked, answer, form.adapters[n]!), jsonValue));
  return { of: lines, end: () => [] };
}

function jsonLine({ id, input }: AskedInput, { error, ...answer }: Answer, name: string | null): JsonObject {
  const named = name === null ? {} : { adapter: name };
  if (error !== undefined) {
    const { kind, problem, parts } = error;
    const { where: place, expected, hint } = parts;
    return {
      id,
      label: null,
      text: "",
      probabilities: null,
      error: { kind, problem, where: place, expected, hint },
      ...named,
    };
  }
  return { id, ...named, ...answer, ...(isRecord(input) ? { input } : {}) };
}

/** A table: the input's columns, then for each adapter the answer's, whose names begin with the adapter's. */
function tableLines({ adapters, withheld, errors }: AnswerForm, delimiter: string): AnswerLines {
  const own = ["label", "text", "probability", ...(withheld ? ["withheld"] : []), ...(errors ? ["error"] : [])];
  const answerColumns = adapters.flatMap((name) => own.map((column) => `${name ?? "answer"}_${column}`));
  const cellsOf = ({ label, text, probabilities, ...rest }: Answer) => [
    label ?? "",
    text,
    cellText(topProbability(probabilities)),
    ...(withheld ? [rest.withheld ?? ""] : []),
    ...(errors ? [rest.error === undefined ? "" : `${rest.error.parts.where}: ${rest.error.problem}`] : []),
  ];
  let columns: readonly string[] | null = null;
  let waiting: { asked: AskedInput; answers: readonly Answer[] }[] = [];
  // an input that cannot be used says nothing of the columns: it is often their names that are wrong
  const unused = (answers: readonly Answer[]) => answers.every(({ error }) => error !== undefined);
  const row = (asked: AskedInput, answers: readonly Answer[]) => {
    const fields = fieldsOf(asked);
    const more = unused(answers) ? undefined : Object.keys(fields).find((column) => !columns!.includes(column));
    if (more !== undefined)
      throw new SoftpromptError("usage", "this input has a column that the table does not have", {
        where: asked.where,
        expected: columns!.join(", "),
        got: more,
        hint: "the first input decides the columns; --file reads all rows before, and --output-format jsonl has no columns",
      });
    const cells = columns!.map((column) => (Object.hasOwn(fields, column) ? cellText(fields[column]) : ""));
    return recordText([...cells, ...answers.flatMap(cellsOf)], delimiter);
  };
  const begin = (found: readonly string[], where: string): string[] => {
    const twice = answerColumns.find((column) => found.includes(column));
    if (twice !== undefined)
      throw new SoftpromptError("data", "the inputs have a column that is named as one of the answers", {
        where,
        got: twice,
        hint: "a name of the adapter names its columns (--adapter NAME=PLACE gives NAME_label); --output-format jsonl keeps the input apart",
      });
    columns = found;
    const held = waiting.map(({ asked, answers }) => row(asked, answers));
    waiting = [];
    return [recordText([...columns, ...answerColumns], delimiter), ...held];
  };
  return {
    of(asked, answers) {
      if (columns !== null) return [row(asked, answers)];
      const found = asked.columns ?? (unused(answers) ? [] : Object.keys(fieldsOf(asked)));
      if (found.length === 0) {
        waiting.push({ asked, answers });
        return [];
      }
      const first = begin(found, asked.where);
      return [...first, row(asked, answers)];
    },
    end: () => (waiting.length === 0 ? [] : begin([waiting[0]!.asked.column], waiting[0]!.asked.where)),
  };
}

/** The columns of an input; none where it could not be read. */
export function fieldsOf({ input, column }: Pick<AskedInput, "input" | "column">): Readonly<Record<string, unknown>> {
  if (typeof input === "string") return { [column]: input };
  return isRecord(input) ? input : {};
}

const isRecord = (input: AskedInput["input"]): input is Readonly<Record<string, unknown>> =>
  typeof input !== "string" && !(input instanceof SoftpromptError);

/** A value as a cell: nothing where there is none, JSON where it is no single value. */
function cellText(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (value instanceof Date) return value.toISOString();
  return isObject(value) || Array.isArray(value) ? JSON.stringify(value, jsonValue) : String(value);
}

/** A whole number of parquet as JSON has it: as a text where JSON's readers would round it. */
function jsonValue(_: string, value: unknown): unknown {
  if (typeof value !== "bigint") return value;
  return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
}
