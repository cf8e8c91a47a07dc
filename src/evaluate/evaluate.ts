/**
 * @file Evaluates a prompt: predictions by label ranking or generation, scores, loss, confusion, and the majority baseline.
 *
 * In: engine, partial model, task, rows, prompt (null is the bare model). Out: Evaluation. Source: fpt.md §6-7, xprompt.md §5.
 */
import { interrupted, SoftpromptError } from "../base/errors.js";
import { currentNames } from "../base/options.js";
import { printableLine } from "../base/printable.js";
import { random } from "../base/random.js";
import { type Parameters, size } from "../base/tensor.js";
import type { Scores } from "../data/metrics.js";
import { computeMetrics, type LabelScores, labelScores } from "../data/metrics.js";
import type { Row, Task } from "../data/row.js";
import { labelOfText } from "../data/verbalizer.js";
import type { Engine } from "../engine/engine.js";
import { evalFlops, rankingFlops, shapeOfRows, textFlops } from "../engine/flops.js";
import { placeOf, places } from "../engine/place.js";
import type { GivenParameters, Place } from "../engine/types.js";
import type { Method } from "../method/method.js";
import { promptTuning } from "../method/prompt.js";
import type { ModelConfig } from "../model/architecture.js";
import type { PartialModel } from "../model/partial.js";
import { type EncodedRow, evaluationOrder, sharesText } from "../text/batch.js";
import { choicesOf, encodeRows, rowNotices } from "../text/rows.js";
import { endsOf } from "../text/rules.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { type RankingMode, rankingModes } from "./ranking.js";

/** How rows are scored. */
export interface EvaluateOptions {
  /** Default "ranking"; rows without choices are always answered by generation. */
  readonly evaluateBy?: "ranking" | "generation";
  /** @deprecated evaluateBy */
  readonly by?: "ranking" | "generation";
  /** What labels are ranked by. Default "sum". */
  readonly ranking?: RankingMode;
  /** Default 492. */
  readonly maxInputTokens?: number;
  /** Rows of one pass. Default 32. */
  readonly batchSize?: number;
  /** At most so many rows, always the same ones; 0 is all. Rows that are scored together (Row.group) come whole or not at all. Default 0. */
  readonly maxEvalRows?: number;
  /** Also compute the loss of the targets. With generation this needs a second pass. Default true. */
  readonly loss?: boolean;
  /** Also say how many answers have at least this probability, and how good they are (`Evaluation.selective`); for ranked labels. Default none. */
  readonly minProbability?: number | undefined;
  /** For `evaluate`: stops between batches. */
  readonly signal?: AbortSignal;
  /** For `evaluate`: called with the number of scored rows, from none to all. */
  readonly progress?: RowProgress;
}

/**
 * Told after every batch; the first time with 0. While answers are written it is told after each token too, with the tokens that each answer
 * of the batch in progress has by then.
 */
export type RowProgress = (done: number, total: number, tokens?: number) => void;

/** Such progress as an event. */
export interface RowsEvent {
  readonly kind: "rows";
  readonly done: number;
  readonly total: number;
  /** Tokens that each answer of the batch in progress has by now, where answers are written. */
  readonly tokens?: number;
}

/** @param tokens undefined between batches */
export function rowsEvent(done: number, total: number, tokens?: number): RowsEvent {
  return { kind: "rows", done, total, ...(tokens !== undefined && { tokens }) };
}

/** What was predicted for one row. */
export interface Prediction {
  readonly row: Row;
  /** Label, or null where generated text is no label's words; for free text always null. */
  readonly label: string | null;
  /** The label's words, or the generated text. */
  readonly text: string;
  readonly correct: boolean;
  /** Label → probability among the row's choices, computed from the ranking scores (they sum to 1); null for generation. */
  readonly probabilities: Readonly<Record<string, number>> | null;
}

/** Right labels against predicted ones. */
export interface Confusion {
  readonly labels: readonly string[];
  /** counts[right][predicted]; the last column is "no label". */
  readonly counts: readonly (readonly number[])[];
}

/** Selective prediction: what remains where answers below a probability are withheld. */
export interface Selective {
  readonly minProbability: number;
  /** Rows whose answer has at least that probability. */
  readonly rows: number;
  /** Their share of all rows; 0 without rows. */
  readonly coverage: number;
  /** Share of them that are right; null where there are none. */
  readonly accuracy: number | null;
}

/** How good predictions are, with the predictions. */
export interface Evaluation {
  readonly scores: Scores;
  /** Mean negative log-likelihood of the targets' tokens; NaN where it was not asked for. */
  readonly loss: number;
  /** In the order of the rows. */
  readonly predictions: readonly Prediction[];
  /** null for free text and for tasks whose choices differ by row. */
  readonly confusion: Confusion | null;
  /** Precision, recall, F1 and support of each label of the task; null where `confusion` is. */
  readonly labels: readonly LabelScores[] | null;
  /** null where no `minProbability` was given. */
  readonly selective: Selective | null;
  readonly seconds: number;
  /** Total FLOPs. */
  readonly flops: number;
}

/** Rows ready to be evaluated many times. */
export interface Prepared {
  readonly task: Task;
  readonly rows: readonly Row[];
  readonly encoded: readonly EncodedRow[];
  /** Row numbers by length, cut into batches. */
  readonly batches: readonly (readonly number[])[];
  readonly evaluateBy: "ranking" | "generation";
  readonly ranking: RankingMode;
  readonly loss: boolean;
  /** null where none was given. */
  readonly minProbability: number | null;
  /** What the rows were cut to. */
  readonly maxInputTokens: number;
}

/** Rows of one evaluation pass during a training with this micro-batch: without a backward pass four times as many fit. */
export function evaluationBatch({ microBatchSize }: { readonly microBatchSize: number }): number {
  return 4 * microBatchSize;
}

/** A training's settings, as used by all of its evaluations. */
export function evaluationOptions(settings: {
  readonly evaluateBy: "ranking" | "generation";
  readonly ranking: RankingMode;
  readonly maxInputTokens: number;
  readonly microBatchSize: number;
}) {
  const { evaluateBy, ranking, maxInputTokens } = settings;
  return { evaluateBy, ranking, maxInputTokens, batchSize: evaluationBatch(settings) } satisfies EvaluateOptions;
}

/** Encodes and batches rows once, by length. @throws SoftpromptError "usage" where `minProbability` is given and answers are written. */
export function prepareEvaluation(
  tokenizer: Tokenizer,
  task: Task,
  rows: readonly Row[],
  options: EvaluateOptions = {},
): Prepared {
  const {
    evaluateBy = "ranking",
    ranking = "sum",
    maxInputTokens = 492,
    batchSize = 32,
    maxEvalRows = 0,
    loss = true,
    minProbability = null,
  } = currentNames(options, { by: "evaluateBy" }, "prepareEvaluation()");
  const chosen = scoredRows(rows, { maxEvalRows });
  const encoded = encodeRows(task, chosen, tokenizer, maxInputTokens);
  const ranked = evaluateBy === "ranking" && encoded.every((row) => row.choices !== null);
  if (minProbability !== null && !ranked) throw noProbability(task.name);
  return {
    task,
    rows: chosen,
    encoded,
    batches: evaluationOrder(encoded, batchSize),
    evaluateBy: ranked ? "ranking" : "generation",
    ranking,
    loss,
    minProbability,
    maxInputTokens,
  };
}

/** The refusal of a least probability where answers are written. @param where the task, or the input */
export function noProbability(where: string): SoftpromptError {
  return new SoftpromptError("usage", "written answers have no probability", {
    where,
    expected: "labels that are ranked, or no least probability",
    hint: "rank the labels (--evaluate-by ranking), or leave --min-probability out; free text is always written",
  });
}

/** What a user should know of these rows as ids: cuts, unknown characters, control tokens. */
export function preparedNotices({ rows, encoded, maxInputTokens }: Prepared, tokenizer: Tokenizer): string[] {
  return rowNotices(rows, encoded, tokenizer, maxInputTokens);
}

/** With fewer rows than this, equal answers and a low score may be chance. */
export const fewestJudged = 8;

/** What `constantAnswer` asks of a prediction. */
export type Judged = Pick<Prediction, "text" | "label" | "correct">;

/**
 * What a user should know of the answers: a prompt that gives the same answer to every row scores like a constant answer, but the score
 * looks like a real result. null if the answers differ, if there are few, or if one answer is right for all.
 */
export function constantAnswer(predictions: readonly Judged[]): string | null {
  const [first] = predictions;
  if (first === undefined || predictions.length < fewestJudged) return null;
  if (predictions.some(({ text, label }) => text !== first.text || label !== first.label)) return null;
  if (predictions.every(({ correct }) => correct)) return null;
  const answer = printableLine(first.label ?? first.text).slice(0, 60);
  return `each of the ${predictions.length} rows got the same answer, “${answer}”: the score is that of a constant answer`;
}

/**
 * Draws the rows of a capped evaluation. One seed for all runs. If each run drew by its own seed, most of the deviation over seeds would
 * come from the draw (0.97 points for a fixed model, 1.08 for tuned prompts).
 */
const drawSeed = 0;

/** The rows that an evaluation scores: all, or at most maxEvalRows of them, the same for every run and seed. */
export function scoredRows<R extends Pick<Row, "group">>(
  rows: readonly R[],
  { maxEvalRows = 0 }: Pick<EvaluateOptions, "maxEvalRows">,
): readonly R[] {
  return maxEvalRows > 0 && maxEvalRows < rows.length ? someRows(rows, maxEvalRows) : rows;
}

/**
 * The rows on which the kept prompt and the frozen model are scored at the end: as many as during the training, unless the settings say
 * otherwise.
 */
export function reportedRows<R extends Pick<Row, "group">>(
  rows: readonly R[],
  {
    maxEvalRows,
    finalEvalRows = maxEvalRows,
  }: Pick<EvaluateOptions, "maxEvalRows"> & { readonly finalEvalRows?: number },
): readonly R[] {
  return scoredRows(rows, { maxEvalRows: finalEvalRows });
}

/**
 * At most `most` rows in their order, by whole groups in the order of a seeded shuffle (a question with half of its answers
 * is easier to get right); one group at least.
 */
function someRows<R extends Pick<Row, "group">>(rows: readonly R[], most: number): readonly R[] {
  const groups = new Map<string, number[]>();
  for (const [n, { group }] of rows.entries()) {
    const key = group === undefined ? `row ${n}` : `group ${group}`;
    const members = groups.get(key);
    if (members === undefined) groups.set(key, [n]);
    else members.push(n);
  }
  const all = [...groups.values()];
  const chosen: number[] = [];
  for (const at of random(drawSeed, "eval").sample(all.length, Math.min(most, all.length))) {
    const group = all[at]!;
    if (chosen.length > 0 && chosen.length + group.length > most) break; // skipping it would favour short labels
    chosen.push(...group);
  }
  return chosen.sort((a, b) => a - b).map((n) => rows[n]!);
}

/** Evaluates once. @param parameters of the engine's method, or null for the bare model. @throws SoftpromptError "interrupted". */
export async function evaluate(
  engine: Engine,
  partial: PartialModel,
  tokenizer: Tokenizer,
  task: Task,
  rows: readonly Row[],
  parameters: Parameters | null,
  options: EvaluateOptions = {},
): Promise<Evaluation> {
  const prepared = prepareEvaluation(tokenizer, task, rows, options);
  const found = await evaluatePrepared(
    engine,
    partial,
    tokenizer,
    prepared,
    parameters,
    options.signal,
    options.progress,
  );
  if (found === null) throw interrupted(options.signal, "stopped before every row was scored", { where: task.name });
  return found;
}

/** Evaluates prepared rows. @returns null when `signal` was aborted on the way. */
export async function evaluatePrepared(
  engine: Engine,
  partial: PartialModel,
  tokenizer: Tokenizer,
  prepared: Prepared,
  parameters: Parameters | null,
  signal?: AbortSignal,
  progress: RowProgress = () => {},
  reading: Reading = {},
): Promise<Evaluation | null> {
  const { config } = engine.checkpoint;
  const split = parameters === null && engine.method.behind && prepared.encoded.some(sharesText);
  const asked = split ? prepared.encoded.map(readOnce) : prepared.encoded;
  const place = placeOf(config, asked);
  const given = parameters ?? bareParameters(engine);
  const { beginnings = new Set<string>(), together = engine.texts === null } = reading;
  const pass = passes[prepared.evaluateBy];
  const program = await pass.open(engine, partial, place);
  const scorer = prepared.loss ? await engine.score(partial, place) : null;
  const predictions = new Array<Prediction>(prepared.rows.length);
  const started = performance.now();
  let [loss, tokens, flops, done] = [0, 0, 0, 0];
  for (const numbers of prepared.batches) {
    if (signal?.aborted) return null;
    progress(done, prepared.rows.length);
    const encoded = numbers.map((n) => asked[n]!);
    const rows = numbers.map((n) => prepared.rows[n]!);
    const virtual = engine.method.adds(given).tokens;
    const tasks = rows.map(() => prepared.task);
    const rankBy = rows.map(() => rankingModes[prepared.ranking]);
    const afterToken = async (written: number) => progress(done, prepared.rows.length, written);
    const found = await program(given, { encoded, rows, tasks, rankBy }, tokenizer, { signal, afterToken });
    if (found === null) return null;
    flops += batchFlops(
      config,
      partial,
      prepared,
      encoded,
      virtual,
      { ...reading, together, beginnings },
      engine.method,
      found.length,
    );
    for (const [i, n] of numbers.entries()) {
      predictions[n] = found.predictions[i]!;
      // the target of the loss: the answer as it is ranked, or as it is trained
      const { choices, gold, target } = encoded[i]!;
      tokens += (prepared.evaluateBy === "ranking" ? choices![gold]! : target).length;
    }
    if (found.loss !== null) loss += found.loss;
    else if (scorer !== null) {
      const targets = encoded.map((row) => ({ ...row, choices: [row.target], gold: 0 }));
      for (const [i, log] of (await scorer.run(given, targets)).entries()) {
        if (!Number.isFinite(log[0])) throw noNumber(rows[i]!, log);
        loss -= log[0]!;
      }
    }
    done += numbers.length;
  }
  progress(done, prepared.rows.length);
  const confusion = confusionOf(prepared.task, predictions);
  const pairs = predictions.map(({ row, label }) => [row.label, label] as const);
  return {
    scores: scoresOf(prepared.task, predictions),
    loss: prepared.loss && tokens > 0 ? loss / tokens : Number.NaN,
    predictions,
    confusion,
    labels: confusion && labelScores(confusion.labels, pairs),
    selective: prepared.minProbability === null ? null : selective(predictions, prepared.minProbability),
    seconds: (performance.now() - started) / 1000,
    flops,
  };
}

/**
 * Examples and an instruction that stand before the rows of a bare model are read once, not with each row: what follows them is read as the
 * tail behind a prompt of no tokens.
 */
function readOnce(row: EncodedRow): EncodedRow {
  // a row without room for an example begins its tail at once, so that it can stand in a batch with the others
  return row.promptAt === undefined ? { ...row, promptAt: row.shared ?? 0 } : row;
}

/** A row to be answered, ready for the model, under its own task and parameters. */
export interface Asked {
  readonly task: Task;
  readonly row: Row;
  readonly encoded: EncodedRow;
  /** null is the bare model. */
  readonly parameters: Parameters | null;
  readonly evaluateBy: "ranking" | "generation";
  readonly ranking: RankingMode;
}

/** What happens around a batch while its answers are written. */
export interface WhileWriting {
  /** Ends the batch after the token that is computed. */
  readonly signal?: AbortSignal | undefined;
  /** Called, and waited for, after each token of the batch, with the number of its tokens: other work gets its turn there. */
  readonly afterToken?: ((tokens: number) => Promise<void>) | undefined;
}

/**
 * Answers rows of any tasks and parameters, in batches by length; ranked rows and generated rows are in separate batches.
 * @returns predictions in the order of the rows; null when `signal` was aborted on the way.
 */
export async function answerRows(
  engine: Engine,
  partial: PartialModel,
  tokenizer: Tokenizer,
  asked: readonly Asked[],
  { batchSize = 32, signal, afterToken }: Pick<EvaluateOptions, "batchSize"> & WhileWriting = {},
): Promise<Prediction[] | null> {
  const bare = bareParameters(engine);
  const predictions = new Array<Prediction>(asked.length);
  const ways = (["ranking", "generation"] as const).flatMap((way) => places.map((place) => ({ way, place })));
  for (const { way, place } of ways) {
    const own = (of: Asked) => wayOf(of) === way && placeOf(engine.checkpoint.config, [of.encoded]) === place;
    const mine = [...asked.keys()].filter((n) => own(asked[n]!));
    if (mine.length === 0) continue;
    const program = await passes[way].open(engine, partial, place);
    const batches = evaluationOrder(
      mine.map((n) => asked[n]!.encoded),
      batchSize,
    );
    for (const batch of batches) {
      if (signal?.aborted) return null;
      const numbers = batch.map((n) => mine[n]!);
      const some = numbers.map((n) => asked[n]!);
      const found = await program(
        parametersOf(some, bare),
        {
          encoded: some.map(({ encoded }) => encoded),
          rows: some.map(({ row }) => row),
          tasks: some.map(({ task }) => task),
          rankBy: some.map(({ ranking }) => rankingModes[ranking]),
        },
        tokenizer,
        { signal, afterToken },
      );
      if (found === null) return null;
      for (const [i, n] of numbers.entries()) predictions[n] = found.predictions[i]!;
    }
  }
  return predictions;
}

/** A row without choices is answered by generation, whatever was asked for. */
function wayOf({ evaluateBy, encoded }: Asked): "ranking" | "generation" {
  return encoded.choices === null ? "generation" : evaluateBy;
}

/** One set for all where all rows have the same, else one per row. */
function parametersOf(asked: readonly Asked[], bare: Parameters): GivenParameters {
  const sets = asked.map(({ parameters }) => parameters ?? bare);
  return sets.every((set) => set === sets[0]) ? sets[0]! : sets;
}

/** Parameters that add nothing: a prompt of no tokens. */
function bareParameters({ method, checkpoint }: Engine): Parameters {
  return Object.fromEntries(
    method.parameters(checkpoint.config).map(({ name, shape }) => {
      const own = shape.map((n) => (typeof n === "number" ? n : 0));
      return [name, { shape: own, data: new Float32Array(size(own)) }];
    }),
  );
}

/** What is known before rows are evaluated. */
export interface Reading {
  /** Texts before the virtual tokens were read and kept: reading them is not counted again. Default false. */
  readonly textsKnown?: boolean;
  /** Without a store of texts: each is read in every pass that needs it. Default false, in an evaluation what its engine has. */
  readonly together?: boolean;
  /** Beginnings of texts that were read in earlier batches; those of further ones are added. Default none. */
  readonly beginnings?: Set<string>;
}

/**
 * What evaluating these rows costs, in total FLOPs, without doing it. Where answers are written it is the most that it can cost: as if some
 * answer of every batch were as long as the task allows.
 * @param virtualTokens P
 */
export function evaluationFlops(
  config: ModelConfig,
  partial: PartialModel,
  prepared: Prepared,
  virtualTokens: number,
  { beginnings = new Set(), ...reading }: Reading = {},
  method: Method = promptTuning,
): number {
  return prepared.batches.reduce(
    (sum, numbers) =>
      sum +
      batchFlops(
        config,
        partial,
        prepared,
        numbers.map((n) => prepared.encoded[n]!),
        virtualTokens,
        { ...reading, beginnings },
        method,
      ),
    0,
  );
}

/**
 * The cost of one pass, and of a second pass for the loss if the first does not give it.
 * @param length tokens that were decoded for each row; default the most that could be
 */
function batchFlops(
  config: ModelConfig,
  partial: PartialModel,
  { evaluateBy, task, loss }: Prepared,
  rows: readonly EncodedRow[],
  prompt: number,
  { textsKnown = false, together = false, beginnings }: Reading,
  method: Method = promptTuning,
  length = passes[evaluateBy].targetLength(rows, task),
): number {
  const longest = (of: (row: EncodedRow) => number) => Math.max(...rows.map(of));
  const shape = {
    ...shapeOfRows(config, rows, prompt),
    target: length,
    choices: longest((row) => row.choices?.length ?? 1),
  };
  const read = textsKnown ? 0 : textFlops(config, partial, rows, { together, beginnings }).total;
  const pass = read + evalFlops(config, partial, evaluateBy, shape, method).total;
  if (!loss || passes[evaluateBy].givesLoss) return pass;
  const target = longest((row) => row.target.length);
  return pass + rankingFlops(config, partial, { ...shape, target, choices: 1 }, method).total;
}

/** Always the training rows' most frequent label (of free text: target), on the validation rows. No model is run. */
export function majorityBaseline(
  task: Task,
  train: readonly Row[],
  validation: readonly Row[],
): { scores: Scores; label: string | null; text: string } {
  const counts = new Map<string, number>();
  const key = (row: Row) => row.label ?? row.target;
  for (const row of train) counts.set(key(row), (counts.get(key(row)) ?? 0) + 1);
  // ties go to the first seen, as a stable sort leaves it
  const [most] = [...counts].sort(([, a], [, b]) => b - a)[0] ?? [""];
  const labelled = train.some((row) => row.label !== null);
  const predictions = validation.map((row): Prediction => {
    if (!labelled) return predicted(task, row, null, most, null);
    // in WSC by generation, the answer "true" is the row's own candidate, and "false" a word that no candidate has
    const words = task.scoring?.referent
      ? most.toLowerCase() === "true"
        ? row.target
        : noReferent
      : choicesOf(task, row)?.[most];
    return predicted(task, row, most, words ?? "", null);
  });
  const text = labelled ? (task.verbalizer?.[most] ?? most) : most;
  return { scores: scoresOf(task, predictions), label: labelled ? most : null, text };
}

/** An answer of WSC by generation that names no candidate. */
const noReferent = "–";

type RankBy = (log: number, tokens: number) => number;

/** Rows of one pass, each with its task and its way of ranking: rows of several adapters may stand in one batch. */
interface PassRows {
  readonly encoded: readonly EncodedRow[];
  readonly rows: readonly Row[];
  readonly tasks: readonly Task[];
  readonly rankBy: readonly RankBy[];
}

/**
 * One batch under its parameters → predictions, the summed loss where it comes for free, and how many tokens were decoded for a row. Null
 * when its signal was aborted on the way.
 */
type Pass = (
  given: GivenParameters,
  batch: PassRows,
  tokenizer: Tokenizer,
  around: WhileWriting,
) => Promise<{ predictions: Prediction[]; loss: number | null; length: number | undefined } | null>;

const passes = {
  ranking: {
    givesLoss: true,
    targetLength: (encoded: readonly EncodedRow[]) =>
      Math.max(...encoded.flatMap((row) => row.choices!.map((choice) => choice.length))),
    open: async (engine: Engine, partial: PartialModel, place: Place): Promise<Pass> => {
      const program = await engine.score(partial, place);
      return async (given, { encoded, rows, tasks, rankBy }) => {
        const logs = await program.run(given, encoded);
        let loss = 0;
        const predictions = rows.map((row, i) => {
          const task = tasks[i]!;
          const choices = choicesOf(task, row)!;
          const labels = Object.keys(choices);
          loss -= logs[i]![encoded[i]!.gold]!;
          const log = logs[i]!.map((value, n) => rankBy[i]!(value, encoded[i]!.choices![n]!.length));
          const best = log.reduce((top, value, n) => (value > log[top]! ? n : top), 0);
          const weights = log.map((value) => Math.exp(value - log[best]!));
          const total = weights.reduce((a, b) => a + b, 0);
          if (!Number.isFinite(total)) throw noNumber(row, log);
          const probabilities = Object.fromEntries(labels.map((label, n) => [label, weights[n]! / total]));
          return predicted(task, row, labels[best]!, choices[labels[best]!]!, probabilities);
        });
        return { predictions, loss, length: undefined };
      };
    },
  },
  generation: {
    givesLoss: false,
    targetLength: longestAnswer,
    open: async (engine: Engine, partial: PartialModel, place: Place): Promise<Pass> => {
      const program = await engine.generate(partial, place);
      return async (given, { encoded, rows, tasks }, tokenizer, { signal, afterToken }) => {
        const limits = encoded.map((row, i) => longestAnswer([row], tasks[i]!));
        const most = Math.max(...limits);
        let tokens = 0;
        const all = await program.run(given, encoded, most, {
          ends: endsOf(tokenizer),
          done: () => signal?.aborted === true,
          afterToken: afterToken && (() => afterToken(++tokens)),
        });
        if (signal?.aborted) return null;
        // a row with a smaller limit than others of its batch is cut where it would have ended alone
        const written = all.map((ids, i) => (limits[i]! < most ? ids.slice(0, limits[i]) : ids));
        const predictions = rows.map((row, i) => {
          const task = tasks[i]!;
          const text = withoutPrefix(tokenizer, task, written[i]!);
          const choices = choicesOf(task, row);
          return predicted(task, row, choices && labelOfText(text, choices), text, null);
        });
        return { predictions, loss: null, length: decodedTokens(all, most) };
      };
    },
  },
} as const;

/** How many tokens a batch was decoded for: its longest answer and the token that ended it, at most `most`. */
function decodedTokens(written: readonly (readonly number[])[], most: number): number {
  return Math.min(most, written.reduce((longest, ids) => Math.max(longest, ids.length), 0) + 1);
}

/** Most tokens of an answer: the task's limit, but at least the length of the longest label. */
function longestAnswer(encoded: readonly EncodedRow[], task: Task): number {
  return encoded.reduce(
    (most, { choices }) => (choices ?? []).reduce((longest, { length }) => Math.max(longest, length), most),
    task.maxTargetTokens,
  );
}

/** Refuses a row without valid probabilities. Otherwise its first label would look like an answer. */
function noNumber(row: Row, logs: ArrayLike<number>): SoftpromptError {
  return new SoftpromptError("numeric", "the model gives no probability for this row", {
    where: row.id,
    expected: "a finite number for every label or target",
    got: [...Array.from(logs).slice(0, 5)].join(", "),
    hint: "the model's weights or the prompt hold NaN or infinity, or this row makes them overflow; the file may be damaged",
  });
}

/** Special tokens are left out of the text, blanks trimmed; a prefix of ordinary words is taken off too (fpt.md §6). */
function withoutPrefix(tokenizer: Tokenizer, task: Task, ids: readonly number[]): string {
  const text = tokenizer.decode(ids).trim();
  const prefix = task.targetPrefix.trim();
  return prefix !== "" && text.startsWith(prefix) ? text.slice(prefix.length).trim() : text;
}

function predicted(
  task: Task,
  row: Row,
  label: string | null,
  text: string,
  probabilities: Readonly<Record<string, number>> | null,
): Prediction {
  // the score of a single row shows whether it is right; a free text may equal any of its references
  const metric = row.label === null ? "exactMatch" : "accuracy";
  const correct = computeMetrics(task, [row], [{ label, text }], [metric])[metric] === 1;
  return { row, label, text, correct, probabilities };
}

function scoresOf(task: Task, predictions: readonly Prediction[]): Scores {
  const rows = predictions.map(({ row }) => row);
  return computeMetrics(task, rows, predictions);
}

/** The probability of the likeliest choice; null where the answer was written. */
export function topProbability(probabilities: Prediction["probabilities"]): number | null {
  return probabilities === null ? null : Object.values(probabilities).reduce((a, b) => Math.max(a, b), 0);
}

function selective(predictions: readonly Prediction[], minProbability: number): Selective {
  const kept = predictions.filter(({ probabilities }) => (topProbability(probabilities) ?? 0) >= minProbability);
  return {
    minProbability,
    rows: kept.length,
    coverage: predictions.length === 0 ? 0 : kept.length / predictions.length,
    accuracy: kept.length === 0 ? null : kept.filter(({ correct }) => correct).length / kept.length,
  };
}

function confusionOf(task: Task, predictions: readonly Prediction[]): Confusion | null {
  if (task.verbalizer === null || predictions.some(({ row }) => row.choices !== undefined)) return null;
  const labels = Object.keys(task.verbalizer);
  const counts = labels.map(() => new Array<number>(labels.length + 1).fill(0));
  for (const { row, label } of predictions) {
    const right = counts[labels.indexOf(row.label ?? "")];
    const column = label === null ? labels.length : labels.indexOf(label);
    if (right !== undefined) right[column]!++;
  }
  return { labels, counts };
}
