/**
 * @file Templates: fields of a row become the text the encoder reads.
 *
 * In: text with `{field}` holes (`{a.b}` reaches into an object; `{field!cut}` is the one to shorten where a text is too
 * long; `{{` and `}}` are braces) and at most one marker `{prompt}`, where the virtual tokens stand; several markers `{prompt:N}` are places
 * of their parts, `{prompt:decoder}` puts them before the target. Out: `fill(fields)`, and where in the text each field and the markers came to stand.
 * A hole that no column fits is refused with the nearest name; a cell that is missing or no plain value is refused by row.
 */
import { nearest, SoftpromptError } from "../base/errors.js";
import { isObject } from "../base/json.js";
import type { FieldSpan, Row } from "./row.js";
import type { Fields } from "./rows.js";

/** Longest text one row may become. */
export const maxTextCharacters = 1_000_000;

/** Where in a row the virtual tokens stand. */
export type PromptPlace = Pick<Row, "promptAt" | "promptBefore" | "promptIn">;

export interface Template {
  readonly source: string;
  /** Names of the holes, each once, in order; the marker is none. */
  readonly fields: readonly string[];
  /** Whether the template says where the virtual tokens stand. */
  readonly marked: boolean;
  /** The virtual tokens stand before the target on the decoder's side. */
  readonly inDecoder: boolean;
  /** How many virtual tokens each marker takes, in order; null for the last one where it takes the rest. */
  readonly parts: readonly (number | null)[];
  /** The text for one row; `where` names the row in errors. */
  fill(fields: Fields, where: string): string;
  /** The same, as a Row has it: with the stretches that the fields take, and where the marker stands. */
  fillRow(fields: Fields, where: string): Required<Pick<Row, "input" | "fields">> & PromptPlace;
}

const cutMark = "!cut";

/** The name in the hole that says where the virtual tokens stand. */
const markerName = "prompt";
/** The marker in a template that gives the place of the virtual tokens. */
export const promptMarker = `{${markerName}}`;

/** What a hole says of virtual tokens: nothing, all (the rest) of them, or how many. */
const markerForm = /^prompt(?:\s*:\s*(\d{1,5}|decoder))?$/;

interface Marker {
  /** Index of the part of the template that it stands before. */
  readonly before: number;
  readonly tokens: number | null;
  /** Nothing stands before it. */
  readonly outside: boolean;
}

interface Hole {
  readonly name: string;
  readonly cut: boolean;
}

/** Compiles a template. Throws SoftpromptError (usage) naming the place of a stray brace. */
export function compileTemplate(source: string, where = "template"): Template {
  const parts: (string | Hole)[] = [];
  const markers: Marker[] = [];
  let inDecoder = false;
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
      const marker = markerForm.exec(hole);
      if (marker !== null) {
        const decoder = marker[1] === "decoder";
        if (markers.at(-1)?.tokens === null || (decoder && markers.length > 0))
          refuse(
            "the virtual tokens have two places",
            i,
            `keep one ${promptMarker}, or say how many stand at each: {${markerName}:4} … ${promptMarker}`,
          );
        inDecoder = decoder;
        const tokens = marker[1] === undefined || decoder ? null : Number(marker[1]);
        if (tokens === 0) refuse("a part of the virtual tokens is empty", i, "leave the marker out");
        markers.push({ before: parts.length, tokens, outside: parts.every((part) => part === "") });
      } else parts.push({ name, cut });
    } else if (c === "}") refuse("a brace closes nothing", i, "write }} for a brace");
    else text += c;
  }
  parts.push(text);
  const fields = [...new Set(parts.flatMap((p) => (typeof p === "string" ? [] : [p.name])))];
  const fillRow: Template["fillRow"] = (row, place) => {
    const spans: FieldSpan[] = [];
    let filled = "";
    const places: number[] = [];
    for (const [n, part] of parts.entries()) {
      for (const { before } of markers) if (before === n) places.push(filled.length);
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
    const text = { input: filled, fields: spans };
    if (markers.length === 0) return text;
    if (inDecoder) return { ...text, promptIn: "decoder" };
    const promptBefore = markers
      .slice(0, -1)
      .map(({ tokens, outside }, n) => ({ at: places[n]!, tokens: tokens!, ...(outside ? { outside } : {}) }));
    return { ...text, promptAt: places.at(-1)!, ...(promptBefore.length > 0 ? { promptBefore } : {}) };
  };
  const told = { marked: markers.length > 0, inDecoder, parts: markers.map(({ tokens }) => tokens) };
  return { source, fields, ...told, fill: (row, place) => fillRow(row, place).input, fillRow };
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

/** Where the virtual tokens stand, said in a word: before the text, behind it, or before the target on the decoder's side. */
export const promptPositions = ["start", "end", "decoder"] as const;
/**
 * Where the prompt stands: before the text, behind it, before the target on the decoder's side, or `start:4,end:16`: so many before the
 * text and so many behind it.
 */
export type PromptPosition = (typeof promptPositions)[number] | (string & {});

/** How many virtual tokens stand at either end; null is all of them. */
interface Ends {
  readonly start: number | null;
  readonly end: number | null;
}

const ends = ["start", "end"] as const satisfies readonly (keyof Ends)[];

/** @throws SoftpromptError "usage" for a text that is no position. */
function readPosition(position: PromptPosition): Ends | "decoder" {
  if (position === "decoder") return "decoder";
  const refuse = (problem: string, hint?: string) =>
    new SoftpromptError("usage", problem, {
      where: "promptPosition",
      expected: "start, end, decoder, or both ends with their numbers of virtual tokens: start:4,end:16",
      got: position,
      hint,
    });
  const found: Partial<Record<keyof Ends, number | null>> = {};
  const said = typeof position === "string" ? position.split(",") : [];
  for (const part of said) {
    const [, name, count] = /^\s*(\w+)\s*(?::\s*(\d{1,5})\s*)?$/.exec(part) ?? [];
    const end = ends.find((known) => known === name);
    const near = name === undefined ? undefined : nearest(name, promptPositions);
    if (end === undefined) throw refuse("no such place", near && `did you mean ${near}?`);
    if (found[end] !== undefined) throw refuse(`${end} is said twice`);
    if (count === "0" || (count === undefined && said.length > 1))
      throw refuse("a part without a number of virtual tokens", "give each end its number, or one end alone");
    found[end] = count === undefined ? null : Number(count);
  }
  if (said.length === 0) throw refuse("no such place");
  const both = found.start !== undefined && found.end !== undefined;
  return both
    ? { start: found.start!, end: found.end! }
    : {
        start: found.start ?? (found.end === undefined ? null : 0),
        end: found.end ?? (found.start === undefined ? null : 0),
      };
}

/** How many virtual tokens a position speaks of; undefined where it gives no number. */
export function positionTokens(position: PromptPosition | undefined): number | undefined {
  if (position === undefined) return undefined;
  const found = readPosition(position);
  if (found === "decoder") return undefined;
  const { start, end } = found;
  return start === null || end === null ? undefined : start + end;
}

/** The template with markers for this position. @throws SoftpromptError "usage" where it already has one. */
export function positioned(template: string, position: PromptPosition | undefined, where = "template"): string {
  if (position === undefined) return template;
  const found = readPosition(position);
  if (compileTemplate(template, where).marked)
    throw new SoftpromptError("usage", "the place of the virtual tokens is said twice", {
      where: "promptPosition",
      expected: `a template without ${promptMarker}, or no promptPosition`,
      got: position,
    });
  if (found === "decoder") return template + decoderMarker;
  const { start, end } = found;
  if (end === 0) return template;
  return start === 0 ? template + promptMarker : `${markerOf(start)}${template}${markerOf(end)}`;
}

const decoderMarker = `{${markerName}:decoder}`;
const markerOf = (tokens: number | null) => (tokens === null ? promptMarker : `{${markerName}:${tokens}}`);

/** A template without the markers at its ends, and the position that they say; null where a marker stands inside. */
export function unpositioned(source: string): { readonly text: string; readonly position?: PromptPosition } | null {
  const { parts, inDecoder } = compileTemplate(source);
  if (parts.length === 0) return { text: source };
  if (inDecoder && source.endsWith(decoderMarker))
    return { text: source.slice(0, -decoderMarker.length), position: "decoder" };
  const last = markerOf(parts.at(-1)!);
  if (!source.endsWith(last)) return null;
  const text = source.slice(0, -last.length);
  if (parts.length === 1) return { text, position: parts[0] === null ? "end" : `end:${parts[0]}` };
  const first = markerOf(parts[0]!);
  if (parts.length > 2 || parts[1] === null || !text.startsWith(first)) return null;
  return { text: text.slice(first.length), position: `start:${parts[0]},end:${parts[1]}` };
}

/**
 * Puts the markers of a task's template on another whole text; null where they stand inside the task's own.
 */
export function aroundText(template: string): ((text: string) => PromptPlace) | null {
  const { parts, inDecoder } = compileTemplate(template);
  if (parts.length === 0) return () => ({});
  if (inDecoder) return () => ({ promptIn: "decoder" });
  const last = markerOf(parts.at(-1)!);
  if (parts.length > 2 || !template.endsWith(last)) return null;
  if (parts.length === 1) return (text) => ({ promptAt: text.length });
  if (!template.startsWith(markerOf(parts[0]!))) return null;
  const promptBefore = [{ at: 0, tokens: parts[0]!, outside: true }];
  return (text) => ({ promptAt: text.length, promptBefore });
}

/** How many virtual tokens a template's markers want, where a prompt of so many does not fit them; else null. */
export function wantedTokens(template: string, tokens: number): number | string | null {
  const { parts } = compileTemplate(template);
  const counted = parts.reduce<number>((sum, part) => sum + (part ?? 0), 0);
  if (counted === 0) return null;
  if (parts.at(-1) === null) return counted < tokens ? null : `more than ${counted}`;
  return counted === tokens ? null : counted;
}

/**
 * Refuses a prompt whose length is not that of its parts. @param asked how many virtual tokens promptPosition speaks of
 * @throws SoftpromptError "usage"
 */
export function checkPromptTokens(template: string, tokens: number, asked?: number): void {
  const wanted = asked === undefined || asked === tokens ? wantedTokens(template, tokens) : asked;
  if (wanted === null) return;
  throw new SoftpromptError("usage", "the parts of the prompt and its length do not agree", {
    where: "virtualTokens",
    expected: `${wanted}, as the places of the virtual tokens say`,
    got: tokens,
    hint: "change promptPosition (or the template's markers), or virtualTokens",
  });
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
