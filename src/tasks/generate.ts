/**
 * @file Generates text after a given text, without a task. In: Model, one or several texts, an adapter. Out: the generated text, whole or
 * as a stream.
 */
import { checkBase } from "../adapter/adapter.js";
import { runnable } from "../adapter/applied.js";
import type { Adapter } from "../adapter/types.js";
import { interrupted, SoftpromptError } from "../base/errors.js";
import { readOptions } from "../base/options.js";
import type { Parameters } from "../base/tensor.js";
import { endNotice } from "../data/notices.js";
import type { Task } from "../data/row.js";
import { aroundText } from "../data/template.js";
import { placeOf } from "../engine/place.js";
import { picker } from "../engine/sampling.js";
import type { RowEnd } from "../engine/types.js";
import type { Method } from "../method/method.js";
import { promptTuning } from "../method/prompt.js";
import { type EncodedRow, textIds } from "../text/batch.js";
import { encodeRows, rowNotices } from "../text/rows.js";
import { endsOf, goesOnFrom, rulesOf } from "../text/rules.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { givenAdapter } from "./adapter-place.js";
import { checkCall, passOptions } from "./answer-options.js";
import { type CallContext, type NoticeEvent, splitCall } from "./call.js";
import { type GenerateOptions, generateOptions } from "./generate-options.js";
import { engineUnder, type Model } from "./model.js";
import { noEffect } from "./planning.js";
import { recordedInputTokens } from "./predictor.js";
import { tokenizerFor } from "./readied.js";
import { writing } from "./written.js";

/** Input of a generation: any of generateOptions, and the fields below. */
export interface GenerateInput<P extends string | readonly string[] = string | readonly string[]>
  extends Partial<GenerateOptions>,
    CallContext<NoticeEvent> {
  /**
   * One text or several, used unchanged, without a task's template. For a model that was opened with `chat`, or an adapter tuned in that
   * way, it is a user's message.
   */
  readonly prompt: P;
  /** What `tune` gave, or the folder it was saved in. Default null: the frozen model alone. */
  readonly adapter?: Adapter | string | null | undefined;
  /** Texts of one pass. Default 32. */
  readonly batchSize?: number | undefined;
  /** Use the adapter though the base model is not the recorded one. Default false. */
  readonly anyBase?: boolean | undefined;
}

/**
 * Why a text ends: an end token, a stop string, `maxTokens`, or the model's last position.
 */
export type GeneratedEnd = "end" | "stop" | "length" | "window";

/** A piece of a streamed text. */
export interface GeneratedPiece {
  /** The text that becomes final with this token; "" while a character or a possible stop string is unfinished. */
  readonly text: string;
  /** Absent in the last piece. */
  readonly id?: number;
  /** Only in the last piece. */
  readonly end?: GeneratedEnd;
}

/**
 * Continues a text: `await generate(model, { prompt: "translate English to German: good morning" })`.
 * @returns one text; for a list of prompts a list. @throws SoftpromptError "usage", "adapter", "numeric", "interrupted".
 */
export async function generate<P extends string | readonly string[]>(
  model: Model,
  input: GenerateInput<P>,
): Promise<P extends string ? string : string[]> {
  const { prompt, batchSize = 32, signal } = input;
  checkCall(passOptions, { batchSize }, [], "generate()");
  const texts = textsOf(prompt);
  const asked = await ask(model, texts, input);
  const written = texts.map(() => "");
  for (let from = 0; from < texts.length; from += batchSize) {
    const rows = asked.rows.slice(from, from + batchSize);
    for await (const [row, { text }] of write(model, { ...asked, rows, from }, signal)) written[from + row] += text;
  }
  return (typeof prompt === "string" ? written[0]! : written) as P extends string ? string : string[];
}

/**
 * The same for one text, as a stream: `for await (const { text } of generateStream(model, { prompt }))`. All pieces joined are what
 * `generate` gives; the last one says why the text ends. Leaving the loop early ends the work.
 * @throws SoftpromptError as `generate`.
 */
export async function* generateStream(
  model: Model,
  input: GenerateInput<string>,
): AsyncGenerator<GeneratedPiece, void, undefined> {
  if (typeof input.prompt !== "string") throw notText(input.prompt, "a text");
  const asked = await ask(model, [input.prompt], input);
  for await (const [, piece] of write(model, asked, input.signal)) yield piece;
}

const contextKeys = ["prompt", "adapter", "batchSize", "anyBase", "onEvent", "signal"] as const;

/** Texts that are ready to be continued. */
interface Asked {
  readonly tokenizer: Tokenizer;
  readonly rows: readonly EncodedRow[];
  /** Number of the first row among the texts of the call. */
  readonly from: number;
  readonly method: Method;
  readonly parameters: Parameters;
  readonly options: GenerateOptions;
}

async function ask(model: Model, texts: readonly string[], input: GenerateInput): Promise<Asked> {
  const { options: given, context } = splitCall<Omit<GenerateInput, keyof GenerateOptions>>(input, contextKeys);
  const { adapter = null, anyBase, onEvent } = context;
  const options = readOptions(generateOptions, given, "generate()");
  if (options.stop.includes(""))
    throw new SoftpromptError("usage", "an empty text would stop at once", {
      where: "--stop",
      expected: "a text of one character or more",
    });
  for (const key of ["topK", "topP"] as const)
    if (options.temperature === 0 && options[key] !== generateOptions[key].default)
      throw noEffect(key, "a temperature above 0, which draws", "temperature 0, which takes the likeliest token");
  const loaded = await givenAdapter(model, adapter, { onEvent, signal: context.signal });
  if (loaded !== null) await checkBase(loaded, model.checkpoint, { anyBase, tokenizer: model.tokenizer });
  const tokenizer = await tokenizerFor(model, loaded);
  const { positions } = rulesOf(tokenizer, {}).window ?? {};
  const maxInputTokens = options.maxInputTokens ?? recordedInputTokens(loaded) ?? positions ?? 492;
  const task: Task = {
    name: "generate()",
    template: "{text}",
    verbalizer: null,
    metrics: ["exactMatch"],
    // in a small window half of the positions are reserved for the text, whatever maxTokens asks for
    maxTargetTokens: Math.min(options.maxTokens, Math.ceil((positions ?? Number.POSITIVE_INFINITY) / 2)),
    targetPrefix: "",
  };
  const unended = endNotice(loaded?.task);
  if (unended !== null) onEvent?.({ kind: "notice", message: unended });
  const learnt = loaded?.task?.template ?? "";
  const place = aroundText(learnt);
  if (place === null)
    throw new SoftpromptError("adapter", "this prompt stands inside the text of its task", {
      where: "adapter",
      expected: "a prompt before or behind the whole text, or both",
      got: learnt,
      hint: "use predict, which fills the task's template",
    });
  const rows = texts.map((text, i) => ({
    id: `prompt ${i + 1}`,
    input: text,
    ...place(text),
    fields: [{ name: "text", from: 0, to: text.length }],
    continues: true,
    target: "",
    label: null,
    references: [""],
  }));
  const encoded = encodeRows(task, rows, tokenizer, maxInputTokens);
  if (loaded !== null && texts.some((text) => text.endsWith(" ")) && rulesOf(tokenizer, {}).joined !== null)
    onEvent?.({
      kind: "notice",
      message: "a text ends with a blank; the adapter was tuned on texts without one there: leave it out",
    });
  for (const message of rowNotices(rows, encoded, tokenizer, maxInputTokens)) onEvent?.({ kind: "notice", message });
  const bare = { prompt: { shape: [0, model.checkpoint.config.width], data: new Float32Array(0) } };
  const { method, parameters } =
    loaded === null ? { method: promptTuning, parameters: bare } : runnable(loaded, model.checkpoint.config);
  return { tokenizer, rows: encoded, from: 0, method, parameters, options };
}

/** The generated text of each row, piece by piece, with the row's number. */
async function* write(
  model: Model,
  { tokenizer, rows, from, method, parameters, options }: Asked,
  signal: AbortSignal | undefined,
): AsyncGenerator<[row: number, piece: GeneratedPiece], void, undefined> {
  const { maxTokens, stop, temperature } = options;
  const engine = await engineUnder(model, method);
  const program = await engine.generate(undefined, placeOf(model.checkpoint.config, rows));
  const texts = rows.map((row) =>
    writing(tokenizer.openDecoder({ continues: goesOnFrom(textIds(row), tokenizer) }), stop),
  );
  const ended = new Array<GeneratedEnd | null>(rows.length).fill(null);
  const lengths = new Int32Array(rows.length);
  const ends = endsOf(tokenizer);
  const how = {
    ends,
    done: (row: number) => ended[row] !== null,
    ...(temperature > 0 && { pick: picker(options, from) }),
  };
  const finish = (row: number, end: GeneratedEnd): [number, GeneratedPiece] => {
    ended[row] = end;
    return [row, { text: texts[row]!.flush(), end }];
  };
  for await (const next of program.stream(parameters, rows, maxTokens, how)) {
    if (signal?.aborted) throw interrupted(signal, "stopped before every text was written", { where: "generate()" });
    for (const [row, id] of next.entries()) {
      if (ended[row] !== null) continue;
      if (typeof id !== "number") {
        yield finish(row, endOf(id));
        continue;
      }
      lengths[row]!++;
      yield [row, { text: texts[row]!.push(id), id }];
      if (texts[row]!.stopped) yield finish(row, "stop");
    }
  }
  // if all rows are at their last position, no further step would report it
  for (const [row, end] of ended.entries())
    if (end === null) yield finish(row, lengths[row]! < maxTokens ? "window" : "length");
}

const endOf = (end: RowEnd): GeneratedEnd => (end === "window" ? "window" : "end");

function textsOf(prompt: unknown): readonly string[] {
  const texts: unknown = typeof prompt === "string" ? [prompt] : prompt;
  if (Array.isArray(texts) && texts.every((text) => typeof text === "string")) return texts as string[];
  throw notText(prompt, "a text, or a list of texts");
}

function notText(got: unknown, expected: string): SoftpromptError {
  return new SoftpromptError("usage", "this is nothing to write on from", {
    where: "generate(), prompt",
    expected,
    got,
  });
}
