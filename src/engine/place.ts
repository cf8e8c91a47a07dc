/**
 * @file Works out the place of the virtual tokens for a batch: what follows a text that was read before, and which order puts a prompt into
 * a text.
 *
 * In: a batch whose rows say where their virtual tokens stand. Out: positions and feeds. A row's text has the same ids wherever the virtual
 * tokens stand. The place changes only the order in which things are read.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Feed } from "../base/tensor.js";
import type { PromptPart } from "../data/row.js";
import type { Method } from "../method/method.js";
import type { Lead, ModelConfig, Positions } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import { type EncodedRow, type Padded, pad, type TextBatch } from "../text/batch.js";
import { checkIds, type FedParameters, float, int } from "./feeds.js";
import { type Place, readsBefore } from "./graphs.js";

export { readsBefore };

/** All of them. */
export const places = ["start", "within", "behind", "parted", "decoder"] as const satisfies readonly Place[];

/** Where the virtual tokens of these rows stand in a model's graphs. */
export function placeOf(config: ModelConfig, rows: readonly Placed[]): Place {
  if (rows.some((row) => row.promptIn === "decoder")) return "decoder";
  if (!rows.some((row) => row.promptAt !== undefined)) return "start";
  if (!goesOn(config)) return "within";
  return rows.some((row) => row.promptBefore !== undefined) ? "parted" : "behind";
}

type Placed = Pick<EncodedRow, "promptAt" | "promptBefore" | "promptIn">;

/** Whether targets continue the text itself (a decoder-only model), so that a text can be read before the tokens that follow it. */
function goesOn(config: ModelConfig): boolean {
  return architectureOf(config).startId(config) === undefined;
}

/** Whether a method can be used with the virtual tokens at a place. Before the text every method can. */
export function worksAt({ before = false, behind = false }: Pick<Method, "before" | "behind">, place: Place): boolean {
  return place === "start" || (!before && (behind || !readsBefore(place)));
}

/** Refuses rows whose virtual tokens stand elsewhere than a program was opened for. */
export function checkPlace(
  config: ModelConfig,
  place: Place,
  { promptAt, promptBefore, promptIn }: Pick<TextBatch, "promptAt" | "promptBefore" | "promptIn">,
): void {
  const inText = promptAt ? { promptAt: 0, ...(promptBefore && { promptBefore: [] }) } : {};
  const found = placeOf(config, [{ ...inText, ...(promptIn && { promptIn }) }]);
  if (found === place) return;
  throw new SoftpromptError("engine", "the virtual tokens of these rows stand elsewhere than the program puts them", {
    where: "program",
    expected: place,
    got: found,
    hint: "open the program with placeOf(config, rows)",
  });
}

/**
 * Prompt and text in each row's order: first the text before the virtual tokens, then these, then the text after them. Padding comes last.
 * @returns `order` [B, S, S], whose rows choose from prompt and text side by side
 */
export function orderFeeds(
  { tokens: P, lengths }: FedParameters,
  batch: TextBatch,
): { positions: Positions; order: Feed } {
  const { size: B, inputLength: T, inputMask } = batch;
  const S = P + T;
  const on = new Uint8Array(B * S);
  const order = new Float32Array(B * S * S);
  for (let b = 0; b < B; b++) {
    const own = lengths?.[b] ?? P;
    const text = inputMask.subarray(b * T, (b + 1) * T).reduce((n, counts) => n + counts, 0);
    const live = inOrder({ prompt: P, own, text }, partsOf(batch, b, own));
    const all = [...live, ...from(0, P - own), ...from(P + text, T - text)];
    on.fill(1, b * S, b * S + live.length);
    for (const [to, source] of all.entries()) order[(b * S + to) * S + source] = 1;
  }
  return { positions: { batch: B, length: S, on }, order: float([B, S, S], order) };
}

const from = (first: number, count: number) => Array.from({ length: count }, (_, i) => first + i);

/** A row's parts of the virtual tokens. */
function partsOf(
  { promptAt, promptBefore }: Pick<TextBatch, "promptAt" | "promptBefore">,
  row: number,
  own: number,
): readonly PromptPart[] {
  const before = own === 0 ? [] : (promptBefore?.[row] ?? []);
  const counted = before.reduce((sum, { tokens }) => sum + tokens, 0);
  if (counted > own)
    throw new SoftpromptError("engine", "a prompt has fewer virtual tokens than its parts", {
      where: `row ${row} of the batch`,
      expected: `${counted} or more`,
      got: own,
    });
  return [...before, { at: promptAt?.[row] ?? 0, tokens: own - counted }];
}

/** Prompt (the last `own` of P places) and text, side by side, in a row's order: indices of what counts. */
function inOrder(
  { prompt: P, own, text }: { readonly prompt: number; readonly own: number; readonly text: number },
  parts: readonly PromptPart[],
): number[] {
  const order: number[] = [];
  let [virtual, read] = [P - own, 0];
  for (const { at, tokens } of parts) {
    const place = Math.min(at, text);
    order.push(...from(P + read, place - read), ...from(virtual, tokens));
    [virtual, read] = [virtual + tokens, place];
  }
  return [...order, ...from(P + read, text - read)];
}

/** What follows a text that was read before: virtual tokens, the text's tail, targets. */
export interface Following {
  /** Positions of the text's memory that the following tokens may see. */
  readonly memory: Positions;
  /** Virtual tokens and tail. */
  readonly lead: Lead;
  /** Tokens of each choice that are decoded: all but its last. */
  readonly length: number;
  readonly ids: Feed;
  /** Selects the hidden states that predict the targets, [B, C·U, P+N]. */
  readonly picks: Feed;
  /** Puts virtual tokens and tail into each row's order, [B, P+N, P+N]; null where the virtual tokens stand together before the tail. */
  readonly order: Feed | null;
}

/**
 * A prompt on the decoder's side stands before the id that the decoder begins with. So that id keeps its place directly before the target,
 * nothing between them is farther apart than in the model's own training, and without virtual tokens the model is as it was. The text's tail
 * is then that one id.
 * @param targets C lists per row, each padded to U: [B, C, U]; C = U = 1 with any ids asks for the next token
 */
export function following(
  config: ModelConfig,
  { tokens: P, lengths }: FedParameters,
  batch: TextBatch,
  targets: { readonly ids: Int32Array; readonly choices: number; readonly length: number },
): Following {
  const { size: B, inputLength: T } = batch;
  const { choices: C, length: U } = targets;
  const on = Uint8Array.from(batch.inputMask);
  const tail = withSomething(config, batch, (b) => lengths?.[b] ?? P, on, C * (U - 1));
  const L = P + tail.length;
  const N = tail.length + C * (U - 1);
  const lead = { length: L, on: new Uint8Array(B * L) };
  const decoderIds = new Int32Array(B * N).fill(config.padId);
  const picks = new Float32Array(B * C * U * (P + N));
  const order = batch.promptBefore ? new Float32Array(B * (P + N) ** 2) : null;
  for (let b = 0; b < B; b++) {
    const own = lengths?.[b] ?? P;
    const tailMask = tail.mask.subarray(b * tail.length, (b + 1) * tail.length);
    if (order === null) {
      lead.on.fill(1, b * L + P - own, b * L + P);
      lead.on.set(tailMask, b * L + P);
    } else {
      const text = tailMask.lastIndexOf(1) + 1;
      const parts = partsOf(batch, b, own);
      const first = parts[0]!.at;
      const live = inOrder(
        { prompt: P, own, text },
        parts.map((part) => ({ ...part, at: part.at - first })),
      );
      lead.on.fill(1, b * L, b * L + live.length);
      const all = [...live, ...from(0, P - own), ...from(P + text, N - text)];
      for (const [to, source] of all.entries()) order[(b * (P + N) + to) * (P + N) + source] = 1;
    }
    decoderIds.set(tail.ids.subarray(b * tail.length, (b + 1) * tail.length), b * N);
    const last = lead.on.subarray(b * L, (b + 1) * L).lastIndexOf(1);
    for (let c = 0; c < C; c++) {
      const ids = targets.ids.subarray((b * C + c) * U, (b * C + c + 1) * U);
      const at = tail.length + c * (U - 1);
      decoderIds.set(ids.subarray(0, U - 1), b * N + at);
      for (let u = 0; u < U; u++) picks[((b * C + c) * U + u) * (P + N) + (u === 0 ? last : P + at + u - 1)] = 1;
    }
  }
  checkIds("target", targets.ids, config.vocabulary);
  checkIds("tail", decoderIds, config.vocabulary);
  return {
    memory: { batch: B, length: T, on },
    lead,
    length: U - 1,
    ids: int([B, N], decoderIds),
    picks: float([B, C * U, P + N], picks),
    order: order && float([B, P + N, P + N], order),
  };
}

/**
 * The batch's tails. Each row needs a token before its target. A row without virtual tokens and without a tail takes its text's last token,
 * which is read again (and hidden in the memory). So no kernel gets a list of length 0.
 * @param on the memory's positions, which this may hide
 */
function withSomething(
  config: ModelConfig,
  batch: TextBatch,
  promptOf: (row: number) => number,
  on: Uint8Array,
  more: number,
): Padded {
  const { size: B, inputLength: T, inputIds } = batch;
  const start = architectureOf(config).startId(config);
  const begin = { ids: new Int32Array(B).fill(start ?? 0), mask: new Int32Array(B).fill(1), length: 1 };
  const tail = batch.promptIn ? begin : batch.tail!;
  const tails = Array.from({ length: B }, (_, b) => {
    const own = tail.ids.subarray(b * tail.length, (b + 1) * tail.length);
    const length = tail.mask.subarray(b * tail.length, (b + 1) * tail.length).lastIndexOf(1) + 1;
    if (length > 0 || promptOf(b) > 0) return own.subarray(0, length);
    const last = on.subarray(b * T, (b + 1) * T).lastIndexOf(1);
    if (last < 0)
      throw new SoftpromptError("engine", "a row has nothing that its target could follow", {
        where: `row ${b} of the batch`,
        expected: "a text, or virtual tokens",
      });
    on[b * T + last] = 0;
    return inputIds.subarray(b * T + last, b * T + last + 1);
  });
  const padded = pad(tails, config.padId);
  if (padded.length + more > 0) return padded;
  return { ids: new Int32Array(B).fill(config.padId), mask: new Int32Array(B), length: 1 };
}
