/**
 * @file Generates several texts together, one token of each per step. In: encoded prompts with their skills. Out: events of their rows.
 *
 * Each row has its own prompt, sampling, stop strings and limit, and draws from its own stream of random numbers, so its result is the same
 * as alone. A row that is dropped ends at the next step.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Parameters } from "../base/tensor.js";
import { placeOf } from "../engine/place.js";
import { type LogProbability, logProbabilities, picker } from "../engine/sampling.js";
import { engineUnder, type Model } from "../tasks/model.js";
import { writing } from "../tasks/written.js";
import { type EncodedRow, textIds } from "../text/batch.js";
import { endsOf, goesOnFrom } from "../text/rules.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { failureOf } from "./failure.js";
import type { RowEvent, TokenLogprob, WritingSettings, WrittenEnd, WrittenLogprob } from "./protocol.js";
import type { WritingSkill } from "./skill.js";

/** A text to be continued. */
export interface WriteRow {
  readonly id: number;
  readonly skill: WritingSkill;
  readonly row: EncodedRow;
  /** Ids of its text. */
  readonly tokens: number;
  readonly tokenizer: Tokenizer;
  readonly how: WritingSettings;
  /** True if the text is no longer wanted. */
  dropped: boolean;
}

/** Events of one step. */
export type StepEvents = (readonly [id: number, event: RowEvent])[];

/** Rows that are written together. */
export interface Group {
  /** Rows that still write. */
  readonly running: number;
  /** The next token of every row; null after the last. */
  step(): Promise<StepEvents | null>;
}

/**
 * Rows with the same key can be generated together: prompts of any adapters (other methods: one adapter), the same place, the same end
 * tokens.
 */
export function groupKey(model: Pick<Model, "checkpoint">, { skill, row, tokenizer }: WriteRow): readonly unknown[] {
  return [
    skill.method.perRow ? skill.method.key : skill,
    placeOf(model.checkpoint.config, [row]),
    endsOf(tokenizer).join(),
  ];
}

/** A prompt of no tokens, where rows without an adapter stand beside others. */
function bare(model: Pick<Model, "checkpoint">): Parameters {
  return { prompt: { shape: [0, model.checkpoint.config.width], data: new Float32Array(0) } };
}

/** @param rows of one groupKey */
export async function openGroup(model: Model, rows: readonly WriteRow[]): Promise<Group> {
  const { method } = rows[0]!.skill;
  const engine = await engineUnder(model, method);
  const encoded = rows.map(({ row }) => row);
  const program = await engine.generate(undefined, placeOf(model.checkpoint.config, encoded));
  const sets = rows.map(({ skill }) => skill.parameters ?? bare(model));
  // a chat's answer has a tokenizer of its own, and is a text of its own
  const continues = rows.map(
    ({ tokenizer, skill, row }) => tokenizer === skill.tokenizer && goesOnFrom(textIds(row), tokenizer),
  );
  const texts = rows.map(({ tokenizer, how }, row) =>
    writing(tokenizer.openDecoder({ continues: continues[row]! }), how.stop),
  );
  const tellers = rows.map(({ tokenizer, how }, row) =>
    how.logprobs === undefined ? null : logprobTeller(tokenizer, continues[row]!, how.logprobs),
  );
  const pickers = rows.map(({ how }) => picker(how));
  const ended = new Array<WrittenEnd | "dropped" | null>(rows.length).fill(null);
  const lengths = new Int32Array(rows.length);
  // the program chooses the likeliest token itself; everything else needs its logits
  const logitsNeeded = rows.some(({ how }) => how.temperature > 0 || how.logprobs !== undefined);
  const failures = new Map<number, unknown>();
  /** A row with invalid numbers fails alone. Each row is the first of its own stream. */
  const pick = (row: number, logits: Float32Array): number => {
    try {
      const id = pickers[row]!(0, logits);
      tellers[row]?.see(id, logits);
      return id;
    } catch (error) {
      failures.set(row, error);
      return 0;
    }
  };
  const stream = program.stream(
    sets.every((set) => set === sets[0]) ? sets[0]! : sets,
    encoded,
    Math.max(...rows.map(({ how }) => how.maxTokens)),
    {
      ends: endsOf(rows[0]!.tokenizer),
      done: (row) => {
        if (rows[row]!.dropped) ended[row] ??= "dropped";
        return ended[row] !== null;
      },
      ...(logitsNeeded ? { pick } : {}),
    },
  );
  const finish = (row: number, end: WrittenEnd): StepEvents[number] => {
    ended[row] = end;
    return [
      rows[row]!.id,
      { kind: "end", text: texts[row]!.flush(), tokens: lengths[row]!, end, ...tellers[row]?.told() },
    ];
  };
  const left = (end: (row: number) => WrittenEnd): StepEvents =>
    rows.flatMap(({ dropped }, row) => (ended[row] === null && !dropped ? [finish(row, end(row))] : []));
  return {
    get running() {
      return ended.filter((end) => end === null).length;
    },
    async step() {
      let next: Awaited<ReturnType<typeof stream.next>>;
      try {
        next = await stream.next();
      } catch (error) {
        const failure = failureOf(error);
        const failed: StepEvents = rows.flatMap(({ id }, row) =>
          ended[row] === null ? [[id, { kind: "failed", failure }] as const] : [],
        );
        ended.fill("dropped");
        if (failed.length === 0 && !(error instanceof SoftpromptError)) throw error;
        return failed;
      }
      if (next.done) {
        // if all rows are at their last position, no further step would report it
        const rest = left((row) => (lengths[row]! < rows[row]!.how.maxTokens ? "window" : "length"));
        return rest.length > 0 ? rest : null;
      }
      const events: StepEvents = [];
      for (const [row, id] of next.value.entries()) {
        if (ended[row] !== null) continue;
        if (failures.has(row)) {
          ended[row] = "dropped";
          events.push([rows[row]!.id, { kind: "failed", failure: failureOf(failures.get(row)) }]);
          continue;
        }
        if (typeof id !== "number") {
          if (id !== "done") events.push(finish(row, id));
          continue;
        }
        lengths[row]!++;
        const text = texts[row]!.push(id);
        tellers[row]?.take();
        if (text !== "")
          events.push([rows[row]!.id, { kind: "piece", text, tokens: lengths[row]!, ...tellers[row]?.told() }]);
        if (texts[row]!.stopped) events.push(finish(row, "stop"));
        else if (lengths[row] === rows[row]!.how.maxTokens) events.push(finish(row, "length"));
      }
      return events;
    },
  };
}

/** The log-probabilities of one row's tokens: computed when a token is chosen, kept when it is written, told with the next text. */
function logprobTeller(tokenizer: Tokenizer, continues: boolean, count: number) {
  const decoder = tokenizer.openDecoder({ continues });
  let seen: { readonly id: number; readonly found: ReturnType<typeof logProbabilities> } | null = null;
  let waiting: WrittenLogprob[] = [];
  let [written, length] = [0, 0];
  const named = ({ id, logProbability }: LogProbability): TokenLogprob => ({
    id,
    token: tokenizer.decode([id], { keepSpecial: true, continues: continues || written > 0 }),
    logprob: Math.max(leastLogprob, logProbability),
  });
  return {
    see(id: number, logits: Float32Array): void {
      seen = { id, found: logProbabilities(logits, id, count) };
    },
    /** The token that was seen last is a part of the answer, and no end token. */
    take(): void {
      if (seen === null) return;
      const { id, found } = seen;
      const own = named({ id, logProbability: found.chosen });
      waiting.push({ ...own, offset: length, likeliest: found.likeliest.map(named) });
      length += decoder.push(id).length;
      written++;
      seen = null;
    },
    /** What was taken since the last call. */
    told(): { readonly logprobs?: readonly WrittenLogprob[] } {
      const logprobs = waiting;
      waiting = [];
      return logprobs.length === 0 ? {} : { logprobs };
    },
  };
}

/** JSON has no infinity. OpenAI's number for what is never written. */
const leastLogprob = -9999;
