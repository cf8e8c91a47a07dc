/**
 * @file The choices of inputs in tasks that rank different words for each row: ReCoRD's entities, the texts of COPA and WSC.
 *
 * In: a task, the fields of one input. Out: fields of the template with `choices`. An adapter records a task's template and label words,
 * but not how choices are made from a row. The declared task of the same name defines that.
 */
import { SoftpromptError } from "../base/errors.js";
import { isObject } from "../base/json.js";
import type { Task } from "../data/row.js";
import type { Fields } from "../data/rows.js";
import { type Format, type ReadRecord, tasks } from "../data/tasks.js";
import { columnValue, compileTemplate, textOf } from "../data/template.js";

/** The field in which an input can give its own choices: texts, or labels with their words. */
export const choicesField = "choices";

/** How a declared format's choices follow from the fields of its template. */
const fromFields: Readonly<Record<string, (fields: Fields, where: string) => Readonly<Record<string, string>>>> = {
  "copa/openprompt": (fields, where) => ({
    choice1: textOf(fields, "choice1", where),
    choice2: textOf(fields, "choice2", where),
  }),
  "wsc/openprompt": (fields, where) => ({ False: "Another word", True: textOf(fields, "candidate", where) }),
  "record/t5": (fields, where) =>
    named(
      textOf(fields, "entities", where)
        .split(", ")
        .filter((entity) => entity !== ""),
    ),
};

/** "record" and "record/t5" are the same format: a task's first format is recorded without its name. */
function formatOf({ name, template }: Task): { name: string; format: Format; read: ReadRecord } | null {
  const [task, wanted] = name.split("/") as [string, string?];
  if (!Object.hasOwn(tasks, task)) return null;
  const declared = tasks[task as keyof typeof tasks];
  const formats: Readonly<Record<string, Format>> = declared.formats;
  const format = wanted ?? Object.keys(formats)[0]!;
  const found = Object.hasOwn(formats, format) ? formats[format]! : undefined;
  // a task of the user's own may have the name of a declared one
  if (found === undefined || !template.endsWith(found.template)) return null;
  return { name: `${task}/${format}`, format: found, read: found.read ?? declared.read };
}

/** How a record of the declared task that an adapter recorded becomes examples; null for a task of the user's own. */
export function declaredReader(task: Task): ReadRecord | null {
  return formatOf(task)?.read ?? null;
}

/**
 * One record as a file has it → the inputs in it, each with an id of its own. A record in the declared task's official form (a passage with
 * its queries) is read as the task reads it; anything else is one input.
 * @throws SoftpromptError "data" where a record of that form cannot be read.
 */
export function inputsIn(task: Task, fields: Fields, id: string): { id: string; fields: Fields }[] {
  const declared = formatOf(task);
  const holes = compileTemplate(task.template).fields;
  const filled = (hole: string) => {
    const value = columnValue(fields, hole);
    return value !== undefined && value !== null && !isObject(value);
  };
  if (declared === null || holes.every(filled)) return [{ id, fields }];
  const { label: _, ...unlabelled } = fields;
  // official test files have no labels, so it reads a record without one
  const examples = declared.read(unlabelled, { where: id, split: "test" });
  return examples.map(({ part, fields: texts, choices }) => ({
    id: part === "" ? id : `${id} ${part}`,
    fields: { ...texts, ...(choices && { [choicesField]: choices }) },
  }));
}

/** The choices of one input; null if the task's own label words are ranked, or text is generated. @throws SoftpromptError "data". */
export function choicesOfInput(task: Task, fields: Fields, where: string): Readonly<Record<string, string>> | null {
  if (task.verbalizer !== null || task.scoring?.referent) return null;
  const given = compileTemplate(task.template).fields.includes(choicesField)
    ? undefined
    : columnValue(fields, choicesField);
  if (given !== undefined && given !== null) return checked(given, where);
  const declared = formatOf(task);
  if (declared === null || !Object.hasOwn(fromFields, declared.name)) return null;
  return checked(fromFields[declared.name]!(fields, where), where);
}

function checked(choices: unknown, where: string): Readonly<Record<string, string>> {
  const texts = Array.isArray(choices) ? choices : isObject(choices) ? Object.values(choices) : [];
  if (texts.length === 0 || texts.some((text) => typeof text !== "string" || text.trim() === ""))
    throw new SoftpromptError("data", "the choices cannot be used", {
      where,
      expected: `${choicesField}: a list of texts, or labels with their words`,
      got: choices,
    });
  return Array.isArray(choices) ? named(choices as string[]) : (choices as Readonly<Record<string, string>>);
}

function named(texts: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(texts.map((text) => [text, text]));
}
