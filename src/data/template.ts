/**
 * @file Templates: fields of a row become the text the encoder reads.
 *
 * In: text with `{field}` holes (`{a.b}` reaches into an object; `{field!cut}` is the one to shorten where a text is too
 * long; `{{` and `}}` are braces) and at most one marker `{prompt}`, where the virtual tokens stand. Out: `fill(fields)`, and where
 * in the text each field and the marker came to stand.
 * A hole that no column fits is refused with the nearest name; a cell that is missing or no plain value is refused by row.
 */
import { nearest, SoftpromptError } from "../base/errors.js";
import { isObject } from "../base/json.js";
import type { FieldSpan, Row } from "./row.js";
import type { Fields } from "./rows.js";

/** Longest text one row may become. */
export const maxTextCharacters = 1_000_000;

export interface Template {
  readonly source: string;
  /** Names of the holes, each once, in order; the marker is none. */
  readonly fields: readonly string[];
  /** Whether the template says where the virtual tokens stand. */
  readonly marked: boolean;
  /** The text for one row; `where` names the row in errors. */
  fill(fields: Fields, where: string): string;
  /** The same, as a Row has it: with the stretches that the fields take, and where the marker stands. */
  fillRow(fields: Fields, where: string): Required<Pick<Row, "input" | "fields">> & Pick<Row, "promptAt">;
}

const cutMark = "!cut";

/** The name in the hole that says where the virtual tokens stand. */
const markerName = "prompt";
/** The marker in a template that gives the place of the virtual tokens. */
export const promptMarker = `{${markerName}}`;

interface Hole {
  readonly name: string;
  readonly cut: boolean;
}

/** Compiles a template. Throws SoftpromptError (usage) naming the place of a stray brace. */
export function compileTemplate(source: string, where = "template"): Template {
  const parts: (string | Hole)[] = [];
  let marker: number | null = null;
  const refuse = (problem: string, at: number, hint: string): never => {
    throw new SoftpromptError("usage", problem, {
      where: `${where}, character ${at + 1}`,
      got: source.slice(Math.max(0, at - 10), at + 20),
      hint,
    });
  };
  let text = "";
  for (let i = 0; i < source.length; i++) {
    const c = source[i]!;
    if ((c === "{" || c === "}") && source[i + 1] === c) {
      text += c;
      i++;
    } else if (c === "{") {
      const end = source.indexOf("}", i);
      const hole = end < 0 ? "" : source.slice(i + 1, end).trim();
      if (end < 0) refuse("a hole is not closed", i, "write {{ for a brace");
      const cut = hole.endsWith(cutMark);
      const name = cut ? hole.slice(0, -cutMark.length).trim() : hole;
      if (name === "" || name.includes("{")) refuse("a hole has no name", i, "write {column}, or {{ for a brace");
      parts.push(text);
      text = "";
      i = end;
      if (hole === markerName) {
        if (marker !== null) refuse("the virtual tokens have two places", i, `keep one ${promptMarker}`);
        marker = parts.length;
      } else parts.push({ name, cut });
    } else if (c === "}") refuse("a brace closes nothing", i, "write }} for a brace");
    else text += c;
  }
  parts.push(text);
  const fields = [...new Set(parts.flatMap((p) => (typeof p === "string" ? [] : [p.name])))];
  const fillRow: Template["fillRow"] = (row, place) => {
    const spans: FieldSpan[] = [];
    let filled = "";
    let promptAt = 0;
    for (const [n, part] of parts.entries()) {
      if (n === marker) promptAt = filled.length;
      const from = filled.length;
      filled += typeof part === "string" ? part : textOf(row, part.name, place);
      if (filled.length > maxTextCharacters)
        throw new SoftpromptError("data", "this row's text is too long", {
          where: place,
          expected: `at most ${maxTextCharacters} characters`,
          got: filled.length,
        });
      if (typeof part !== "string")
        spans.push({ name: part.name, from, to: filled.length, ...(part.cut ? { cut: true } : {}) });
    }
    return { input: filled, fields: spans, ...(marker === null ? {} : { promptAt }) };
  };
  return { source, fields, marked: marker !== null, fill: (row, place) => fillRow(row, place).input, fillRow };
}

/** Refuses a template with holes that no column fits. Throws SoftpromptError (usage). */
export function checkTemplate(template: Template, columns: readonly string[], where: string): void {
  if (template.marked && columns.includes(markerName))
    throw new SoftpromptError(
      "usage",
      `${promptMarker} may mean two things: a column, or where the virtual tokens stand`,
      {
        where,
        expected: `data without a column called ${markerName}, where the template has ${promptMarker}`,
        hint: `give the column another name in the template: --columns text=${markerName}, and {text}`,
      },
    );
  for (const hole of template.fields) {
    if (columns.includes(hole) || columns.includes(hole.split(".")[0]!)) continue;
    const near = nearest(hole, columns);
    throw new SoftpromptError("usage", `the template asks for {${hole}}, which is no column`, {
      where,
      expected: `one of ${columns.join(", ")}`,
      got: `{${hole}}`,
      hint: near ? `did you mean {${near}}?` : "write {{ and }} for braces that are no holes",
    });
  }
}

/** Where the virtual tokens stand, said in a word: before the text, or behind it. */
export const promptPositions = ["start", "end"] as const;
/** Where the prompt stands: before the text, or behind it. */
export type PromptPosition = (typeof promptPositions)[number];

/** The template with a marker for this position. @throws SoftpromptError "usage" where it already has one. */
export function positioned(template: string, position: PromptPosition | undefined, where = "template"): string {
  if (position === undefined) return template;
  if (compileTemplate(template, where).marked)
    throw new SoftpromptError("usage", "the place of the virtual tokens is said twice", {
      where: "promptPosition",
      expected: `a template without ${promptMarker}, or no promptPosition`,
      got: position,
    });
  return position === "end" ? template + promptMarker : template;
}

/** The names of a template's holes, each once, in order. */
export function templateFields(source: string): readonly string[] {
  return compileTemplate(source).fields;
}

/** Escapes text, so that a template gives it back unchanged. */
export function escapeTemplate(text: string): string {
  return text.replace(/[{}]/g, (c) => c + c);
}

/** A column's value in a row, by name or by path. */
export function columnValue(fields: Fields, name: string): unknown {
  if (Object.hasOwn(fields, name)) return fields[name];
  let value: unknown = fields;
  for (const key of name.split(".")) {
    if (!isObject(value) || !Object.hasOwn(value, key)) return undefined;
    value = value[key];
  }
  return value;
}

/** A column's value as text; numbers and booleans are written out. Throws SoftpromptError (data) naming row and column. */
export function textOf(fields: Fields, name: string, where: string): string {
  const value = columnValue(fields, name);
  if (typeof value === "string") return value;
  if ((typeof value === "number" && Number.isFinite(value)) || typeof value === "boolean") return String(value);
  const missing = value === undefined || value === null;
  const columns = value === undefined ? Object.keys(fields) : [];
  const near = nearest(name, columns);
  const there = columns.length === 0 ? undefined : `the columns are ${columns.slice(0, 20).join(", ")}`;
  throw new SoftpromptError("data", missing ? `column ${name} is missing` : `column ${name} holds no text`, {
    where,
    expected: "a text, a number, true or false",
    got: missing ? undefined : JSON.stringify(value)?.slice(0, 80),
    hint: near ? `there is a column ${near}` : there,
  });
}
