/**
 * @file A tuned prompt at work: labels and probabilities, or written text, for inputs without a known answer.
 *
 * In: Model, Adapter (or an adapter folder), inputs: text, or the fields that the task's template asks for. Out: Answers.
 */
import { checkBase, loadAdapter } from "../adapter/adapter.js";
import type { Adapter } from "../adapter/types.js";
import { interrupted, SoftpromptError } from "../base/errors.js";
import type { Row, Task } from "../data/row.js";
import { compileTemplate, type Template } from "../data/template.js";
import { evaluatePrepared, preparedNotices, prepareEvaluation } from "../evaluate/evaluate.js";
import { fullModel } from "../model/partial.js";
import type { Model } from "./model.js";

/** A text for a template with one hole, or one value per hole. */
export type PredictInput = string | Readonly<Record<string, unknown>>;

export interface Answer {
  /** The label; null for free text, and where generated text is no label's words. */
  readonly label: string | null;
  /** The label's words, or the generated text. */
  readonly text: string;
  /** Label → probability among the labels; null for generated text. */
  readonly probabilities: Readonly<Record<string, number>> | null;
}

export interface PredictOptions {
  /** Default "ranking" where the task has label words, else "generation". */
  readonly by?: "ranking" | "generation";
  /** Default what the adapter was tuned with, else 492. */
  readonly maxInputTokens?: number;
  /** Rows of one pass. Default 32. */
  readonly batchSize?: number;
  /** Task for an adapter that records none (PEFT's own). */
  readonly task?: Task;
  /** Use the prompt though the base model is not the recorded one. Default false. */
  readonly anyBase?: boolean;
  /** Names of the inputs in errors; default "input 1", … */
  readonly names?: readonly string[];
  readonly signal?: AbortSignal;
  /** Hears what should be known of the inputs: cut, with unknown characters, with the text of control tokens. */
  readonly notice?: (message: string) => void;
}

/**
 * Answers inputs in their order.
 * @param adapter what `tune` gave, or the folder it was saved in; null is the frozen model without a prompt (needs `task`).
 * @throws SoftpromptError "adapter" (another base model; no task known), "data" (a field of the template is missing), "interrupted".
 */
export async function predict(
  model: Model,
  adapter: Adapter | string | null,
  inputs: readonly PredictInput[],
  options: PredictOptions = {},
): Promise<Answer[]> {
  const loaded = typeof adapter === "string" ? loadAdapter(adapter) : adapter;
  if (loaded !== null)
    await checkBase(loaded, model.checkpoint, { anyBase: options.anyBase, tokenizer: model.tokenizer });
  const task = options.task ?? loaded?.task ?? null;
  if (task === null)
    throw new SoftpromptError("adapter", "the adapter does not say which task it is for", {
      where: typeof adapter === "string" ? adapter : "adapter",
      expected: "a softprompt.json with template and label words",
      hint: "give the task: --template and --verbalizer, or { task } in the library",
    });
  const template = compileTemplate(task.template);
  const rows = inputs.map((input, i) => unlabelledRow(task, template, input, options.names?.[i] ?? `input ${i + 1}`));
  if (rows.length === 0) return [];
  const prepared = prepareEvaluation(model.tokenizer, task, rows, {
    by: options.by ?? "ranking",
    maxInputTokens: options.maxInputTokens ?? recordedInputTokens(loaded),
    batchSize: options.batchSize,
    loss: false,
  });
  for (const message of preparedNotices(prepared, model.tokenizer)) options.notice?.(message);
  const full = fullModel(model.checkpoint.config);
  const parameters = loaded && { prompt: loaded.prompt };
  const found = await evaluatePrepared(model.engine, full, model.tokenizer, prepared, parameters, options.signal);
  if (found === null)
    throw interrupted(options.signal, "stopped before every input was answered", { where: task.name });
  return found.predictions.map(({ label, text, probabilities }) => ({ label, text, probabilities }));
}

/** Longest input that the prompt was tuned with; undefined where that is not recorded. */
export function recordedInputTokens(adapter: Pick<Adapter, "training"> | null): number | undefined {
  const recorded = adapter?.training?.settings.maxInputTokens;
  return Number.isInteger(recorded) && (recorded as number) >= 1 ? (recorded as number) : undefined;
}

/**
 * An input as a Row. Its answer is not known; the first label stands in, because encoding wants one, and nothing that is
 * computed from it (correctness, loss) leaves this file.
 */
function unlabelledRow(task: Task, template: Template, input: PredictInput, id: string): Row {
  const fields = typeof input === "string" ? { [theOneField(template, id)]: input } : input;
  const [label, target] = Object.entries(task.verbalizer ?? {})[0] ?? [null, ""];
  return { id, ...template.fillRow(fields, id), target, label, references: [target] };
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
