/**
 * @file A tuned prompt at work: labels and probabilities, or written text, for inputs without a known answer.
 *
 * In: Model, Adapter (or an adapter folder), inputs: text, or the fields that the task's template asks for. Out: Answers, all at once or
 * one by one as the inputs come.
 */
import { checkBase, loadAdapter } from "../adapter/adapter.js";
import type { Adapter } from "../adapter/types.js";
import { interrupted, SoftpromptError } from "../base/errors.js";
import type { Row, Task } from "../data/row.js";
import { compileTemplate, type Template } from "../data/template.js";
import { evaluatePrepared, preparedNotices, prepareEvaluation } from "../evaluate/evaluate.js";
import { type RankingMode, rankingModes } from "../evaluate/ranking.js";
import { fullModel } from "../model/partial.js";
import { choicesOfInput, inputsIn } from "./choices.js";
import type { Model } from "./model.js";

/**
 * A text for a template with one hole, or one value per hole. Where a task ranks other words for each row, `choices` may say them: a list
 * of texts, or labels with their words.
 */
export type PredictInput = string | Readonly<Record<string, unknown>>;

export interface Answer {
  /** The label; null for free text, and where generated text is no label's words. */
  readonly label: string | null;
  /** The label's words, or the generated text. */
  readonly text: string;
  /** Label → probability among the labels; null for generated text. */
  readonly probabilities: Readonly<Record<string, number>> | null;
  /** With `skipBadRows`: why this input has no answer. */
  readonly error?: SoftpromptError;
}

export interface PredictOptions {
  /** Default "ranking" where the task has label words, else "generation". */
  readonly by?: "ranking" | "generation" | undefined;
  /** Default what the adapter was tuned with, else "sum". */
  readonly ranking?: RankingMode | undefined;
  /** Default what the adapter was tuned with, else 492. */
  readonly maxInputTokens?: number | undefined;
  /** Rows of one pass. Default 32. */
  readonly batchSize?: number | undefined;
  /** Task for an adapter that records none (PEFT's own). */
  readonly task?: Task | undefined;
  /** Use the prompt though the base model is not the recorded one. Default false. */
  readonly anyBase?: boolean | undefined;
  /** Answer an input that cannot be used by its error (`Answer.error`), instead of stopping at it. Default false. */
  readonly skipBadRows?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Hears what should be known of the inputs: cut, with unknown characters, with the text of control tokens. */
  readonly notice?: ((message: string) => void) | undefined;
}

export interface PredictAllOptions extends PredictOptions {
  /** Names of the inputs in errors; default "input 1", … */
  readonly names?: readonly string[] | undefined;
}

export interface PredictStreamOptions extends PredictOptions {
  /** Name of an input in errors, by its number from 0; default "input 1", … */
  readonly nameOf?: ((index: number) => string) | undefined;
  /** How long to wait for a further input before those at hand are answered, in milliseconds. Default 5. */
  readonly pause?: number | undefined;
}

/**
 * Answers inputs in their order.
 * @param adapter what `tune` gave, or the folder it was saved in; null is the frozen model without a prompt (needs `task`).
 * @throws SoftpromptError "adapter" (another base model; no task known), "data" (a field of the template is missing), "numeric" (the model
 *   gives no number), "interrupted".
 */
export async function predict(
  model: Model,
  adapter: Adapter | string | null,
  inputs: readonly PredictInput[],
  options: PredictAllOptions = {},
): Promise<Answer[]> {
  const answerer = await openAnswerer(model, adapter, options);
  const read = inputs.map((input, i) => answerer.read(input, options.names?.[i] ?? `input ${i + 1}`));
  return answerer.answer(read);
}

/**
 * Answers inputs as they come, in their order: those at hand together, up to `batchSize`, without waiting for more than come within `pause`.
 * What came before a bad input is answered before its error is thrown.
 * @param inputs read one ahead; an error stands for an input that was found unusable before. @throws SoftpromptError as `predict`.
 */
export async function* predictStream(
  model: Model,
  adapter: Adapter | string | null,
  inputs: AsyncIterable<PredictInput | SoftpromptError> | Iterable<PredictInput | SoftpromptError>,
  options: PredictStreamOptions = {},
): AsyncGenerator<Answer, void, undefined> {
  const { batchSize = 32, pause = 5, nameOf = (index) => `input ${index + 1}` } = options;
  const answerer = await openAnswerer(model, adapter, options);
  let index = 0;
  for await (const { batch, failed } of atHand(inputs, batchSize, pause)) {
    const read: Read[] = [];
    let error = failed;
    for (const input of batch) {
      try {
        read.push(answerer.read(input, nameOf(index++)));
      } catch (cause) {
        error = { cause };
        break;
      }
    }
    yield* await answerer.answer(read);
    if (error !== undefined) throw error.cause;
  }
}

/** An input as a row of the task, or why it is none. */
type Read = Row | SoftpromptError;

/** What answers inputs of one task under one prompt. */
interface Answerer {
  /** @throws SoftpromptError "data", unless bad rows are answered by their error. */
  read(input: PredictInput | SoftpromptError, name: string): Read;
  answer(read: readonly Read[]): Promise<Answer[]>;
}

async function openAnswerer(
  model: Model,
  adapter: Adapter | string | null,
  {
    by = "ranking",
    ranking,
    maxInputTokens,
    batchSize,
    anyBase,
    skipBadRows = false,
    signal,
    ...options
  }: PredictOptions,
): Promise<Answerer> {
  const loaded = typeof adapter === "string" ? loadAdapter(adapter) : adapter;
  if (loaded !== null) await checkBase(loaded, model.checkpoint, { anyBase, tokenizer: model.tokenizer });
  const task = options.task ?? loaded?.task ?? null;
  if (task === null)
    throw new SoftpromptError("adapter", "the adapter does not say which task it is for", {
      where: typeof adapter === "string" ? adapter : "adapter",
      expected: "a softprompt.json with template and label words",
      hint: "give the task: --template and --verbalizer, or { task } in the library",
    });
  const template = compileTemplate(task.template);
  const parameters = loaded && { prompt: loaded.prompt };
  const full = fullModel(model.checkpoint.config);

  const evaluated = async (rows: readonly Row[]): Promise<Answer[]> => {
    if (rows.length === 0) return [];
    const prepared = prepareEvaluation(model.tokenizer, task, rows, {
      by,
      ranking: ranking ?? recordedRanking(loaded),
      maxInputTokens: maxInputTokens ?? recordedInputTokens(loaded),
      batchSize,
      loss: false,
    });
    for (const message of preparedNotices(prepared, model.tokenizer)) options.notice?.(message);
    const found = await evaluatePrepared(model.engine, full, model.tokenizer, prepared, parameters, signal);
    if (found === null) throw interrupted(signal, "stopped before every input was answered", { where: task.name });
    return found.predictions.map(({ label, text, probabilities }) => ({ label, text, probabilities }));
  };
  /** Rows that are answered one by one where one of them makes the whole batch fail, to tell which. */
  const sorted = async (rows: readonly Row[]): Promise<Answer[]> => {
    try {
      return await evaluated(rows);
    } catch (error) {
      if (!skipBadRows || !(error instanceof SoftpromptError) || !rowErrors.has(error.kind)) throw error;
      if (rows.length === 1) return [{ label: null, text: "", probabilities: null, error }];
      const each: Answer[] = [];
      for (const row of rows) each.push(...(await sorted([row])));
      return each;
    }
  };
  return {
    read(input, name) {
      try {
        if (input instanceof SoftpromptError) throw input;
        return unlabelledRow(task, template, input, name);
      } catch (error) {
        if (skipBadRows && error instanceof SoftpromptError) return error;
        throw error;
      }
    },
    async answer(read) {
      const rows = read.filter((row): row is Row => !(row instanceof SoftpromptError));
      const answers = await sorted(rows);
      let next = 0;
      return read.map((row) =>
        row instanceof SoftpromptError ? { label: null, text: "", probabilities: null, error: row } : answers[next++]!,
      );
    },
  };
}

/** Failures that are one row's, not the model's or the machine's. */
const rowErrors: ReadonlySet<string> = new Set(["data", "numeric"]);

/** Longest input that the prompt was tuned with; undefined where that is not recorded. */
export function recordedInputTokens(adapter: Pick<Adapter, "training"> | null): number | undefined {
  const recorded = adapter?.training?.settings.maxInputTokens;
  return Number.isInteger(recorded) && (recorded as number) >= 1 ? (recorded as number) : undefined;
}

/** How the labels were ranked when the prompt was chosen; undefined where that is not recorded. */
export function recordedRanking(adapter: Pick<Adapter, "training"> | null): RankingMode | undefined {
  const recorded = adapter?.training?.settings.ranking;
  return Object.hasOwn(rankingModes, String(recorded)) ? (recorded as RankingMode) : undefined;
}

/**
 * An input as a Row. Its answer is not known; the first label stands in, because encoding wants one, and nothing that is
 * computed from it (correctness, loss) leaves this file.
 */
function unlabelledRow(task: Task, template: Template, input: PredictInput, id: string): Row {
  const given = typeof input === "string" ? { [theOneField(template, id)]: input } : input;
  const [one, ...more] = inputsIn(task, given, id);
  if (one === undefined || more.length > 0)
    throw new SoftpromptError("data", "this record does not hold one input", {
      where: id,
      expected: `one, e.g. ${template.fields.join(", ")}`,
      got: one === undefined ? "none" : more.length + 1,
    });
  const choices = choicesOfInput(task, one.fields, id);
  const [label, target] = Object.entries(choices ?? task.verbalizer ?? {})[0] ?? [null, ""];
  const row = { id, ...template.fillRow(one.fields, id), target, label, references: [target] };
  return choices === null ? row : { ...row, choices };
}

function theOneField({ fields }: Template, id: string): string {
  if (fields.length === 1) return fields[0]!;
  throw new SoftpromptError("data", "a plain text does not say which part of the template it is", {
    where: id,
    expected: `an object with ${fields.join(", ")}`,
    got: "a text",
    hint: `as JSON: {${fields.map((f) => `"${f}": "…"`).join(", ")}}`,
  });
}

/** Inputs as they come: those at hand together. `failed` is the error that reading ended with. */
async function* atHand<T>(
  inputs: AsyncIterable<T> | Iterable<T>,
  most: number,
  pause: number,
): AsyncGenerator<{ batch: T[]; failed?: { cause: unknown } }, void, undefined> {
  const iterator = Symbol.asyncIterator in inputs ? inputs[Symbol.asyncIterator]() : inputs[Symbol.iterator]();
  const pull = async () => {
    try {
      const { done, value } = await iterator.next();
      return done ? { done: true as const } : { value };
    } catch (cause) {
      return { failed: { cause } };
    }
  };
  let ended = false;
  try {
    for (let next = pull(); ; ) {
      const batch: T[] = [];
      let failed: { cause: unknown } | undefined;
      while (batch.length < most) {
        const found = batch.length === 0 ? await next : await soon(next, pause);
        if (found === null) break;
        ended = found.done === true || found.failed !== undefined;
        failed = found.failed;
        if (ended) break;
        batch.push(found.value as T);
        next = pull();
      }
      if (batch.length > 0 || failed !== undefined) yield failed === undefined ? { batch } : { batch, failed };
      if (ended) return;
    }
  } finally {
    // whoever stops reading early lets the source close; it may be waiting for input, so it is not waited for
    if (!ended) void Promise.resolve(iterator.return?.()).catch(() => {});
  }
}

/** The promise's value, or null where it does not come within `pause` milliseconds. */
async function soon<T>(promise: Promise<T>, pause: number): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((done) => {
    timer = setTimeout(() => done(null), pause);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
