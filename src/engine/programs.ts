/**
 * @file The engine's programs: each opens the sessions it needs and turns batches into results.
 *
 * In: a ModelSource and session options. Out: the programs of types.ts, each with its dispose.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Feed, Feeds, Parameters, Tensor } from "../base/tensor.js";
import type { Graph } from "../graph/graph.js";
import type { DecodeShape, Lead, ModelConfig, Positions } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import { openSession, type Session, type SessionOptions } from "../runtime/session.js";
import { type Batch, type EncodedRow, type TextBatch, textBatch } from "../text/batch.js";
import { atNeed, disposeAll } from "./at-need.js";
import { checkWindow, float, int, lengthsOf, parameterFeeds, positionsOf, shiftedIds, textFeeds } from "./feeds.js";
import { keepsLittle, packsWeights } from "./flops.js";
import {
  activationGraph,
  forwardGraph,
  leftGraph,
  type MemoryType,
  type ModelSource,
  type Place,
  prefillGraph,
  scoreGraph,
  stepGraph,
  trainGraph,
} from "./graphs.js";
import { openLayers } from "./layers.js";
import { checkPlace, following, orderFeeds, readsBefore } from "./place.js";
import { noLogits, type Pick } from "./sampling.js";
import type { HowRead, TextReader } from "./texts.js";
import type { GenerateProgram, GivenParameters, ProgramKinds, RowEnd, WritingOptions } from "./types.js";

/** A program and the sessions it owns. */
export type Owned<Program> = Program & { dispose(): Promise<void> };

/** What a program is made of. */
export interface ProgramSource extends ModelSource {
  readonly place: Place;
  /** Reads what stands before the virtual tokens. */
  readonly texts: TextReader;
}

type Opener<Program> = (source: ProgramSource, options: SessionOptions) => Promise<Owned<Program>>;

/** How each program is opened. */
export const programs: { readonly [K in keyof ProgramKinds]: Opener<ProgramKinds[K]> } = {
  async train(source, options) {
    const keepLittle = keepsLittle(options, source.weights.inBlocks === true);
    // TinyLlama 1.1B in blocks, batch 4 × 128: 2.4 GB with the arena, more than 3.8 without (docs/log.md, 2026-11-27)
    const arena = keepLittle ? { arena: true } : {};
    const own = { ...options, ...arena, packWeights: packsWeights(source.config, source.partial, options) };
    const graphOf = (given: ModelSource) => trainGraph(given, { keepLittle });
    const session = await openOver(source, `train ${source.partial.name}`, graphOf, own, true);
    const names = source.method.parameters(source.config).map(({ name }) => name);
    return {
      async run(parameters, batch, weights) {
        const { size: B, targetLength: U, targetMask } = batch;
        if (weights.length !== B)
          throw new SoftpromptError("engine", "there is not one weight for each row", {
            where: "weights of a training step",
            expected: `${B} numbers`,
            got: weights.length,
          });
        const tokenWeights = Float32Array.from(targetMask, (on, i) => (on ? weights[Math.floor(i / U)]! : 0));
        const { nll, ...rest } = await session.run({
          ...(await teacherForced(source, parameters, batch, { float16: true })).feeds,
          targetIds: int([B, U], batch.targetIds),
          tokenWeights: float([B, U], tokenWeights),
        });
        const tokens = new Int32Array(B);
        const loss = new Float64Array(B);
        for (const [i, on] of targetMask.entries()) {
          if (!on) continue;
          tokens[Math.floor(i / U)]! += 1;
          loss[Math.floor(i / U)]! += nll!.data[i]!;
        }
        // parameters that the graph does not use have zero gradients
        const gradients = Object.fromEntries(
          names.map((name) => {
            const found = rest[`gradient.${name}`];
            return [name, found ? tensorOf(found) : zerosLike((parameters as Parameters)[name]!)];
          }),
        );
        return { loss: Float32Array.from(loss), tokens, gradients };
      },
      dispose: () => session.dispose(),
    };
  },

  async score(source, options) {
    const session = await openOver(source, `score ${source.partial.name}`, scoreGraph, options);
    return {
      async run(parameters, rows) {
        const scores: Float64Array[] = [];
        for (const { from, to } of portions(rows, tokensAtOnce(source.config))) {
          const own = Array.isArray(parameters) ? parameters.slice(from, to) : parameters;
          scores.push(...(await rank(source, session, own, rows.slice(from, to))));
        }
        return scores;
      },
      dispose: () => session.dispose(),
    };
  },

  async generate(source, options) {
    const prefill = await openProgram(source, `prefill ${source.partial.name}`, prefillGraph(source), options);
    const step = await openProgram(source, `decode ${source.partial.name}`, stepGraph(source), {
      ...options,
      tokenwise: true,
    }).catch(async (cause) => {
      await prefill.dispose();
      throw cause;
    });
    const stream: GenerateProgram["stream"] = (parameters, rows, maxTokens, options) =>
      generate(source, { prefill, step }, parameters, rows, maxTokens, options);
    return {
      stream,
      async run(parameters, rows, maxTokens, options) {
        const out: number[][] = rows.map(() => []);
        for await (const next of stream(parameters, rows, maxTokens, options)) {
          for (const [b, id] of next.entries()) if (typeof id === "number") out[b]!.push(id);
          await options?.afterToken?.();
        }
        return out;
      },
      dispose: () => disposeAll([prefill, step]),
    };
  },

  async activations(source, options) {
    const graph = activationGraph(source);
    const declared = new Set(graph.inputs.map(({ name }) => name));
    const stacks = architectureOf(source.config).stacks(source.config);
    const session = await openProgram(source, "activations", graph, options);
    return {
      async run(parameters, batch) {
        const { feeds, positions, decoding } = await teacherForced(source, parameters, batch, "here");
        const shares: Record<string, Feed> = {};
        for (const { name } of stacks) {
          const halves = { prefill: declared.has(`${name}.prefillShare`), decode: declared.has(`${name}.decodeShare`) };
          const [prefill, decode] = sharesOf(positions, decoding, halves);
          if (halves.prefill) shares[`${name}.prefillShare`] = prefill;
          if (halves.decode) shares[`${name}.decodeShare`] = decode;
        }
        const result = await session.run({ ...feeds, ...shares });
        return Object.fromEntries(stacks.map(({ name }) => [name, result[name]!.data as Float32Array]));
      },
      dispose: () => session.dispose(),
    };
  },

  async left(source, options) {
    const session = await openProgram(source, "what the method leaves", leftGraph(source), options);
    return {
      async run(parameters) {
        const { feeds } = parameterFeeds(source.method, source.config, parameters, 1);
        const left = await session.run(feeds);
        return Object.fromEntries(Object.entries(left).map(([name, found]) => [name, tensorOf(found)]));
      },
      dispose: () => session.dispose(),
    };
  },

  layers: openLayers,

  async forward(source, options) {
    const session = await openProgram(source, `forward ${source.partial.name}`, forwardGraph(source), options);
    return {
      async run(parameters, batch) {
        const result = await session.run((await teacherForced(source, parameters, batch)).feeds);
        const { width } = source.config;
        return {
          prefill: result.prefill
            ? tensorOf(result.prefill)
            : { shape: [batch.size, 0, width], data: new Float32Array(0) },
          decode: tensorOf(result.decode!),
          logits: tensorOf(result.logits!),
        };
      },
      dispose: () => session.dispose(),
    };
  },
};

/** A session that is fed all parameters, though its half of the model may use some of them only. */
async function openProgram(
  { method, config }: ModelSource,
  name: string,
  graph: Graph,
  options: SessionOptions,
): Promise<Session> {
  const session = await openSession(name, graph, options);
  const declared = new Set(graph.inputs.map((value) => value.name));
  const unused = method.parameters(config).filter((spec) => !declared.has(spec.name));
  if (unused.length === 0) return session;
  return {
    run: (feeds, wanted) => {
      const own = { ...feeds };
      for (const spec of unused) delete own[spec.name];
      return session.run(own, wanted);
    },
    dispose: () => session.dispose(),
  };
}

/**
 * The session of a graph that may take texts' memory in float16: one for each type in which that comes, opened at the first batch that needs it.
 * @param early whether the usual one is opened at once
 */
async function openOver(
  source: ProgramSource,
  name: string,
  graphOf: (source: ModelSource) => Graph,
  options: SessionOptions,
  early = false,
): Promise<Session> {
  if (!readsBefore(source.place)) return openProgram(source, name, graphOf(source), options);
  const { usual } = source.texts;
  const sessions = atNeed(name, (memory: MemoryType) =>
    openProgram(source, name, graphOf({ ...source, memory }), options),
  );
  if (early) await sessions.get(usual);
  return {
    async run(feeds, wanted) {
      const { dtype = usual } = feeds.memoryKey0 ?? {};
      return (await sessions.get(dtype as MemoryType)).run(feeds, wanted);
    },
    dispose: () => sessions.dispose(),
  };
}

const zerosLike = ({ shape, data }: Tensor): Tensor => ({ shape, data: new Float32Array(data.length) });
const tensorOf = ({ shape, data }: Feed): Tensor => ({ shape, data: data as Float32Array });

/** Parameters and text of a batch: what every graph that begins with prefill takes. */
function prefilled({ config, method, place }: ProgramSource, parameters: GivenParameters, given: TextBatch) {
  checkPlace(config, place, given);
  const fed = parameterFeeds(method, config, parameters, given.size);
  const batch = fed.tokens + given.inputLength > 0 ? given : hiddenText(given, config.padId);
  const ordered = place === "within" ? orderFeeds(fed, batch) : null;
  const positions = ordered?.positions ?? positionsOf(fed, batch);
  const own = architectureOf(config).prefillFeeds(config, positions);
  const order: Feeds = ordered ? { order: ordered.order } : {};
  return { feeds: { ...fed.feeds, ...textFeeds(batch, config), ...order, ...own }, positions };
}

/** One position that does not count: not every kernel takes a sequence of length 0 (a text of one token, and no prompt). */
function hiddenText(batch: TextBatch, padId: number): TextBatch {
  const inputIds = new Int32Array(batch.size).fill(padId);
  return { ...batch, inputIds, inputMask: new Int32Array(batch.size), inputLength: 1 };
}

/** What is decoded behind texts that were read before: C lists of targets per row, [B, C, U]. */
interface Targets {
  readonly ids: Int32Array;
  readonly choices: number;
  readonly length: number;
  /** How many tokens of a row count, for its longest choice. */
  readonly count: (row: number) => number;
}

/**
 * Feeds of a batch behind its texts.
 * @param read how the text is read before; or "here", by the graph itself (neuron scores need the activations inside the text)
 */
async function behind(
  source: ProgramSource,
  parameters: GivenParameters,
  given: TextBatch,
  targets: Targets,
  read: HowRead | "here" = {},
) {
  const { config, method, texts } = source;
  checkPlace(config, source.place, given);
  const batch = given.inputLength > 0 ? given : hiddenText(given, config.padId);
  const fed = parameterFeeds(method, config, parameters, batch.size);
  const next = following(config, fed, batch, targets);
  const led = lengthsOf({ batch: batch.size, ...next.lead });
  // the token before the target is one of the lead; the target's last one is not decoded
  checkWindow(config, next.memory, (b) => led[b]! + Math.max(0, targets.count(b) - 1));
  const here = (): Feeds => ({
    ...textFeeds(batch, config),
    ...architectureOf(config).prefillFeeds(
      config,
      positionsOf({ feeds: {}, tokens: 0, lengths: null, keys: {} }, batch),
    ),
  });
  const { lead, length, memory } = next;
  const shape = { length, past: 0, choices: targets.choices, lead };
  const feeds: Feeds = {
    ...fed.feeds,
    // a graph that reads the text itself needs every token's activations and has no targets
    ...(read === "here" ? here() : { ...(await texts.read(batch, read)), picks: next.picks }),
    decoderIds: next.ids,
    ...(next.order && { order: next.order }),
    ...decoded(source, memory, shape),
  };
  return { feeds, memory, lead };
}

/** A graph takes one row of memory for all rows if its attention reads the memory apart. */
const onceOf = ({ place }: ProgramSource) => place !== "decoder";

/** The feeds of the decoding half. */
function decoded(source: ModelSource, positions: Positions, shape: DecodeShape): Feeds {
  return architectureOf(source.config).decodeFeeds(source.config, positions, shape);
}

/** @returns feeds, which positions were read, and which were decoded, [B, decoded] */
async function teacherForced(
  source: ProgramSource,
  parameters: GivenParameters,
  batch: Batch,
  read: { readonly float16?: boolean } | "here" = {},
) {
  const { size: B, targetLength: U, targetMask } = batch;
  const count = (b: number) => targetMask.subarray(b * U, (b + 1) * U).reduce((n, on) => n + on, 0);
  if (readsBefore(source.place)) {
    const targets = { ids: batch.targetIds, choices: 1, length: U, count };
    const how = read === "here" ? read : { ...read, once: onceOf(source) };
    const { feeds, memory, lead } = await behind(source, parameters, batch, targets, how);
    const length = lead.length + U - 1;
    const on = new Uint8Array(B * length);
    for (let b = 0; b < B; b++) {
      on.set(lead.on.subarray(b * lead.length, (b + 1) * lead.length), b * length);
      on.fill(1, b * length + lead.length, b * length + lead.length + count(b) - 1);
    }
    return { feeds, positions: memory, decoding: { batch: B, length, on } };
  }
  const { feeds, positions } = prefilled(source, parameters, batch);
  checkWindow(source.config, positions, count);
  const shifted = shiftedIds(batch.targetIds, [B], U, source.config, firstIds(source, batch.firstIds ?? null));
  return {
    feeds: { ...feeds, ...decoded(source, positions, { length: U, past: 0 }), ...shifted },
    positions,
    decoding: { batch: B, length: U, on: Uint8Array.from(targetMask) },
  };
}

/** The id before each row's first target token. */
function firstIds({ config }: ModelSource, own: Int32Array | null): (row: number) => number {
  if (own !== null) return (row) => own[row]!;
  const start = architectureOf(config).startId(config);
  if (start === undefined)
    throw new SoftpromptError("engine", "these rows do not say which token the target follows", {
      where: config.family,
      expected: "rows encoded for a decoder-only model, whose `first` is the last token of the text",
    });
  return () => start;
}

/** Log-probabilities of each row's choices: rows padded to the most choices and the longest. */
async function rank(
  source: ProgramSource,
  session: Session,
  parameters: GivenParameters,
  rows: readonly EncodedRow[],
): Promise<Float64Array[]> {
  const { config } = source;
  const choices = rows.map((row) => row.choices ?? []);
  const [B, C, U] = choiceShape(rows);
  if (C === 0 || U === 0) return choices.map((row) => new Float64Array(row.length));
  const batch = textBatch(rows, config.padId);
  const count = (b: number) => Math.max(0, ...choices[b]!.map((choice) => choice.length));
  const ids = new Int32Array(B * C * U).fill(config.padId);
  for (const [b, row] of choices.entries()) for (const [c, choice] of row.entries()) ids.set(choice, (b * C + c) * U);
  const asked = async (): Promise<Feeds> => {
    if (readsBefore(source.place)) {
      const how = { once: onceOf(source), float16: true };
      const { feeds } = await behind(source, parameters, batch, { ids, choices: C, length: U, count }, how);
      return { ...feeds, targetIds: int([B, C * U], ids) };
    }
    const { feeds, positions } = prefilled(source, parameters, batch);
    checkWindow(config, positions, count);
    return {
      ...feeds,
      ...decoded(source, positions, { length: U, past: 0, choices: C }),
      ...shiftedIds(ids, [B, C], U, config, firstIds(source, batch.firstIds ?? null)),
      targetIds: int([B, C, U], ids),
    };
  };
  const { nll } = await session.run(await asked());
  return choices.map((row, b) =>
    Float64Array.from(row, (choice, c) => {
      let total = 0;
      for (let u = 0; u < choice.length; u++) total -= nll!.data[(b * C + c) * U + u]!;
      return total;
    }),
  );
}

/** Decoded tokens scored at once: each has V logits and V log-probabilities (0.5 GB at 2,048 tokens of 32,128). */
const tokensAtOnce = ({ vocabulary }: ModelConfig) => Math.max(1, Math.floor((2048 * 32_128) / vocabulary));

/** Cuts rows where many or long choices (ReCoRD's entities) would make the logits large; a row is never cut. */
export function portions(rows: readonly EncodedRow[], limit: number): { from: number; to: number }[] {
  const cuts: { from: number; to: number }[] = [];
  for (let from = 0; from < rows.length; ) {
    let to = from + 1;
    while (to < rows.length && choiceShape(rows.slice(from, to + 1)).reduce((a, b) => a * b) <= limit) to++;
    cuts.push({ from, to });
    from = to;
  }
  return cuts;
}

/** B, C, U of rows with choices. */
function choiceShape(rows: readonly EncodedRow[]): [number, number, number] {
  const choices = rows.map((row) => row.choices ?? []);
  return [
    rows.length,
    Math.max(0, ...choices.map((c) => c.length)),
    Math.max(0, ...choices.flat().map((c) => c.length)),
  ];
}

/** Prefill once, then one token of every row per step, until every row has ended or has `maxTokens`. */
async function* generate(
  source: ProgramSource,
  { prefill, step }: { prefill: Session; step: Session },
  parameters: GivenParameters,
  rows: readonly EncodedRow[],
  maxTokens: number,
  { pick, ends = [], done = () => false }: WritingOptions = {},
): AsyncGenerator<readonly (number | RowEnd)[], void, undefined> {
  const { config, partial } = source;
  const architecture = architectureOf(config);
  const B = rows.length;
  if (!(maxTokens >= 0))
    throw new SoftpromptError("engine", "the number of tokens to write is no number", {
      where: "maxTokens",
      expected: "0 or more",
      got: String(maxTokens),
    });
  if (B === 0) return;
  const { positions, memory, first, known, led } = await begin(source, prefill, parameters, rows);
  const lengths = lengthsOf(positions);
  const parameterOnly = parameterFeeds(source.method, config, parameters, B).feeds;
  const { heads, headWidth } = architecture.keys(config);
  const layers = partial.stacks[architecture.stacks(config).at(-1)!.name]!.layers.map((_, i) => i);
  const cache: Record<string, Feed> = {};
  for (const i of layers)
    for (const name of [`pastKey${i}`, `pastValue${i}`])
      cache[name] = led?.past[name] ?? float([B, heads, 0, headWidth], new Float32Array(0));
  const present = layers.flatMap((i) => [`key${i}`, `value${i}`]);
  const stops = new Set([...architecture.stopIds(config), ...ends]);
  let ids = first;
  const before = led?.lead.length ?? 0;
  // behind a text the first token is known already, and is itself the first to be decoded
  const shift = known === null ? 0 : 1;
  const ended = new Array<RowEnd | null>(B).fill(null);
  for (let n = 0; n < maxTokens; n++) {
    for (let b = 0; b < B; b++) if (ended[b] === null && done(b)) ended[b] = "done";
    if (ended.every((end) => end !== null)) return;
    const result =
      n < shift
        ? known!
        : await step.run(
            {
              decoderIds: int([B, 1], ids),
              ...decoded(source, positions, {
                length: 1,
                past: before + n - shift,
                ...(led && { pastLead: led.lead }),
              }),
              ...parameterOnly,
              ...memory,
              ...cache,
            },
            [...(pick === undefined ? ["next", "total"] : ["logits"]), ...present],
          );
    if (n >= shift)
      for (const i of layers) {
        cache[`pastKey${i}`] = result[`key${i}`]!;
        cache[`pastValue${i}`] = result[`value${i}`]!;
      }
    const next = pick === undefined ? likeliestIds(result, ended) : pickedIds(pick, result.logits!, ended);
    ids = Int32Array.from(next, (id, b) => {
      if (ended[b] === null && stops.has(id)) ended[b] = "end";
      return ended[b] === null ? id : config.padId;
    });
    yield Array.from(ids, (id, b) => ended[b] ?? id);
    // the next token would stand behind the model's last position
    for (let b = 0; b < B; b++)
      if (ended[b] === null && lengths[b]! + n + 1 - shift >= (config.maxPositions ?? Number.POSITIVE_INFINITY))
        ended[b] = "window";
  }
}

/** @throws SoftpromptError "numeric" where a row's logits are no numbers. */
function likeliestIds({ next, total }: Feeds, ended: readonly (RowEnd | null)[]): Feed["data"] {
  const totals = total!.data as Float32Array;
  for (const [b, end] of ended.entries())
    if (end === null && !Number.isFinite(totals[b])) throw noLogits(`their sum is ${totals[b]}`);
  return next!.data;
}

/** @param logits [B, 1, V] */
function pickedIds(pick: Pick, { data, shape }: Feed, ended: readonly (RowEnd | null)[]): Int32Array {
  const V = shape.at(-1)!;
  return Int32Array.from(ended, (end, b) =>
    end === null ? pick(b, (data as Float32Array).subarray(b * V, (b + 1) * V)) : 0,
  );
}

/** The start of a generation: the memory of prompt and text, the ids that are decoded first, and the first token if it is already known. */
async function begin(
  source: ProgramSource,
  prefill: Session,
  parameters: GivenParameters,
  rows: readonly EncodedRow[],
): Promise<{ positions: Positions; memory: Feeds; first: Int32Array; known: Feeds | null; led?: Led }> {
  const { config } = source;
  const B = rows.length;
  const batch = textBatch(rows, config.padId);
  if (!readsBefore(source.place)) {
    const { feeds, positions } = prefilled(source, parameters, batch);
    checkWindow(config, positions, () => 1);
    const firstOf = firstIds(source, batch.firstIds ?? null);
    const first = Int32Array.from({ length: B }, (_, b) => firstOf(b));
    return { positions, memory: await prefill.run(feeds), first, known: null };
  }
  const none = { ids: new Int32Array(B).fill(config.padId), choices: 1, length: 1, count: () => 0 };
  const { feeds, memory: text, lead } = await behind(source, parameters, batch, none);
  const { next, logits, total, ...whole } = await prefill.run(feeds);
  const memory = Object.fromEntries(Object.entries(whole).map(([name, v]) => [name.replace("whole", "memory"), v]));
  const known = { next: next!, logits: logits!, total: total! };
  if (source.place === "decoder") {
    const past = Object.fromEntries(Object.entries(whole).map(([name, v]) => [name.replace("present", "past"), v]));
    const read = Object.fromEntries(Object.entries(feeds).filter(([name]) => name.startsWith("memory")));
    return { positions: text, memory: read, first: new Int32Array(B), known, led: { lead, past } };
  }
  return { positions: side(text, lead), memory, first: new Int32Array(B), known };
}

/** What was decoded before the first token of a generation, on a decoder's side: its positions, and its keys and values. */
interface Led {
  readonly lead: Lead;
  readonly past: Feeds;
}

/** Positions of a memory and of the tokens decoded after it. */
function side({ batch, length, on }: Positions, lead: Lead): Positions {
  const both = new Uint8Array(batch * (length + lead.length));
  for (let b = 0; b < batch; b++) {
    const at = b * (length + lead.length);
    both.set(on.subarray(b * length, (b + 1) * length), at);
    both.set(lead.on.subarray(b * lead.length, (b + 1) * lead.length), at + length);
  }
  return { batch, length: length + lead.length, on: both };
}

/**
 * 1/(valid positions of the row) on the row's valid positions, those read and those decoded, [B, 1, P+T] and [B, 1, U]; only halves in
 * which the stack computes count.
 */
function sharesOf(
  positions: Positions,
  { length: U, on: targetMask }: Positions,
  halves: { readonly prefill: boolean; readonly decode: boolean },
): readonly [Feed, Feed] {
  const { batch: B, length: S } = positions;
  const [prefill, decode] = [new Float32Array(B * S), new Float32Array(B * U)];
  for (let b = 0; b < B; b++) {
    const text = positions.on.subarray(b * S, (b + 1) * S);
    const target = targetMask.subarray(b * U, (b + 1) * U);
    const valid = (mask: Iterable<number>) => [...mask].reduce((n, on) => n + (on ? 1 : 0), 0);
    const count = (halves.prefill ? valid(text) : 0) + (halves.decode ? valid(target) : 0);
    for (const [i, on] of text.entries()) if (on) prefill[b * S + i] = 1 / count;
    for (const [i, on] of target.entries()) if (on) decode[b * U + i] = 1 / count;
  }
  return [float([B, 1, S], prefill), float([B, 1, U], decode)];
}
