/**
 * @file The work of softprompt predict: inputs as they come, and their answers as lines.
 */
import { existsSync } from "node:fs";
import { stdin } from "node:process";
import type { Adapter } from "../../adapter/types.js";
import { SoftpromptError, withHint } from "../../base/errors.js";
import { exactNumbers, isObject, parseJson } from "../../base/json.js";
import type { Task } from "../../data/row.js";
import { skippedNotice } from "../../data/rows.js";
import { templateFields } from "../../data/template.js";
import type { NoticeEvent } from "../../tasks/call.js";
import { inputsIn } from "../../tasks/choices.js";
import { otherTask, taskBeside, taskDifferences } from "../../tasks/data.js";
import { answerStream, type StreamSkill } from "../../tasks/predict.js";
import { type Answer, openSkill, type PredictInput, rowErrors } from "../../tasks/predictor.js";
import { type AskedInput, answerLines, fieldsOf, formatOf } from "../answers.js";
import type { CommandContext } from "../command.js";
import { sayNotices } from "../data.js";
import { type Line, linesOf } from "../lines.js";
import { checkWritable, lineFile } from "../output.js";
import { answerProgress } from "../progress.js";
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
  const format = options.outputFormat ?? formatOf(options.output);
  if (terminal.json && options.output === undefined && format !== "jsonl")
    throw new SoftpromptError("usage", "--json leaves JSON alone on standard output", {
      where: "--output-format",
      expected: "jsonl, or a file for the table (--output)",
      got: format,
    });
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
  const lines = answerLines({
    format,
    adapters: adapters.map(({ name }) => name),
    withheld: options.minProbability !== undefined,
    errors: options.skipBadRows || (text === undefined && options.file === undefined),
  });
  // inputs whose answers were written, and the answers
  let [done, written] = [0, 0];
  const withheld = adapters.map(() => 0);
  const put = (some: readonly string[]) => {
    for (const line of some)
      if (out === null) terminal.result(line);
      else out.write(line);
  };
  const write = (asked: Asked, answers: readonly Answer[]) => {
    put(lines.of(asked, answers));
    for (const [n, answer] of answers.entries()) if (answer.withheld !== undefined) withheld[n]!++;
    done++;
    written += answers.length;
  };
  atStop(() => {
    const answers = `${written} answer${written === 1 ? "" : "s"}`;
    if (written === 0) return "no answer was written";
    return out === null
      ? `${answers} were written before`
      : `${options.output} stays, with ${answers}: it is not complete`;
  });
  // what is typed would stand behind the line of progress
  const typed = text === undefined && options.file === undefined && stdin.isTTY;
  const watch = typed ? () => {} : answerProgress(terminal);
  let total: number | null = null;
  // inputs that are read but not yet answered, by their number
  const waiting = new Map<number, Asked>();
  const blanks: { readonly before: number; readonly asked: Asked }[] = [];
  let [read, told] = [0, 0];
  const tellBlanks = () => {
    while (blanks[0] !== undefined && blanks[0].before <= told) {
      const { asked } = blanks.shift()!;
      write(
        asked,
        adapters.map(() => ({ label: null, text: "", probabilities: null, error: asked.blank! })),
      );
    }
  };
  const asked = async function* (): AsyncGenerator<PredictInput | SoftpromptError> {
    for await (const one of inputsOf(text, options, tasks, { terminal, signal })) {
      total = one.total ?? null;
      if (one.blank) {
        blanks.push({ before: read, asked: one });
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
      const { evaluateBy, maxInputTokens, minProbability, anyBase } = options;
      const how = { evaluateBy, maxInputTokens, minProbability, anyBase, task: tasks[n] };
      skills.push({ name, skill: await openSkill(model, adapter, how, name, { onEvent, signal }) });
    }
    const answers = answerStream(model, skills, asked(), {
      skipBadRows: options.skipBadRows,
      nameOf: (index) => waiting.get(index)!.where,
      signal,
      onEvent,
      afterToken: async (tokens) => watch({ done, total, tokens }),
    });
    for await (const own of answers) {
      tellBlanks();
      write(waiting.get(told)!, own);
      waiting.delete(told++);
      watch({ done, total });
    }
    tellBlanks();
    put(lines.end());
    if (options.minProbability !== undefined)
      terminal.note(
        withheldText(
          options.minProbability,
          adapters.map(({ name }, n) => [name, withheld[n]!] as const),
          done,
        ),
      );
  } catch (error) {
    // what a table held back was answered too
    put(lines.end());
    throw done === 0 ? error : afterAnswers(error, done, options);
  } finally {
    terminal.redraw("");
    out?.close();
    await model.dispose();
  }
  return null;
}

/** How many answers are withheld: "2 of 9 answers are less probable than 0.8 and are withheld". */
function withheldText(
  minProbability: number,
  counts: readonly (readonly [adapter: string | null, withheld: number])[],
  inputs: number,
): string {
  return counts
    .map(([name, n]) => {
      const own = name === null ? "" : `${name}: `;
      return `${own}${n} of ${inputs} answers ${n === 1 ? "is" : "are"} less probable than ${minProbability} and ${n === 1 ? "is" : "are"} withheld`;
    })
    .join("\n");
}

/** The error that ended a prediction, with what is written by then and how to go on. */
function afterAnswers(error: unknown, done: number, { output, skipBadRows }: PredictValues): unknown {
  // the end by a signal says so itself
  if (!(error instanceof SoftpromptError) || error.kind === "interrupted") return error;
  const before = `the answers of ${done === 1 ? "the input" : `${done} inputs`} before`;
  const kept = output === undefined ? `${before} were written` : `${output} has ${before}, and is not complete`;
  const goOn = "correct this one and run it again, or have it answered with its error by --skip-bad-rows";
  return withHint(error, rowErrors.has(error.kind) && !skipBadRows ? `${kept}; ${goOn}` : kept);
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
    const kind = message.replace(/^\d+ (of \d+ |rows? ha(s|ve) )/, "").slice(0, 20);
    if (told.has(kind)) return;
    told.add(kind);
    sayNotices([message], terminal);
  };
}

interface Asked extends AskedInput {
  /** The error that prevents an answer. */
  readonly blank?: SoftpromptError;
  /** How many inputs there are; undefined where they are read as they come. */
  readonly total?: number;
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
  // a plain text fills the only hole of its template
  const column = fields.length === 1 ? fields[0]! : "text";
  if (text !== undefined) yield* structured(fromText(text, form, "text"), "text", task, column);
  else if (file !== undefined) {
    // parquet and csv readers take time to load, so they are loaded only for files
    const { readTable } = await import("../../data/table.js");
    const { rows, columns, notices, skipped, bad } = await readTable(file, { signal, skipBadRows });
    // a row that cannot be read has no place among the answers, so it is told of beside them
    sayNotices([...notices, ...skippedNotice(skipped, bad)], terminal);
    const all = rows.flatMap(({ line, fields }) => [...structured(fields, `${file}:${line}`, task, column)]);
    const held = new Set<string>();
    for (const one of all) for (const name of Object.keys(fieldsOf(one))) held.add(name);
    const table = { columns: [...new Set([...columns.filter((name) => held.has(name)), ...held])], total: all.length };
    for (const one of all) yield { ...one, ...table };
  } else {
    if (stdin.isTTY) terminal.note("one text a line; Ctrl-D ends");
    for await (const line of linesOf(stdin, "stdin", signal)) {
      const where = `stdin:${line.number}`;
      if (typeof line.text === "string" && line.text.trim() === "") {
        const blank = new SoftpromptError("data", "this line is blank", { where });
        yield { id: where, where, column, input: blank, blank };
      } else yield* structured(fromLine(line, form, where), where, task, column);
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
function* structured(
  input: PredictInput | SoftpromptError,
  where: string,
  task: Task | undefined,
  column: string,
): Generator<Asked> {
  if (!isObject(input) || input instanceof SoftpromptError || task === undefined) {
    yield { id: idOf(input) ?? where, where, column, input };
    return;
  }
  try {
    for (const { id, fields } of inputsIn(task, input, where))
      yield { id: (id === where ? idOf(input) : undefined) ?? id, where: id, column, input: fields };
  } catch (error) {
    if (!(error instanceof SoftpromptError)) throw error;
    yield { id: where, where, column, input: error };
  }
}

function idOf(input: PredictInput | SoftpromptError): string | number | undefined {
  const id =
    isObject(input) && !(input instanceof SoftpromptError) && Object.hasOwn(input, "id") ? input.id : undefined;
  return typeof id === "string" || typeof id === "number" ? id : undefined;
}
