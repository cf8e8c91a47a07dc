/**
 * @file The work of softprompt predict: inputs as they come, one JSON line for each.
 */
import { existsSync } from "node:fs";
import { stdin } from "node:process";
import type { Adapter } from "../../adapter/types.js";
import { SoftpromptError } from "../../base/errors.js";
import { exactNumbers, isObject, type JsonObject, parseJson } from "../../base/json.js";
import type { Task } from "../../data/row.js";
import { skippedNotice } from "../../data/rows.js";
import { templateFields } from "../../data/template.js";
import type { NoticeEvent } from "../../tasks/call.js";
import { inputsIn } from "../../tasks/choices.js";
import { otherTask, taskBeside, taskDifferences } from "../../tasks/data.js";
import { answerStream, type StreamSkill } from "../../tasks/predict.js";
import { type Answer, openSkill, type PredictInput } from "../../tasks/predictor.js";
import type { CommandContext } from "../command.js";
import { sayNotices } from "../data.js";
import { type Line, linesOf } from "../lines.js";
import { checkWritable, lineFile } from "../output.js";
import type { PredictValues } from "../tables/predict.js";
import { refuseUnread } from "../unread.js";
import { namedAdapter, openWithAdapter } from "./recorded-model.js";

export async function predict(
  options: PredictValues,
  text: string | undefined,
  { terminal, signal, given, atStop }: CommandContext,
): Promise<null> {
  if (text !== undefined && options.file !== undefined)
    throw new SoftpromptError("usage", "both a text and a file are given", {
      where: "softprompt predict",
      expected: "one of them",
    });
  if (options.file !== undefined) refuseUnread("a file of rows", "softprompt predict --file", ["lines"], given);
  if (options.output !== undefined) checkWritable(options.output, [options.file]);
  const named = namedPlaces(options.adapter ?? []);
  const adapters: Named[] = [];
  for (const { name, place } of named)
    adapters.push({ name, adapter: await namedAdapter({ ...options, adapter: place }, { terminal, signal }) });
  if (adapters.length === 0) adapters.push({ name: null, adapter: null });
  const tasks = adapters.map(({ name, adapter }) => {
    const recorded = adapter?.task ?? null;
    const task = taskBeside(options, recorded) ?? undefined;
    const differ = recorded === null || task === undefined ? [] : taskDifferences(recorded, task);
    if (differ.length > 0) terminal.warn((name === null ? "" : `${name}: `) + otherTask(recorded!, differ));
    return task;
  });
  // a prompt alone as .npy does not say which model it is for
  const said = adapters.find(({ adapter }) => adapter !== null && adapter.base.name !== "") ?? adapters[0]!;
  const model = await openWithAdapter(options.model, said.adapter, options, { terminal, signal });
  const out = options.output === undefined ? null : lineFile(options.output);
  let written = 0;
  const write = (line: JsonObject) => {
    const json = JSON.stringify(line, (_, value) => (typeof value === "bigint" ? wholeNumber(value) : value));
    if (out === null) terminal.result(json);
    else out.write(json);
    written++;
  };
  atStop(() => {
    const answers = `${written} answer${written === 1 ? "" : "s"}`;
    if (written === 0) return "no answer was written";
    return out === null
      ? `${answers} were written before`
      : `${options.output} stays, with ${answers}: it is not complete`;
  });
  // inputs that are read but not yet answered, by their number
  const waiting = new Map<number, Asked>();
  const blanks: { readonly before: number; readonly line: JsonObject }[] = [];
  let [read, told] = [0, 0];
  const tellBlanks = () => {
    while (blanks[0] !== undefined && blanks[0].before <= told) write(blanks.shift()!.line);
  };
  const asked = async function* (): AsyncGenerator<PredictInput | SoftpromptError> {
    for await (const one of inputsOf(text, options, tasks, { terminal, signal })) {
      if (one.blank) {
        for (const { name } of adapters)
          blanks.push({ before: read, line: { ...errorLine(one.where, one.blank), ...nameIn(name) } });
        tellBlanks();
        continue;
      }
      waiting.set(read++, one);
      yield one.input;
    }
  };
  try {
    const onEvent = oneOfAKind(terminal);
    const skills: StreamSkill[] = [];
    for (const [n, { name, adapter }] of adapters.entries()) {
      const { evaluateBy, maxInputTokens, anyBase } = options;
      const how = { evaluateBy, maxInputTokens, anyBase, task: tasks[n] };
      skills.push({ name, skill: await openSkill(model, adapter, how, name, { onEvent, signal }) });
    }
    const answers = answerStream(model, skills, asked(), {
      skipBadRows: options.skipBadRows,
      nameOf: (index) => waiting.get(index)!.where,
      signal,
      onEvent,
    });
    for await (const own of answers) {
      tellBlanks();
      for (const [n, answer] of own.entries()) write(outputLine(waiting.get(told)!, answer, adapters[n]!.name));
      waiting.delete(told++);
    }
    tellBlanks();
  } finally {
    out?.close();
    await model.dispose();
  }
  return null;
}

interface Named {
  /** Null where one adapter, or none, was given without a name. */
  readonly name: string | null;
  readonly adapter: Adapter | null;
}

/**
 * Adapters as they are given: NAME=PLACE or PLACE. A place that is there with its equals sign is one. With several, one without a name has
 * its place as its name.
 */
export function namedPlaces(given: readonly string[]): { name: string | null; place: string }[] {
  const found = given.map((text) => {
    const [, name, place] = /^([A-Za-z0-9][\w.-]{0,63})=(.+)$/s.exec(text) ?? [];
    if (name === undefined || existsSync(text)) return { name: given.length > 1 ? text : null, place: text };
    return { name, place: place! };
  });
  const names = found.map(({ name }) => name);
  const twice = names.find((name, n) => names.indexOf(name) !== n);
  if (twice !== undefined)
    throw new SoftpromptError("usage", "two adapters have one name", {
      where: "--adapter",
      expected: "each name once: --adapter spam=runs/spam --adapter tone=runs/tone",
      got: twice,
    });
  return found;
}

/** Shows each kind of notice only once, because every batch of inputs would repeat it with other numbers. */
function oneOfAKind(terminal: CommandContext["terminal"]): (event: NoticeEvent) => void {
  const told = new Set<string>();
  return ({ message }) => {
    const kind = message.replace(/^\d+ of \d+ /, "").slice(0, 20);
    if (told.has(kind)) return;
    told.add(kind);
    sayNotices([message], terminal);
  };
}

interface Asked {
  /** The input's own id, or its place. */
  readonly id: string | number;
  /** Its place, for errors. */
  readonly where: string;
  /** An input, or the error of a line that is not valid text. */
  readonly input: PredictInput | SoftpromptError;
  /** The error that prevents an answer. */
  readonly blank?: SoftpromptError;
}

/** The inputs one by one; standard input is read as it comes. */
async function* inputsOf(
  text: string | undefined,
  { file, lines, skipBadRows }: PredictValues,
  tasks: readonly (Task | undefined)[],
  { terminal, signal }: Pick<CommandContext, "terminal" | "signal">,
): AsyncGenerator<Asked> {
  // with several holes only an object can name the texts
  const each = tasks.map((task) => (task === undefined ? [] : templateFields(task.template)));
  const fields = each.reduce((most, own) => (own.length > most.length ? own : most));
  // records are taken apart as the first adapter's task has them
  const [task] = tasks;
  const form = { lines: lines === "auto" && fields.length > 1 ? ("jsonl" as const) : lines, fields };
  if (text !== undefined) yield* structured(fromText(text, form, "text"), "text", task);
  else if (file !== undefined) {
    // parquet and csv readers take time to load, so they are loaded only for files
    const { readTable } = await import("../../data/table.js");
    const { rows, notices, skipped, bad } = await readTable(file, { signal, skipBadRows });
    // a row that cannot be read has no place among the answers, so it is told of beside them
    sayNotices([...notices, ...skippedNotice(skipped, bad)], terminal);
    for (const { line, fields } of rows) yield* structured(fields, `${file}:${line}`, task);
  } else {
    if (stdin.isTTY) terminal.note("one text a line; Ctrl-D ends");
    for await (const line of linesOf(stdin, "stdin", signal)) {
      const where = `stdin:${line.number}`;
      if (typeof line.text === "string" && line.text.trim() === "") {
        const blank = new SoftpromptError("data", "this line is blank", { where });
        yield { id: where, where, input: blank, blank };
      } else yield* structured(fromLine(line, form, where), where, task);
    }
  }
}

/** How texts are read, and the fields that the template needs. */
interface Form {
  readonly lines: PredictValues["lines"];
  readonly fields: readonly string[];
}

function fromLine({ text }: Line, form: Form, where: string) {
  return typeof text === "string" ? fromText(text, form, where) : text;
}

/** A text, parsed as `form` says. */
export function fromText(text: string, { lines, fields }: Form, where: string): PredictInput | SoftpromptError {
  if (lines === "text" || (lines === "auto" && !isJsonObject(text))) return text;
  try {
    // what does not begin as an object is a text, not a damaged file
    const object = text.trimStart().startsWith("{");
    // numbers as the readers of files take them: two ids above 2^53 do not become one
    const value = object ? parseJson(exactNumbers(text), where, "data", { length: 2_000_000 }) : null;
    if (isObject(value)) return value;
    const named = (fields.length > 0 ? fields : ["text"]).map((field) => `${JSON.stringify(field)}: "…"`);
    throw new SoftpromptError("data", "this is no JSON object", {
      where,
      expected: `an object with the fields of the template, {${named.join(", ")}}`,
      got: text,
      hint: fields.length > 1 ? undefined : "--lines text reads every line as it stands",
    });
  } catch (error) {
    // the error is returned at its place, after the answers before it
    if (error instanceof SoftpromptError) return error;
    throw error;
  }
}

function isJsonObject(text: string): boolean {
  if (!text.trimStart().startsWith("{")) return false;
  try {
    return isObject(JSON.parse(text));
  } catch {
    return false;
  }
}

/** A record as the inputs in it: one, or where the task's official form holds several (a passage with its queries), each of them. */
function* structured(input: PredictInput | SoftpromptError, where: string, task: Task | undefined): Generator<Asked> {
  if (typeof input === "string" || input instanceof SoftpromptError || task === undefined) {
    yield { id: idOf(input) ?? where, where, input };
    return;
  }
  try {
    for (const { id, fields } of inputsIn(task, input, where))
      yield { id: (id === where ? idOf(input) : undefined) ?? id, where: id, input: fields };
  } catch (error) {
    if (!(error instanceof SoftpromptError)) throw error;
    yield { id: where, where, input: error };
  }
}

function idOf(input: PredictInput | SoftpromptError): string | number | undefined {
  const id =
    isObject(input) && !(input instanceof SoftpromptError) && Object.hasOwn(input, "id") ? input.id : undefined;
  return typeof id === "string" || typeof id === "number" ? id : undefined;
}

function outputLine({ id, where, input }: Asked, { error, ...answer }: Answer, name: string | null): JsonObject {
  if (error !== undefined) return { ...errorLine(where, error), id, ...nameIn(name) };
  const columns = typeof input === "string" || input instanceof SoftpromptError ? {} : { input };
  return { id, ...nameIn(name), ...answer, ...columns };
}

const nameIn = (name: string | null): JsonObject => (name === null ? {} : { adapter: name });

function errorLine(id: string, { kind, problem, parts }: SoftpromptError): JsonObject {
  const { where, expected, hint } = parts;
  return { id, label: null, text: "", probabilities: null, error: { kind, problem, where, expected, hint } };
}

function wholeNumber(value: bigint): number | string {
  return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
}
