/**
 * @file What a model writes after a text, without a task. In: Model, a text or several, an adapter. Out: the written text.
 */
import { checkBase, loadAdapter } from "../adapter/adapter.js";
import type { Adapter } from "../adapter/types.js";
import { interrupted, SoftpromptError } from "../base/errors.js";
import type { Task } from "../data/row.js";
import { answerRows } from "../evaluate/evaluate.js";
import { fullModel } from "../model/partial.js";
import { encodeRows, rowNotices } from "../text/rows.js";
import type { CallContext, NoticeEvent } from "./call.js";
import type { Model } from "./model.js";
import { recordedInputTokens } from "./predictor.js";

/** What is written, and how. The likeliest token is taken each time. */
export interface GenerateInput<P extends string | readonly string[] = string | readonly string[]>
  extends CallContext<NoticeEvent> {
  /** The text as it stands, or several. No template is put around it. */
  readonly prompt: P;
  /** What `tune` gave, or the folder it was saved in. Default null: the frozen model alone. */
  readonly adapter?: Adapter | string | null | undefined;
  /** Longest text in tokens. Default 64. */
  readonly maxTokens?: number | undefined;
  /** Longer texts lose their end. Default what the adapter was tuned with, else 492. */
  readonly maxInputTokens?: number | undefined;
  /** Texts of one pass. Default 32. */
  readonly batchSize?: number | undefined;
  /** Use the adapter though the base model is not the recorded one. Default false. */
  readonly anyBase?: boolean | undefined;
}

/**
 * Writes on from a text: `await generate(model, { prompt: "translate English to German: good morning" })`.
 * @returns one text; for a list of prompts a list. @throws SoftpromptError "usage", "adapter", "numeric", "interrupted".
 */
export async function generate<P extends string | readonly string[]>(
  model: Model,
  input: GenerateInput<P>,
): Promise<P extends string ? string : string[]> {
  const { prompt, adapter = null, maxTokens = 64, batchSize, anyBase, onEvent, signal } = input;
  const texts = typeof prompt === "string" ? [prompt] : prompt;
  if (!Array.isArray(texts) || texts.some((text) => typeof text !== "string"))
    throw new SoftpromptError("usage", "this is nothing to write on from", {
      where: "generate(), prompt",
      expected: "a text, or a list of texts",
      got: prompt,
    });
  if (!Number.isInteger(maxTokens) || maxTokens < 1)
    throw new SoftpromptError("usage", "not a length", {
      where: "generate(), maxTokens",
      expected: "a whole number, at least 1",
      got: maxTokens,
    });
  const loaded = typeof adapter === "string" ? loadAdapter(adapter) : adapter;
  if (loaded !== null) await checkBase(loaded, model.checkpoint, { anyBase, tokenizer: model.tokenizer });
  const maxInputTokens = input.maxInputTokens ?? recordedInputTokens(loaded) ?? 492;
  const task: Task = {
    name: "generate()",
    template: "{text}",
    verbalizer: null,
    metrics: ["exactMatch"],
    maxTargetTokens: maxTokens,
    targetPrefix: "",
  };
  const rows = texts.map((text, i) => ({
    id: `prompt ${i + 1}`,
    input: text,
    fields: [{ name: "text", from: 0, to: text.length }],
    target: "",
    label: null,
    references: [""],
  }));
  const encoded = encodeRows(task, rows, model.tokenizer, maxInputTokens);
  for (const message of rowNotices(rows, encoded, model.tokenizer, maxInputTokens))
    onEvent?.({ kind: "notice", message });
  const asked = rows.map((row, i) => ({
    task,
    row,
    encoded: encoded[i]!,
    parameters: loaded && { prompt: loaded.prompt },
    by: "generation" as const,
    ranking: "sum" as const,
  }));
  const full = fullModel(model.checkpoint.config);
  const found = await answerRows(model.engine, full, model.tokenizer, asked, { batchSize, signal });
  if (found === null) throw interrupted(signal, "stopped before every text was written", { where: "generate()" });
  const written = found.map(({ text }) => text);
  return (typeof prompt === "string" ? written[0]! : written) as P extends string ? string : string[];
}
