/**
 * @file Predictions of a tuned prompt for inputs without a known answer: labels and probabilities, or generated text.
 *
 * In: Model, Adapter (or an adapter folder), inputs: text, or the fields that the task's template asks for. Out: Answers, all at once or
 * one by one as the inputs come.
 */
import type { Adapter } from "../adapter/types.js";
import type { SoftpromptError } from "../base/errors.js";
import { currentNames } from "../base/options.js";
import type { WhileWriting } from "../evaluate/evaluate.js";
import { checkCall, predictOptions } from "./answer-options.js";
import type { Model } from "./model.js";
import {
  type Answer,
  type AnswerOptions,
  answerInputs,
  besideSkill,
  formerSkillNames,
  noList,
  openSkill,
  type PredictInput,
  type ReadInput,
  readInput,
  type Skill,
  type SkillOptions,
} from "./predictor.js";

/** How inputs are answered. */
export interface PredictOptions extends SkillOptions, AnswerOptions {
  /** Rows of one pass. Default 32. */
  readonly batchSize?: number | undefined;
}

/** PredictOptions for a complete list of inputs. */
export interface PredictAllOptions extends PredictOptions {
  /** Names of the inputs in errors; default "input 1", … */
  readonly names?: readonly string[] | undefined;
}

/** PredictOptions for inputs that arrive one by one. */
export interface PredictStreamOptions extends PredictOptions {
  /** Name of an input in errors, by its number from 0; default "input 1", … */
  readonly nameOf?: ((index: number) => string) | undefined;
  /** How long to wait for a further input before those that have arrived are answered, in milliseconds. Default 5. */
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
  if (!Array.isArray(inputs)) throw noList("predict()", inputs, "a list of inputs");
  checkCall(
    predictOptions,
    currentNames(options, formerSkillNames, "predict()"),
    ["names", ...besideSkill],
    "predict()",
  );
  const skill = await openSkill(model, adapter, options, null, options);
  const { names, skipBadRows = false } = options;
  const read = inputs.map((input, i) => readInput(skill, input, names?.[i] ?? `input ${i + 1}`, skipBadRows));
  return answerInputs(model, read, options);
}

/**
 * Answers inputs as they arrive, in their order. Inputs that arrive within `pause` are answered together, up to `batchSize`. Inputs before
 * a bad one are answered before its error is thrown.
 * @param inputs they are read one ahead; an error in the list stands for an input that the caller found unusable. @throws SoftpromptError
 * as
 * `predict`.
 */
export async function* predictStream(
  model: Model,
  adapter: Adapter | string | null,
  inputs: AsyncIterable<PredictInput | SoftpromptError> | Iterable<PredictInput | SoftpromptError>,
  options: PredictStreamOptions = {},
): AsyncGenerator<Answer, void, undefined> {
  const known = currentNames(options, formerSkillNames, "predictStream()");
  checkCall(predictOptions, known, ["nameOf", "pause", ...besideSkill], "predictStream()");
  // a text is iterable too: each of its characters would be an input
  if (typeof inputs !== "object" || inputs === null || !isIterable(inputs))
    throw noList("predictStream()", inputs, "an iterable of inputs, such as a list or a stream of lines");
  const skill = await openSkill(model, adapter, options, null, options);
  for await (const [answer] of answerStream(model, [{ name: null, skill }], inputs, options)) yield answer!;
}

/** An adapter that answers every input; its name stands in errors. */
export interface StreamSkill {
  readonly name: string | null;
  readonly skill: Skill;
}

/**
 * Answers inputs as they arrive, each by every skill. What arrives within `pause` is answered together: a text before its virtual tokens is
 * read once for all skills.
 * @returns per input, in their order, one answer for each skill
 */
export async function* answerStream(
  model: Model,
  skills: readonly StreamSkill[],
  inputs: AsyncIterable<PredictInput | SoftpromptError> | Iterable<PredictInput | SoftpromptError>,
  options: PredictStreamOptions & WhileWriting = {},
): AsyncGenerator<Answer[], void, undefined> {
  const { batchSize = 32, pause = 5, nameOf = (index) => `input ${index + 1}`, skipBadRows = false } = options;
  let index = 0;
  const most = Math.max(1, Math.floor(batchSize / skills.length));
  for await (const { batch, failed } of atHand(inputs, most, pause)) {
    const read: ReadInput[] = [];
    let error = failed;
    for (const input of batch) {
      const place = nameOf(index++);
      try {
        const own = skills.map(({ name, skill }) =>
          readInput(skill, input, name === null ? place : `${place}, adapter ${name}`, skipBadRows),
        );
        read.push(...own);
      } catch (cause) {
        error = { cause };
        break;
      }
    }
    const answers = await answerInputs(model, read, options);
    for (let n = 0; n < answers.length; n += skills.length) yield answers.slice(n, n + skills.length);
    if (error !== undefined) throw error.cause;
  }
}

const isIterable = (value: object) => Symbol.asyncIterator in value || Symbol.iterator in value;

/** Groups of inputs that arrived together. `failed` is the error with which reading ended. */
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
    // if the caller stops early, the source is closed. It may be blocked waiting for input, so its end is not awaited
    if (!ended) void Promise.resolve(iterator.return?.()).catch(() => {});
  }
}

/** The promise's value, or null if it does not settle within `pause` milliseconds. */
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
