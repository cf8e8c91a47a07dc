/**
 * @file Several adapters on one model. A program keeps a predictor open to answer inputs of different tasks in common batches.
 *
 * In: Model, adapters by name. Out: Predictor. Each adapter is checked against the model once and its template compiled once; prompts of
 * different length and rows of different tasks stand in one batch.
 */

import { checkBase } from "../adapter/adapter.js";
import { runnable } from "../adapter/applied.js";
import type { Adapter } from "../adapter/types.js";
import { interrupted, nearest, SoftpromptError } from "../base/errors.js";
import { isObject } from "../base/json.js";
import { currentNames } from "../base/options.js";
import type { Parameters } from "../base/tensor.js";
import { type EmptyRow, emptyNotices, endNotice } from "../data/notices.js";
import type { Row, Task } from "../data/row.js";
import type { Fields } from "../data/rows.js";
import { compileTemplate, type Template } from "../data/template.js";
import { type Asked, answerRows, noProbability, topProbability, type WhileWriting } from "../evaluate/evaluate.js";
import { type RankingMode, rankingModes } from "../evaluate/ranking.js";
import type { Method } from "../method/method.js";
import { fullModel } from "../model/partial.js";
import type { EncodedRow } from "../text/batch.js";
import { encodeRows, rowNotices } from "../text/rows.js";
import { endsOf } from "../text/rules.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { givenAdapter } from "./adapter-place.js";
import { answerOptions, checkCall, passOptions, skillOptions } from "./answer-options.js";
import { type CallContext, disposable, type NoticeEvent } from "./call.js";
import { choicesOfInput, inputsIn } from "./choices.js";
import { engineUnder, type Model } from "./model.js";
import { tokenizerFor } from "./readied.js";

/**
 * A text for a template with one hole, or one value per hole. If a task ranks different words for each row, `choices` may give them: a list
 * of texts, or labels with their words.
 */
export type PredictInput = string | object;

/** A model's answer to one input. */
export interface Answer {
  /** The label; null for free text, and where generated text is no label's words. */
  readonly label: string | null;
  /** The label's words, or the generated text. */
  readonly text: string;
  /** Label → probability among the labels; null for generated text. */
  readonly probabilities: Readonly<Record<string, number>> | null;
  /** With `minProbability`: the label that is withheld because it is less probable; `label` is null and `text` empty then. */
  readonly withheld?: string;
  /** The input was longer than `maxInputTokens` and lost words; else absent. */
  readonly truncated?: true;
  /** With `skipBadRows`: why this input has no answer. */
  readonly error?: SoftpromptError;
}

/** How an adapter answers. */
export interface SkillOptions {
  /** Default what the adapter was tuned with, else "ranking"; a task without label words is always "generation". */
  readonly evaluateBy?: "ranking" | "generation" | undefined;
  /** @deprecated evaluateBy */
  readonly by?: "ranking" | "generation" | undefined;
  /** What labels are ranked by. Default what the adapter was tuned with, else "sum". */
  readonly ranking?: RankingMode | undefined;
  /** Default what the adapter was tuned with, else 492. */
  readonly maxInputTokens?: number | undefined;
  /**
   * Withhold an answer whose probability is less (`Answer.withheld`); of `evaluate`, say how good the others are (`Evaluation.selective`). For
   * ranked labels; where answers are written it is refused. Default none is withheld.
   */
  readonly minProbability?: number | undefined;
  /** Task for an adapter that records none (PEFT's own), and for the bare model. */
  readonly task?: Task | undefined;
  /** Use the prompt though the base model is not the recorded one. Default false. */
  readonly anyBase?: boolean | undefined;
}

/** An adapter and the settings of its answers. `adapter: null` is the frozen model without a prompt, which needs a task. */
export interface NamedAdapter extends SkillOptions {
  readonly adapter: Adapter | string | null;
}

/** Options of a predictor. `onEvent` and `signal` are for the opening of its adapters; calls have their own. */
export interface PredictorOptions extends SkillOptions, CallContext<NoticeEvent> {
  /** Name → what `tune` gave, the folder of an adapter or of its run, or an object that also holds the settings of its answers. */
  readonly adapters: Readonly<Record<string, Adapter | string | NamedAdapter>>;
  /** Rows of one pass. Default 32. */
  readonly batchSize?: number | undefined;
}

/** An input, and which adapter answers it. */
export interface PredictorInput {
  readonly adapter: string;
  readonly input: PredictInput;
  /** Its name in errors. Default "input 1", … */
  readonly name?: string | undefined;
}

/** Options of a single call of a predictor. */
export interface AnswerOptions extends CallContext<NoticeEvent> {
  /** Answer an unusable input with its error (`Answer.error`) instead of stopping. Default false. */
  readonly skipBadRows?: boolean | undefined;
}

/** Adapters that are ready to answer. The model still belongs to its owner; disposing a predictor only forgets the adapters. */
export interface Predictor extends AsyncDisposable {
  /** Names of the adapters, in the order they came. */
  readonly adapters: readonly string[];
  /** The task of an adapter. @throws SoftpromptError "usage" for an unknown name. */
  task(name: string): Task;
  /** Answers in the order of the inputs. @throws SoftpromptError "usage" (unknown adapter), "data", "numeric", "interrupted". */
  predict(inputs: readonly PredictorInput[], options?: AnswerOptions): Promise<Answer[]>;
  /** Adds an adapter, or replaces the one of that name. @throws SoftpromptError "adapter". */
  add(name: string, adapter: Adapter | string | NamedAdapter): Promise<void>;
  /** Forgets an adapter. @returns whether there was one. */
  remove(name: string): boolean;
  /** Forgets all adapters; every use after it is refused. Idempotent. */
  dispose(): Promise<void>;
}

/**
 * Opens adapters on a model.
 * @throws SoftpromptError "adapter" naming the adapter (another base model, no task known).
 */
export async function openPredictor(model: Model, options: PredictorOptions): Promise<Predictor> {
  const given = currentNames(options, formerSkillNames, "openPredictor()");
  checkCall({ ...skillOptions, ...passOptions }, given, ["adapters", ...besideSkill], "openPredictor()");
  const { adapters, batchSize, onEvent, signal, ...shared } = given;
  const skills = new Map<string, Skill>();
  let open = true;
  const using = () => {
    if (!open)
      throw new SoftpromptError("usage", "the predictor was disposed", {
        where: "openPredictor()",
        expected: "a use before dispose(), or a new predictor",
      });
  };
  const skillOf = (name: string): Skill => {
    using();
    const skill = skills.get(name);
    if (skill !== undefined) return skill;
    const near = nearest(name, [...skills.keys()]);
    throw new SoftpromptError("usage", "the predictor has no such adapter", {
      where: "adapter",
      expected: [...skills.keys()].join(", ") || "an adapter that was added",
      got: name,
      hint: near === undefined ? undefined : `did you mean ${near}?`,
    });
  };
  const add = async (name: string, given: Adapter | string | NamedAdapter) => {
    using();
    const { adapter, ...named } = isNamed(given) ? given : { adapter: given };
    const own = currentNames(named, formerSkillNames, name);
    checkCall(skillOptions, own, ["task"], `openPredictor(), ${name}`);
    skills.set(name, await openSkill(model, adapter, { ...shared, ...own }, name, { onEvent, signal }));
  };
  if (typeof adapters !== "object" || adapters === null)
    throw new SoftpromptError("usage", "the predictor has no adapters", {
      where: "openPredictor()",
      expected: "{ adapters: { name: what tune gave, or the folder it was saved in } }",
      got: adapters,
    });
  for (const [name, given] of Object.entries(adapters)) await add(name, given);
  return disposable({
    get adapters() {
      return [...skills.keys()];
    },
    task: (name: string) => skillOf(name).task,
    add,
    remove: (name: string) => skills.delete(name),
    async predict(inputs: readonly PredictorInput[], options: AnswerOptions = {}) {
      using();
      checkCall(answerOptions, options, ["onEvent", "signal"], "predict()");
      const { skipBadRows = false, ...rest } = options;
      if (!Array.isArray(inputs)) throw noList("predict()", inputs, "a list of { adapter, input }");
      const read = (inputs as readonly PredictorInput[]).map((one, i) => {
        if (!isObject(one))
          throw new SoftpromptError("usage", "this input names no adapter", {
            where: `predict(): input ${i + 1}`,
            expected: "{ adapter, input }",
            got: one,
          });
        const { adapter, input, name } = one;
        return readInput(skillOf(adapter), input, name ?? `input ${i + 1}`, skipBadRows);
      });
      return answerInputs(model, read, { ...rest, skipBadRows, batchSize });
    },
    async dispose() {
      open = false;
      skills.clear();
    },
  }) as Predictor;
}

/** For callers without types. */
export function noList(where: string, got: unknown, expected: string): SoftpromptError {
  const hint = typeof got === "string" ? "a single text goes into a list: [text]" : undefined;
  return new SoftpromptError("usage", "the inputs are no list", { where, expected, got: typeof got, hint });
}

function isNamed(given: Adapter | string | NamedAdapter): given is NamedAdapter {
  return typeof given === "object" && given !== null && "adapter" in given;
}

/** A task under a prompt, ready to read inputs. */
export interface Skill {
  readonly task: Task;
  readonly template: Template;
  readonly tokenizer: Tokenizer;
  readonly evaluateBy: "ranking" | "generation";
  readonly ranking: RankingMode;
  readonly maxInputTokens: number;
  /** null withholds nothing. */
  readonly minProbability: number | null;
  /** null is the bare model. */
  readonly parameters: Parameters | null;
  readonly method: Method;
}

/** Default of the longest input in tokens. */
export const usualInputTokens = 492;

/** What a call takes beside options that a table checks. */
export const besideSkill = ["task", "onEvent", "signal"] as const;

/** Names of the version before. */
export const formerSkillNames = { by: "evaluateBy" } as const;

/** Checks an adapter against the model. @param name its name in errors. @throws SoftpromptError "adapter". */
export async function openSkill(
  model: Model,
  adapter: Adapter | string | null,
  options: SkillOptions,
  name: string | null = null,
  { onEvent, signal }: CallContext<NoticeEvent> = {},
): Promise<Skill> {
  const {
    evaluateBy,
    ranking,
    maxInputTokens,
    minProbability,
    anyBase,
    task: given,
  } = currentNames(options, formerSkillNames, "predict()");
  const loaded = await givenAdapter(model, adapter, { onEvent, signal });
  if (loaded !== null) await checkBase(loaded, model.checkpoint, { anyBase, tokenizer: model.tokenizer });
  const task = given ?? loaded?.task ?? null;
  if (task === null && loaded === null)
    throw new SoftpromptError("usage", "there is neither an adapter nor a task", {
      where: name ?? "adapter",
      expected: "an adapter, or what shall be answered",
      hint: "give --adapter, or --task, or --template with --verbalizer; in the library an adapter or { task }",
    });
  if (task === null)
    throw new SoftpromptError("adapter", "the adapter does not say which task it is for", {
      where: typeof adapter === "string" ? adapter : (name ?? "adapter"),
      expected: "a softprompt.json with template and label words",
      hint: "give the task: --template and --verbalizer, or { task } in the library",
    });
  const run = loaded === null ? null : runnable(loaded, model.checkpoint.config);
  const asked = evaluateBy ?? recordedEvaluateBy(loaded) ?? "ranking";
  if (minProbability !== undefined && asked === "generation") throw noProbability(name ?? task.name);
  const unended = asked === "generation" ? endNotice(loaded?.task) : null;
  if (unended !== null) onEvent?.({ kind: "notice", message: unended });
  return {
    task,
    template: compileTemplate(task.template),
    tokenizer: await tokenizerFor(model, loaded),
    evaluateBy: asked,
    ranking: ranking ?? recordedRanking(loaded) ?? "sum",
    maxInputTokens: maxInputTokens ?? recordedInputTokens(loaded) ?? usualInputTokens,
    minProbability: minProbability ?? null,
    parameters: run?.parameters ?? null,
    method: run?.method ?? model.engine.method,
  };
}

/** Longest input that the prompt was tuned with; undefined where that is not recorded. */
export function recordedInputTokens(adapter: Pick<Adapter, "training"> | null): number | undefined {
  const recorded = adapter?.training?.settings.maxInputTokens;
  return Number.isInteger(recorded) && (recorded as number) >= 1 ? (recorded as number) : undefined;
}

/** Whether labels were ranked or written when the prompt was chosen; undefined where that is not recorded. */
export function recordedEvaluateBy(adapter: Pick<Adapter, "training"> | null): "ranking" | "generation" | undefined {
  const recorded = adapter?.training?.settings.evaluateBy;
  return recorded === "ranking" || recorded === "generation" ? recorded : undefined;
}

/** How the labels were ranked when the prompt was chosen; undefined where that is not recorded. */
export function recordedRanking(adapter: Pick<Adapter, "training"> | null): RankingMode | undefined {
  const recorded = adapter?.training?.settings.ranking;
  return Object.hasOwn(rankingModes, String(recorded)) ? (recorded as RankingMode) : undefined;
}

/** An input as a row of its skill's task. */
export interface GoodInput {
  readonly skill: Skill;
  readonly row: Row;
  /** Its ids, where they are known; else it is encoded when it is answered. */
  readonly encoded?: EncodedRow;
}
/** The same, or the error why it is not usable. */
export type ReadInput = GoodInput | SoftpromptError;

/** @throws SoftpromptError "data", unless bad rows are answered by their error. */
export function readInput(
  skill: Skill,
  input: PredictInput | SoftpromptError,
  name: string,
  skipBadRows: boolean,
): ReadInput {
  try {
    if (input instanceof SoftpromptError) throw input;
    return { skill, row: unlabelledRow(skill, input, name) };
  } catch (error) {
    if (skipBadRows && error instanceof SoftpromptError) return error;
    throw error;
  }
}

/** Kinds of errors that concern one row, not the model or the machine. */
export const rowErrors: ReadonlySet<string> = new Set(["data", "numeric"]);

const without = (error: SoftpromptError): Answer => ({ label: null, text: "", probabilities: null, error });

/** Answers the rows in their order. */
export async function answerInputs(
  model: Model,
  read: readonly ReadInput[],
  options: AnswerOptions & WhileWriting & { readonly batchSize?: number | undefined },
): Promise<Answer[]> {
  const { skipBadRows = false, onEvent, signal, afterToken, batchSize } = options;
  const full = fullModel(model.checkpoint.config);
  const answered = async (good: readonly GoodInput[]): Promise<Answer[]> => {
    if (good.length === 0) return [];
    const asked = await encoded(good, { onEvent, signal });
    const answers = new Array<Answer>(good.length);
    for (const { method, tokenizer, members } of together(good.map(({ skill }) => skill))) {
      const engine = await engineUnder(model, method);
      const rows = members.map((n) => asked[n]!);
      const found = await answerRows(engine, full, tokenizer, rows, { batchSize, signal, afterToken });
      if (found === null)
        throw interrupted(signal, "stopped before every input was answered", { where: good[0]!.skill.task.name });
      for (const [i, { label, text, probabilities }] of found.entries()) {
        const { skill, row } = good[members[i]!]!;
        const { truncated } = rows[i]!.encoded;
        const answer = { label, text, probabilities, ...(truncated && { truncated }) };
        answers[members[i]!] = withheld(answer, skill.minProbability, row.id);
      }
    }
    return answers;
  };
  /** Answers rows one by one if the whole batch failed, to find out which row is the cause. */
  const sorted = async (good: readonly GoodInput[]): Promise<Answer[]> => {
    try {
      return await answered(good);
    } catch (error) {
      if (!skipBadRows || !(error instanceof SoftpromptError) || !rowErrors.has(error.kind)) throw error;
      if (good.length === 1) return [without(error)];
      const each: Answer[] = [];
      for (const one of good) each.push(...(await sorted([one])));
      return each;
    }
  };
  const answers = await sorted(read.filter((one): one is GoodInput => !(one instanceof SoftpromptError)));
  let next = 0;
  return read.map((one) => (one instanceof SoftpromptError ? without(one) : answers[next++]!));
}

/** The answer, or none where it is less probable than it must be. @throws SoftpromptError "usage" where it was written. */
function withheld(answer: Answer, minProbability: number | null, where: string): Answer {
  if (minProbability === null) return answer;
  const probability = topProbability(answer.probabilities);
  if (probability === null) throw noProbability(where);
  if (probability >= minProbability || answer.label === null) return answer;
  return { ...answer, label: null, text: "", withheld: answer.label };
}

/** Inputs that can share a batch. */
interface Together extends Pick<Skill, "method" | "tokenizer"> {
  readonly members: number[];
}

/** Which inputs can share a batch: prompts of any adapters whose texts end alike (a chat's answer ends at its own token), else those of one adapter. */
function together(skills: readonly Skill[]): Together[] {
  const groups = new Map<unknown, Together>();
  for (const [n, skill] of skills.entries()) {
    const { method, tokenizer } = skill;
    const key = method.perRow ? `${method.key} ${endsOf(tokenizer)}` : skill;
    const known = groups.get(key) ?? { method, tokenizer, members: [] };
    known.members.push(n);
    groups.set(key, known);
  }
  return [...groups.values()];
}

/** Inputs that are encoded before the event loop gets its turn: some tens of milliseconds of work. */
const encodedAtOnce = 256;

/** The rows as ids, encoded per skill. Notices about them are reported. @throws SoftpromptError "interrupted" between some of them */
async function encoded(
  good: readonly GoodInput[],
  { onEvent, signal }: Pick<AnswerOptions, "onEvent" | "signal">,
): Promise<Asked[]> {
  const ids = good.map((one) => one.encoded);
  for (const skill of new Set(good.map((one) => one.skill))) {
    const { task, tokenizer, maxInputTokens } = skill;
    const mine = [...good.keys()].filter((n) => good[n]!.skill === skill && ids[n] === undefined);
    const rows = mine.map((n) => good[n]!.row);
    for (let first = 0; first < rows.length; first += encodedAtOnce) {
      if (first > 0) await new Promise((resolve) => setImmediate(resolve));
      if (signal?.aborted) throw interrupted(signal, "stopped before every input was answered", { where: task.name });
      const own = encodeRows(task, rows.slice(first, first + encodedAtOnce), tokenizer, maxInputTokens);
      for (const [i, one] of own.entries()) ids[mine[first + i]!] = one;
    }
    if (onEvent === undefined) continue;
    const own = mine.map((n) => ids[n]!);
    const notices = [...emptyNotices(rows.flatMap(emptyOf)), ...rowNotices(rows, own, tokenizer, maxInputTokens)];
    for (const message of notices) onEvent({ kind: "notice", message });
  }
  return good.map(({ skill, row }, n) => ({
    task: skill.task,
    row,
    encoded: ids[n]!,
    parameters: skill.parameters,
    evaluateBy: skill.evaluateBy,
    ranking: skill.ranking,
  }));
}

function emptyOf({ id, input, fields = [] }: Row): EmptyRow[] {
  const columns = fields.filter(({ from, to }) => input.slice(from, to).trim() === "").map(({ name }) => name);
  return columns.length === 0 ? [] : [{ id, columns }];
}

/**
 * An input as a Row. Its answer is not known; the first label is used instead, because encoding needs one, and nothing that is
 * computed from it (correctness, loss) leaves this file.
 */
function unlabelledRow({ task, template }: Skill, input: PredictInput, id: string): Row {
  // a caller's data may hold anything
  if (typeof input !== "string" && !isObject(input))
    throw new SoftpromptError("data", "this input is no text and no record", {
      where: id,
      expected: "a text, or { column: value, … }",
      got: input,
    });
  const given = typeof input === "string" ? { [theOneField(template, id)]: input } : input;
  const [one, ...more] = inputsIn(task, given, id);
  if (one === undefined || more.length > 0)
    throw new SoftpromptError("data", "this record does not hold one input", {
      where: id,
      expected: `one, e.g. ${template.fields.join(", ")}`,
      got: one === undefined ? "none" : more.length + 1,
    });
  const fields = asTemplate(task, one.fields);
  const choices = choicesOfInput(task, fields, id);
  const [label, target] = Object.entries(choices ?? task.verbalizer ?? {})[0] ?? [null, ""];
  const row = { id, ...template.fillRow(fields, id), target, label, references: [target] };
  return choices === null ? row : { ...row, choices };
}

/** A record whose columns have the names of the task's rows, with the template's names. */
function asTemplate({ columns }: Task, fields: Fields): Fields {
  const named = Object.entries(columns?.fields ?? {}).filter(
    ([name, column]) => !Object.hasOwn(fields, name) && Object.hasOwn(fields, column),
  );
  return named.length === 0
    ? fields
    : { ...fields, ...Object.fromEntries(named.map(([name, column]) => [name, fields[column]])) };
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
