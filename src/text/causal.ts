/**
 * @file Input and target as one text: its ids, split where the target begins.
 *
 * In: an input, the targets that may follow it, a tokenizer. Out: ids of the input, and of every target behind it.
 * tokens(input + target) are not tokens(input) + tokens(target): "Answer: " + "yes" encoded apart gives a blank token that no
 * text has before a word. So the joined text is encoded, blanks at the input's end belong to the target, and a token that
 * reaches over the border does too. All targets share one input: what their texts have in common up to the border.
 */
import type { Span, TextOptions, Tokenizer } from "./tokenizer.js";

export interface CausalText {
  readonly input: string;
  /** Stretches of the input that a user wrote. */
  readonly userText: readonly Span[];
  /** No target follows it: its last blanks are its own. */
  readonly continues?: boolean | undefined;
}

export interface CausalIds {
  readonly input: readonly number[];
  /** In the order of the targets. */
  readonly targets: readonly (readonly number[])[];
}

export interface CausalTargets {
  /** Put before every target; may be a control token, as the targets themselves may not. */
  readonly prefix: string;
  readonly texts: readonly string[];
  /** Put between input and target where neither has white space there. */
  readonly separator: string;
  /** Whether the text of control tokens in fields and targets stays text. */
  readonly guard: boolean;
}

/** The input's text up to where the target begins, in ids: all of it where no target follows. */
export function encodeCausalInput(text: CausalText, guard: boolean, tokenizer: Tokenizer): number[] {
  const head = headOf(text);
  const { userText } = text;
  return tokenizer.encode(head, guard ? guarded(userText, head.length) : {});
}

export function encodeCausal(text: CausalText, targets: CausalTargets, tokenizer: Tokenizer): CausalIds {
  const { prefix, texts, separator, guard } = targets;
  const head = headOf(text);
  const alone = encodeCausalInput(text, guard, tokenizer);
  const whole = texts.map((target) => {
    const said = prefix + target;
    const between = gap(text.input, head, said, separator);
    const joined = head + between + said;
    const from = head.length + between.length + prefix.length;
    const spans = [...text.userText, { from, to: joined.length }];
    return tokenizer.encode(joined, guard ? guarded(spans, joined.length) : {});
  });
  const border = whole.reduce((least, ids) => Math.min(least, inputLength(ids, alone, tokenizer)), alone.length);
  const first = whole[0] ?? alone;
  const shared = whole.reduce((least, ids) => Math.min(least, commonLength(first, ids, border)), border);
  return { input: first.slice(0, shared), targets: whole.map((ids) => ids.slice(shared)) };
}

function guarded(spans: readonly Span[], length: number): TextOptions {
  return {
    userText: spans.flatMap(({ from, to }) =>
      from < Math.min(to, length) ? [{ from, to: Math.min(to, length) }] : [],
    ),
  };
}

/** A blank before a word is the word's: it moves to the target, if there is one. */
function headOf({ input, continues = false }: CausalText): string {
  if (continues) return input;
  let end = input.length;
  while (end > 0 && input[end - 1] === " ") end--;
  return input.slice(0, end);
}

function gap(input: string, head: string, said: string, separator: string): string {
  if (said === "") return "";
  if (input.length > head.length) return /^ /.test(said) ? "" : input.slice(head.length);
  return head === "" || /\p{White_Space}$/u.test(head) || /^\p{White_Space}/u.test(said) ? "" : separator;
}

/**
 * How many of a text's ids lie before a place in it; blanks before the place belong to what follows.
 * @param ids of the whole text  @param head what stands before the place
 */
export function idsBefore(ids: readonly number[], head: CausalText, guard: boolean, tokenizer: Tokenizer): number {
  return inputLength(ids, encodeCausalInput(head, guard, tokenizer), tokenizer);
}

/** How many of the joined text's ids lie before the border. */
function inputLength(ids: readonly number[], alone: readonly number[], tokenizer: Tokenizer): number {
  const same = commonLength(ids, alone, alone.length);
  if (same === alone.length) return same;
  const most = tokenizer.decode(alone, { keepSpecial: true }).length;
  const decoder = tokenizer.openDecoder({ keepSpecial: true });
  let [written, border] = [0, 0];
  for (const [i, id] of ids.entries()) {
    written += decoder.push(id).length;
    if (written > most || (written === most && decoder.pending)) break;
    if (!decoder.pending) border = i + 1;
    if (written === most) break;
  }
  return border;
}

function commonLength(a: readonly number[], b: readonly number[], most: number): number {
  let n = 0;
  while (n < most && n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}
