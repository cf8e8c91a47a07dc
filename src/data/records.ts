/**
 * @file Records of the official files become examples: one reader per shape of record.
 *
 * In: the fields of a line (or a question of SQuAD). Out: examples with the fields that the task's templates ask for.
 * A test split has no labels: label null, target "". Sources: xprompt.md §5.2, fpt.md §6, T5's preprocessors (wsc, multirc,
 * record), OpenPrompt's superglue templates.
 */
import { SoftpromptError, show } from "../base/errors.js";
import { isObject, type JsonObject } from "../base/json.js";
import { noAnswer } from "./metrics.js";
import type { Fields, Split } from "./rows.js";
import { columnValue, textOf } from "./template.js";
import { labelOf, labelText } from "./verbalizer.js";

/** Where a record stands. */
export interface RecordPlace {
  /** "train.jsonl:3", for errors and row ids. */
  readonly where: string;
  readonly split: Split;
}

/** A labelled text before template and verbalizer. */
export interface Example {
  /** Told apart from others of the same record: "q0a2"; "" if the record is one example. */
  readonly part: string;
  readonly fields: Fields;
  readonly label: string | null;
  /** Free text, or null where the verbalizer says the label's words. */
  readonly target: string | null;
  readonly references?: readonly string[];
  readonly group?: string;
  readonly choices?: Readonly<Record<string, string>>;
}

type Read = (fields: Fields, place: RecordPlace) => Example[];

/**
 * Records with texts and a label. A column may be named `a|b`: the first that a record has, read as `a`.
 * @param values what the files write → label
 */
export function classified(
  columns: readonly string[],
  labelColumn: string,
  values: Readonly<Record<string, string>>,
): Read {
  return (fields, place) => {
    const texts: Record<string, unknown> = Object.create(null);
    for (const column of columns) {
      const names = column.split("|");
      texts[names[0]!] = textOf(fields, firstOf(fields, names), place.where);
    }
    return [{ part: "", fields: texts, label: labelIn(fields, labelColumn.split("|"), values, place), target: null }];
  };
}

function firstOf(fields: Fields, names: readonly string[]): string {
  return names.find((name) => Object.hasOwn(fields, name)) ?? names[0]!;
}

/** The label of a record; null in a test split without labels (GLUE writes -1 there). */
function labelIn(
  fields: Fields,
  names: readonly string[],
  values: Readonly<Record<string, string>>,
  place: RecordPlace,
): string | null {
  const column = firstOf(fields, names);
  const value = columnValue(fields, column);
  if (place.split === "test" && ["", "-1"].includes(labelText(value) ?? "?")) return null;
  return values[labelOf(value, Object.keys(values), place.where, column, values)]!;
}

const choiceLabels = { 0: "choice1", 1: "choice2", choice1: "choice1", choice2: "choice2" };

export const copa: Read = classified(["choice1", "choice2", "premise", "question"], "label", choiceLabels);

/** The answer is the text of a choice. */
export const openpromptCopa: Read = (fields, place) =>
  copa(fields, place).map((example) => {
    const choices = { choice1: String(example.fields.choice1), choice2: String(example.fields.choice2) };
    return { ...example, choices, target: example.label === null ? "" : choices[example.label as "choice1"] };
  });

/** A paragraph with questions with answers → one example per answer, grouped by question. */
export const multirc: Read = (fields, place) => {
  const { where } = place;
  const passage = object(columnValue(fields, "passage"), where, "passage");
  const paragraph = textOf(passage, "text", where)
    .replaceAll("<br>", " ")
    .replace(/<\/?b>/g, "");
  return list(passage.questions, where, "passage.questions").flatMap((question, q) => {
    const { question: text, answers } = object(question, where, `passage.questions[${q}]`);
    const at = `${where}, question ${q}`;
    return list(answers, at, "answers").map((entry, a): Example => {
      const answer = object(entry, `${at}, answer ${a}`, "answer");
      return {
        part: `q${q}a${a}`,
        fields: { question: string(text, at, "question"), answer: textOf(answer, "text", at), paragraph },
        label: labelIn(
          answer,
          ["label"],
          { 1: "True", 0: "False", true: "True", false: "False" },
          { ...place, where: at },
        ),
        target: null,
        group: `${where}#q${q}`,
      };
    });
  });
};

interface Wsc {
  text: string;
  candidate: string;
  pronoun: string;
  /** Noun between asterisks, pronoun between hashes. */
  marked: string;
  /** Only the pronoun between asterisks. */
  pronounMarked: string;
  /** Both between asterisks. */
  starred: string;
  label: string | null;
}

function wsc(fields: Fields, place: RecordPlace): Wsc {
  const { where } = place;
  const target = object(columnValue(fields, "target"), where, "target");
  const text = textOf(fields, "text", where);
  const candidate = textOf(target, "span1_text", where);
  const pronoun = textOf(target, "span2_text", where);
  const noun = span(text, target.span1_index, candidate, where, "span1");
  const pronounSpan = span(text, target.span2_index, pronoun, where, "span2");
  const label = labelIn(fields, ["label"], { true: "True", false: "False", True: "True", False: "False" }, place);
  const marked = mark(text, [
    { ...noun, by: "*", blanks: true },
    { ...pronounSpan, by: "#", blanks: true },
  ]);
  const pronounMarked = mark(text, [{ ...pronounSpan, by: "*", blanks: false }]);
  const starred = mark(text, [
    { ...noun, by: "*", blanks: false },
    { ...pronounSpan, by: "*", blanks: false },
  ]);
  return { text, candidate, pronoun, marked, pronounMarked, starred, label };
}

/** True or false: is the pronoun the noun? */
export const wscBinary: Read = (fields, place) => {
  const { label, ...texts } = wsc(fields, place);
  return [{ part: "", fields: { ...texts }, label, target: null }];
};

/** The noun itself is generated; trained on the records where it is the right one (xprompt.md §5.2). */
export const wscReferent: Read = (fields, place) => {
  const { label, candidate, pronounMarked } = wsc(fields, place);
  if (place.split === "train" && label !== "True") return [];
  return [{ part: "", fields: { pronounMarked }, label, target: candidate, references: [candidate] }];
};

/** OpenPrompt's wording: the candidate, or "Another word"; both spans between asterisks. */
export const openpromptWsc: Read = (fields, place) => {
  const { label, candidate, pronoun, starred } = wsc(fields, place);
  const choices = { False: "Another word", True: candidate };
  return [
    {
      part: "",
      fields: { marked: starred, pronoun, candidate },
      label,
      target: label === null ? "" : choices[label as "True"],
      choices,
    },
  ];
};

/** The place of a span that is given by the number of its first blank-separated word. */
function span(text: string, index: unknown, words: string, where: string, name: string): { from: number; to: number } {
  if (typeof index !== "number" || !Number.isInteger(index) || index < 0)
    throw new SoftpromptError("data", `column target.${name}_index holds no word number`, { where, got: index });
  let from = 0;
  for (let n = 0; n < index; n++) {
    const blank = text.indexOf(" ", from);
    if (blank < 0)
      throw new SoftpromptError("data", `target.${name}_index is behind the last word`, { where, got: index });
    from = blank + 1;
  }
  // The files are not exact: a span may begin with another case, or one word off. The text itself decides.
  if (!text.startsWith(words, from)) {
    const near = [...text.matchAll(new RegExp(`(?<![\\p{L}\\p{N}])${literal(words)}(?![\\p{L}\\p{N}])`, "giu"))];
    if (near.length > 0)
      from = near.reduce(
        (best, m) => (Math.abs(m.index - from) < Math.abs(best - from) ? m.index : best),
        near[0]!.index,
      );
    else {
      const count = words.split(/\s+/).length;
      const end = text
        .split(" ")
        .slice(index, index + count)
        .join(" ").length;
      return { from, to: from + end };
    }
  }
  return { from, to: from + words.length };
}

function mark(text: string, spans: readonly { from: number; to: number; by: string; blanks: boolean }[]): string {
  let out = text;
  for (const { from, to, by, blanks } of [...spans].sort((a, b) => b.from - a.from)) {
    const gap = blanks ? " " : "";
    out = `${out.slice(0, from)}${by}${gap}${out.slice(from, to)}${gap}${by}${out.slice(to)}`;
  }
  return out;
}

/** One example per distinct gold answer for training, one per query else (fpt.md §6). */
export const record: Read = (fields, place) => {
  const { where } = place;
  const passage = object(columnValue(fields, "passage"), where, "passage");
  const raw = textOf(passage, "text", where);
  // the files count code points, as Python does; a character beyond U+FFFF is two units of a JavaScript string
  const points = /[\ud800-\udfff]/.test(raw) ? [...raw] : raw;
  const between = (from: number, to: number) =>
    typeof points === "string" ? points.slice(from, to) : points.slice(from, to).join("");
  const entities = [
    ...new Set(
      list(passage.entities, where, "passage.entities").map((entry, e) => {
        const { start, end } = object(entry, where, `passage.entities[${e}]`);
        if (
          typeof start !== "number" ||
          typeof end !== "number" ||
          !(start >= 0 && end >= start && end < points.length)
        )
          throw new SoftpromptError("data", "an entity lies outside the passage", {
            where,
            expected: `0 … ${points.length - 1}`,
            got: `${show(start)} … ${show(end)}`,
          });
        return between(start, end + 1);
      }),
    ),
  ];
  const texts = { entities: entities.join(", "), passage: cleanPassage(raw) };
  const choices = Object.fromEntries(entities.map((e) => [e, e]));
  return list(columnValue(fields, "qas"), where, "qas").flatMap((entry, q): Example[] => {
    const qa = object(entry, where, `qas[${q}]`);
    const at = `${where}, query ${q}`;
    const given = qa.answers === undefined && place.split === "test" ? [] : list(qa.answers, at, "answers");
    const answers = [...new Set(given.map((a) => textOf(object(a, at, "answer"), "text", at)))];
    if (answers.length === 0 && place.split !== "test")
      throw new SoftpromptError("data", "a query has no answer", { where: at });
    const example = (part: string, answer: string): Example => ({
      part,
      fields: { ...texts, query: textOf(qa, "query", at) },
      label: Object.hasOwn(choices, answer) ? answer : null,
      target: answer,
      references: answers,
      group: `${where}#q${q}`,
      choices,
    });
    if (place.split !== "train") return [example(`q${q}`, answers[0] ?? "")];
    return answers.map((answer, a) => example(`q${q}a${a}`, answer));
  });
};

/** The article's highlights become sentences of the passage (fpt.md §6). */
export function cleanPassage(passage: string): string {
  const text = passage.replace(/([.?!"'])\n@highlight\n/g, "$1 ").replace(/\n@highlight\n/g, ". ");
  return /[.,"'?!]$/.test(text) ? text : `${text}.`;
}

/** A question of SQuAD with its context; the first gold answer is the target, or "no answer". */
export const squad: Read = (fields, { where, split }) => {
  const given = columnValue(fields, "answers");
  const answers = given === undefined && split === "test" ? [] : list(given, where, "answers");
  const golds = [...new Set(answers.map((a) => textOf(object(a, where, "answer"), "text", where)))];
  const references = golds.length > 0 ? golds : [noAnswer];
  return [
    {
      part: "",
      fields: { question: textOf(fields, "question", where), context: textOf(fields, "context", where) },
      label: null,
      target: split === "test" && answers.length === 0 ? "" : references[0]!,
      references,
    },
  ];
};

/** An article and its summary; FPT's tsv has sentences joined by `[SEP]`. */
export const xsum: Read = (fields, { where, split }) => {
  const document = textOf(fields, firstOf(fields, ["document", "text"]), where)
    .split("[SEP]")
    .map((s) => s.trim())
    .join(" ");
  const column = firstOf(fields, ["summary", "target"]);
  const summary = split === "test" && !Object.hasOwn(fields, column) ? "" : textOf(fields, column, where);
  return [{ part: "", fields: { document }, label: null, target: summary, references: [summary] }];
};

function object(value: unknown, where: string, column: string): JsonObject {
  if (isObject(value)) return value;
  throw new SoftpromptError("data", `column ${column} holds no object`, {
    where,
    expected: "an object",
    got: typeof value,
  });
}

function list(value: unknown, where: string, column: string): readonly unknown[] {
  if (Array.isArray(value)) return value as unknown[];
  throw new SoftpromptError("data", `column ${column} holds no list`, { where, expected: "a list", got: typeof value });
}

function string(value: unknown, where: string, column: string): string {
  if (typeof value === "string") return value;
  throw new SoftpromptError("data", `column ${column} holds no text`, { where, expected: "a text", got: typeof value });
}

function literal(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
