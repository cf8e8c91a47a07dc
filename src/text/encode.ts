/**
 * @file From a Row to token ids: truncation, targets, candidates.
 *
 * In: rows of the data room, a Task, a Tokenizer, the family's EncodingRules. Out: EncodedRow.
 * An input that is too long loses the end of its longest field (fit.ts), never the template's text or another field; a row
 * whose fields are not known is cut on the right. `maxInputTokens` counts the text with the ids that the rules put round it,
 * never the prompt. Candidates are never cut: a shortened label would be another label.
 */
import { SoftpromptError } from "../base/errors.js";
import type { PromptPart, Row, Task } from "../data/row.js";
import type { EncodedRow } from "./batch.js";
import { encodeCausal, encodeCausalInput, idsBefore } from "./causal.js";
import { inChat } from "./chat.js";
import { type Fitted, fitText } from "./fit.js";
import { type EncodingRules, rulesOf } from "./rules.js";
import type { Tokenizer } from "./tokenizer.js";

export interface EncodeOptions {
  /** Longest input in tokens, with what the rules put round it, prompt not counted. At least 2. */
  readonly maxInputTokens: number;
  /** Default the tokenizer's own, else T5's. */
  readonly rules?: EncodingRules;
}

/** What encoding needs of a task. */
export type EncodedTask = Pick<Task, "name" | "verbalizer" | "maxTargetTokens" | "targetPrefix" | "openAnswers">;

/** What encoding needs of a row. */
type Text = Pick<Row, "id" | "input" | "fields" | "continues" | "promptAt" | "promptBefore" | "promptIn" | "sharedTo">;

/**
 * Encodes rows in order. Throws SoftpromptError if two labels have the same ids (they could never be distinguished), if a
 * template alone is longer than maxInputTokens, or if an id has no row in the model's embedding.
 */
export function tokenizeRows(
  rows: readonly Row[],
  task: EncodedTask,
  tokenizer: Tokenizer,
  options: EncodeOptions,
): EncodedRow[] {
  if (!(options.maxInputTokens >= 2))
    throw new SoftpromptError("usage", "maxInputTokens is too small", {
      where: "maxInputTokens",
      expected: "at least 2: one token of text and the end-of-sequence",
      got: options.maxInputTokens,
    });
  const { maxInputTokens } = options;
  const rules = rulesOf(tokenizer, options);
  if (task.verbalizer !== null) checkLabels(task.verbalizer, task, tokenizer);
  const encode = rules.joined === null ? separately(task, tokenizer, rules) : jointly(task, tokenizer, rules);
  const reserved = reservedTokens(task, tokenizer);
  const beginning = beginnings(rules, tokenizer);
  return rows.map((row) => {
    const labels = row.choices ?? task.verbalizer;
    if (row.promptIn === "decoder" && rules.joined !== null)
      throw new SoftpromptError("usage", "a decoder-only model has no decoder apart from its text", {
        where: "promptPosition",
        expected: "start or end",
        got: "decoder",
        hint: "at the end the prompt stands before the target, and each text is read once",
      });
    const text = fittedInput(row, tokenizer, rules, limits(rules, maxInputTokens, reserved(labels)));
    const { input, target, choices } = encode(text, row, labels);
    const spare = labels === null ? Math.max(0, target.length - task.maxTargetTokens) : 0;
    const encoded = {
      id: row.id,
      ...placed([...rules.before, ...input, ...rules.after], rules, tokenizer, row.id),
      target: spare > 0 ? shortTarget(target, task.maxTargetTokens) : target,
      ...promptPlaces(text, input, rules, tokenizer),
      ...(row.promptIn && { promptIn: row.promptIn }),
      ...sharedIds(text, input, rules, beginning),
      choices,
      gold: labels === null || row.label === null ? -1 : Object.keys(labels).indexOf(row.label),
      truncated: text.tokensLost > 0,
      ...(text.tokensLost > 0
        ? { cut: { fields: text.cut, tokens: text.tokensLost, ...(text.byWindow ? { byWindow: true } : {}) } }
        : {}),
      ...(spare > 0 ? { targetCut: spare } : {}),
    };
    checkIds(encoded, tokenizer);
    return encoded;
  });
}

/** The ids of one text as an input, as `tokenizeRows` makes them; for predictions on texts without a Row. */
export function encodeInput(text: string, tokenizer: Tokenizer, options: EncodeOptions): Int32Array {
  const { maxInputTokens } = options;
  const rules = rulesOf(tokenizer, options);
  const { ids } = fittedInput({ id: "input", input: text }, tokenizer, rules, limits(rules, maxInputTokens, 0));
  return Int32Array.from([...rules.before, ...ids, ...rules.after]);
}

/** Tokens that an input may have, without the tokens that the rules put around it, and whether the model's window sets this limit. */
interface Limit {
  readonly tokens: number;
  readonly byWindow: boolean;
}

function limits(rules: EncodingRules, maxInputTokens: number, reserved: number): Limit {
  const { positions = Number.POSITIVE_INFINITY, prompt = 0 } = rules.window ?? {};
  const room = positions - prompt - reserved;
  const round = rules.before.length + rules.after.length;
  return { tokens: Math.min(maxInputTokens, room) - round, byWindow: room < maxInputTokens };
}

/** Positions that a row's target may take: what may be written, and the longest label. */
function reservedTokens(
  task: EncodedTask,
  tokenizer: Tokenizer,
): (labels: Readonly<Record<string, string>> | null) => number {
  const longest = (labels: Readonly<Record<string, string>> | null) =>
    Object.values(labels ?? {}).reduce(
      (most, words) => Math.max(most, tokenizer.encode(` ${task.targetPrefix}${words}`).length + 1),
      task.maxTargetTokens,
    );
  let shared: number | undefined;
  return (labels) => {
    if (labels !== task.verbalizer) return longest(labels);
    shared ??= longest(labels);
    return shared;
  };
}

/** A row's input as it fits, and its ids. */
interface FittedInput extends Fitted {
  readonly tokensLost: number;
  readonly byWindow: boolean;
  /** Where in the text the virtual tokens stand. */
  readonly promptAt?: number;
  readonly promptBefore?: readonly PromptPart[];
  readonly sharedTo?: number;
}

/** With fewer ids than this, reading the rest of each text apart costs more than it saves. */
const fewestShared = 16;

/** Ids of a text's beginning, made once for equal ones. */
function beginnings(rules: EncodingRules, tokenizer: Tokenizer): (text: FittedInput, to: number) => readonly number[] {
  const known = new Map<string, readonly number[]>();
  return ({ input, fields }, to) => {
    const head = input.slice(0, to);
    const userText = fields.filter(({ from, to: end }) => end > from && from < to);
    const key = JSON.stringify([head, userText.map(({ from, to: end }) => [from, end])]);
    const ids = known.get(key) ?? encodeCausalInput({ input: head, userText }, rules.guardFields, tokenizer);
    if (known.size >= 64) known.clear();
    known.set(key, ids);
    return ids;
  };
}

/** How many of a text's ids, with those that the rules put before it, are its shared beginning's. Only texts that are read alone have one. */
function sharedIds(
  text: FittedInput,
  ids: readonly number[],
  rules: EncodingRules,
  beginning: ReturnType<typeof beginnings>,
): Pick<EncodedRow, "shared"> {
  const { fields, promptAt, sharedTo = fields[0]?.from ?? 0 } = text;
  const read = promptAt !== undefined || text.sharedTo !== undefined;
  if (rules.joined === null || !read || sharedTo === 0) return {};
  const head = beginning(text, sharedTo);
  let same = 0;
  while (same < head.length && same < ids.length && head[same] === ids[same]) same++;
  const shared = rules.before.length + same;
  return shared < fewestShared ? {} : { shared };
}

type Marked = Pick<FittedInput, "promptAt" | "promptBefore" | "sharedTo">;

/** How many of an input's ids stand before the virtual tokens, and before each part. The text is the same wherever they stand. */
function promptPlaces(
  { input, fields, promptAt, promptBefore }: Pick<FittedInput, "input" | "fields"> & Marked,
  ids: readonly number[],
  rules: EncodingRules,
  tokenizer: Tokenizer,
): Pick<EncodedRow, "promptAt" | "promptBefore"> {
  const place = (at: number): number => {
    if (at >= input.trimEnd().length) return rules.before.length + ids.length;
    const head = { input: input.slice(0, at), userText: fields.filter(({ from, to }) => to > from) };
    return rules.before.length + idsBefore(ids, head, rules.guardFields, tokenizer);
  };
  if (promptAt === undefined) return {};
  const parts = promptBefore?.map((part) => ({ ...part, at: part.outside ? 0 : place(part.at) }));
  return { promptAt: place(promptAt), ...(parts ? { promptBefore: parts } : {}) };
}

/**
 * The markers' places in a text that was put into a chat, or whose fields were shortened. A marker's distance to the neighbouring field
 * stays the same.
 */
function markersIn(changed: Pick<Fitted, "fields">, { promptAt, promptBefore, sharedTo, fields = [] }: Text): Marked {
  const place = (at: number): number => {
    if (fields.length === 0) return at;
    const before = fields.findLastIndex(({ to }) => to <= at);
    if (before >= 0) return changed.fields[before]!.to + (at - fields[before]!.to);
    return changed.fields[0]!.from - (fields[0]!.from - at);
  };
  const shared = sharedTo === undefined ? {} : { sharedTo: place(sharedTo) };
  if (promptAt === undefined) return shared;
  const parts = promptBefore?.map((part) => ({ ...part, at: place(part.at) }));
  return { ...shared, promptAt: place(promptAt), ...(parts ? { promptBefore: parts } : {}) };
}

function fittedInput(row: Text, tokenizer: Tokenizer, rules: EncodingRules, { tokens, byWindow }: Limit): FittedInput {
  const own = row.fields ?? (rules.joined === null ? [] : [{ name: "input", from: 0, to: row.input.length }]);
  const encode = (text: Pick<Fitted, "input" | "fields">): readonly number[] => {
    const userText = rules.guardFields ? text.fields.filter(({ from, to }) => to > from) : [];
    return rules.joined === null
      ? tokenizer.encode(text.input, { userText })
      : encodeCausalInput(
          { input: text.input, userText, continues: goesFurther(row, rules) },
          rules.guardFields,
          tokenizer,
        );
  };
  const filled = { input: row.input, fields: own };
  const put = rules.chat === undefined ? filled : inChat(rules.chat, filled);
  const whole = { ...put, ...markersIn(put, row) };
  const ids = encode(whole);
  if (ids.length <= tokens) return { ...whole, cut: [], ids, tokensLost: 0, byWindow };
  if (own.length === 0)
    return { ...whole, cut: [], ids: ids.slice(0, Math.max(0, tokens)), tokensLost: ids.length - tokens, byWindow };
  const fitted = fitText({ ...whole, ids }, encode, { limit: tokens, keepFrom: whole.promptAt });
  if (fitted === null)
    throw new SoftpromptError(
      "usage",
      tokens > 0 ? "the template alone is longer than an input may be" : "prompt and target leave no room for an input",
      {
        where: row.id,
        expected:
          tokens > 0
            ? `at most ${tokens} tokens beside what stands round every input`
            : `at least ${1 - tokens} tokens fewer of prompt and target`,
        hint: byWindow
          ? "the model's context window holds no more beside prompt and target: use a shorter template, fewer virtual tokens or a smaller maxTargetTokens"
          : "raise maxInputTokens (--max-input-tokens), or shorten the template",
      },
    );
  return {
    ...fitted,
    tokensLost: ids.length - fitted.ids.length,
    byWindow,
    ...markersIn(fitted, row),
  };
}

/** A message of a chat is not written on: the blank that its template ends with is the answer's, as in training. */
const goesFurther = ({ continues = false }: Pick<Row, "continues">, { chat }: EncodingRules): boolean =>
  continues && chat === undefined;

/**
 * An input as the model takes it: all of it at once, or, where the target goes on from it, all but its last token, after which the
 * target is decoded.
 */
function placed(
  ids: readonly number[],
  rules: EncodingRules,
  tokenizer: Tokenizer,
  where: string,
): Pick<EncodedRow, "input" | "first"> {
  if (rules.joined === null) return { input: Int32Array.from(ids) };
  // a model without a BOS token saw its training texts after an end token, so an empty text begins with one
  const first = ids.at(-1) ?? tokenizer.bosId ?? tokenizer.eosIds[0];
  if (first === undefined)
    throw new SoftpromptError("data", "this input is empty, and the tokenizer has no token to begin with", {
      where,
      expected: "a text of one token or more",
    });
  return { input: Int32Array.from(ids.slice(0, -1)), first };
}

/** What either way of encoding gives for one row. */
interface Parts {
  readonly input: readonly number[];
  readonly target: Int32Array;
  readonly choices: readonly Int32Array[] | null;
}
type Encode = (text: FittedInput, row: Row, labels: Readonly<Record<string, string>> | null) => Parts;

function separately(task: EncodedTask, tokenizer: Tokenizer, rules: EncodingRules): Encode {
  const words = (text: string) => {
    const said = task.targetPrefix + text;
    const userText = rules.guardFields ? [{ from: task.targetPrefix.length, to: said.length }] : [];
    return Int32Array.from([...tokenizer.encode(said, { userText }), rules.targetEnd]);
  };
  const all = (labels: Readonly<Record<string, string>>) => Object.values(labels).map(words);
  const shared = task.verbalizer === null ? null : all(task.verbalizer);
  return (text, row) => ({
    input: text.ids,
    target: words(row.target),
    choices: row.choices ? all(row.choices) : shared,
  });
}

function jointly(task: EncodedTask, tokenizer: Tokenizer, rules: EncodingRules): Encode {
  const kept = new Map<string, Int32Array>(); // most rows end alike: one array for all that are equal
  const closed = (ids: readonly number[]): Int32Array => {
    const key = ids.join(" ");
    let found = kept.get(key);
    if (found === undefined) {
      found = Int32Array.from([...ids, rules.targetEnd]);
      if (kept.size < 10_000) kept.set(key, found);
    }
    return found;
  };
  return (text, row, labels) => {
    const words = labels === null ? [] : Object.values(labels);
    const { input, targets } = encodeCausal(
      { input: text.input, userText: text.fields, continues: goesFurther(row, rules) },
      {
        prefix: task.targetPrefix,
        texts: [row.target, ...words],
        separator: rules.joined!.separator,
        guard: rules.guardFields,
      },
      tokenizer,
    );
    const [target, ...ranked] = targets;
    // Ranked answers are compared without an end token, as they occur in a text, unless one answer is a prefix of another.
    const ends = ranked.some((ids, i) => ranked.some((other, n) => n !== i && beginsWith(other, ids)));
    const asRanked = (ids: readonly number[]) => (ends ? closed(ids) : Int32Array.from(ids));
    return {
      input,
      target: task.openAnswers && labels !== null ? asRanked(target!) : closed(target!),
      choices: labels === null ? null : ranked.map(asRanked),
    };
  };
}

function beginsWith(ids: readonly number[], start: readonly number[]): boolean {
  return start.length <= ids.length && start.every((id, i) => id === ids[i]);
}

function shortTarget(target: Int32Array, length: number): Int32Array {
  const short = target.slice(0, length);
  short[length - 1] = target.at(-1)!;
  return short;
}

/** Two names of one entity may tokenise alike (ReCoRD): harmless, the first is ranked. Two labels may not. */
function checkLabels(verbalizer: Readonly<Record<string, string>>, task: EncodedTask, tokenizer: Tokenizer): void {
  const seen = new Map<string, string>();
  for (const [label, words] of Object.entries(verbalizer)) {
    const ids = tokenizer.encode(task.targetPrefix + words);
    const key = ids.join(" ");
    const other = seen.get(key);
    if (other !== undefined)
      throw new SoftpromptError("data", `the labels ${other} and ${label} have the same tokens`, {
        where: `task ${task.name}, verbalizer`,
        expected: "label words that the tokenizer can tell apart",
        got: `${verbalizer[other]!} and ${words}`,
        hint:
          tokenizer.unkId !== undefined && ids.includes(tokenizer.unkId)
            ? "both have characters that this tokenizer does not know; they become its unknown token"
            : undefined,
      });
    seen.set(key, label);
  }
}

/** Refuses a row with an id that the model has no embedding for, before anything runs. */
function checkIds(row: Pick<EncodedRow, "id" | "input" | "target" | "choices">, tokenizer: Tokenizer): void {
  const { usable } = tokenizer;
  if (usable === undefined) return;
  for (const ids of [row.input, row.target, ...(row.choices ?? [])])
    for (const id of ids)
      if (id >= usable)
        throw new SoftpromptError("checkpoint", "the tokenizer has ids that the model's embedding has no row for", {
          where: row.id,
          expected: `ids below ${usable}`,
          got: `${id} (${tokenizer.piece(id)})`,
          hint: `the tokenizer has ${tokenizer.size} ids, the embedding ${usable} rows: is it this model's tokenizer?`,
        });
}
