/**
 * @file A tuned prompt for other programs. In: an adapter, its model where the form needs one, a format. Out: a folder, or a request's body.
 */
import { join } from "node:path";
import { checkBase } from "../adapter/adapter.js";
import { checkAdapterValue } from "../adapter/given.js";
import type { Adapter } from "../adapter/types.js";
import { SoftpromptError } from "../base/errors.js";
import { writeFileAtomic } from "../base/files.js";
import type { JsonObject } from "../base/json.js";
import { type OptionValues, readOptions } from "../base/options.js";
import type { Task } from "../data/row.js";
import { type Exported, exportOnnx } from "../export/onnx.js";
import { adapterFile, promptTensors } from "../export/onnx-adapter.js";
import { refuseThere } from "../export/output.js";
import { promptFiles, requests } from "../export/prompt-files.js";
import { textIds } from "../text/batch.js";
import { encodeRows } from "../text/rows.js";
import { rulesOf } from "../text/rules.js";
import { givenAdapter } from "./adapter-place.js";
import type { CallContext, NoticeEvent } from "./call.js";
import { exportOptions } from "./export-options.js";
import type { Model } from "./model.js";
import { recordedInputTokens } from "./predictor.js";
import { tokenizerFor } from "./readied.js";

export type { Exported } from "../export/onnx.js";

/** How an adapter is exported. */
export interface ExportInput extends Partial<OptionValues<typeof exportOptions>>, CallContext<NoticeEvent> {
  /** What `tune` gave, the folder it was saved in, or a prompt as `.npy`; null is the frozen model alone. */
  readonly adapter: Adapter | string | null;
  /** A new or empty folder. */
  readonly output: string;
  /** Use the adapter though the base model is not the recorded one. Default false. */
  readonly anyBase?: boolean | undefined;
}

/**
 * Writes a model that transformers.js runs unchanged, with the prompt, prefix, LoRA or trained weights in it.
 * @throws SoftpromptError "adapter" for an adapter that this form cannot express, "usage" for a folder that is not empty, "checkpoint",
 * "io".
 */
export async function exportModel(model: Model, input: ExportInput): Promise<Exported> {
  const { adapter: given, output, anyBase, onEvent, signal, ...rest } = input;
  const { dtype, promptInput } = readOptions(exportOptions, rest, "exportModel()");
  const adapter = await adapterOf(model, given, { anyBase, onEvent, signal });
  const tokenizer = await tokenizerFor(model, adapter);
  return exportOnnx({ checkpoint: model.checkpoint, tokenizer, adapter, dtype, promptInput }, output);
}

/** A prompt as a file of ONNX Runtime's. */
export interface OnnxAdapterInput extends CallContext<NoticeEvent> {
  readonly adapter: Adapter | string;
  /** The file, whose name should end in `.onnx_adapter`. */
  readonly output: string;
  /** Use the adapter though the base model is not the recorded one. Default false. */
  readonly anyBase?: boolean | undefined;
}

/**
 * Writes the prompt, or a decoder-only model's prefix, as one `.onnx_adapter` file for the model that `exportModel` writes with
 * `promptInput`. @returns its size, and the inputs that it fills.
 * @throws SoftpromptError "adapter" for what no input can give, "usage" for a file that is there, "io".
 */
export async function exportOnnxAdapter(
  model: Model,
  { adapter: given, output, anyBase, onEvent, signal }: OnnxAdapterInput,
): Promise<{
  readonly file: string;
  readonly bytes: number;
  readonly inputs: Readonly<Record<string, readonly number[]>>;
}> {
  refuseThere([output]);
  const adapter = needed(await adapterOf(model, given, { anyBase, onEvent, signal }), "exportOnnxAdapter()");
  const tensors = await promptTensors(model.checkpoint, adapter);
  const bytes = adapterFile(tensors);
  writeFileAtomic(output, bytes);
  const inputs = Object.fromEntries(Object.entries(tensors).map(([name, { shape }]) => [name, shape]));
  return { file: output, bytes: bytes.length, inputs };
}

/** A prompt whose vectors are exported; no model is opened for it. */
export interface PromptInput extends CallContext<NoticeEvent> {
  /** What `tune` gave, the folder it was saved in, or a repository of the hub. */
  readonly adapter: Adapter | string;
  /** Folder that the files are written into. */
  readonly output: string;
  /** Use the hub's cache alone. Default $HF_HUB_OFFLINE. */
  readonly offline?: boolean | undefined;
}

/**
 * Writes the vectors of a prompt, for programs that cannot read adapters. @returns names of the files in `output`.
 * @throws SoftpromptError "adapter" where the adapter is more than vectors before a text; "usage" for files that are there; "network".
 */
export async function exportPrompt(
  format: "npy" | "raw",
  { adapter, output, offline, onEvent, signal }: PromptInput,
): Promise<readonly string[]> {
  const found = await givenAdapter({ offline }, adapter, { onEvent, signal });
  const files = promptFiles[format](needed(found, "exportPrompt()"));
  refuseThere(Object.keys(files).map((name) => join(output, name)));
  for (const [name, content] of Object.entries(files)) writeFileAtomic(join(output, name), content);
  return Object.keys(files);
}

/** A text to continue with a prompt, as a server's request. */
export interface RequestInput extends CallContext<NoticeEvent> {
  readonly adapter: Adapter | string;
  readonly prompt: string;
  /** Default 64. */
  readonly maxTokens?: number | undefined;
  /** Use the adapter though the base model is not the recorded one. Default false. */
  readonly anyBase?: boolean | undefined;
}

/**
 * The body of a request that carries the embeddings of prompt and text. The text is used unchanged, as in `generate`.
 * @throws SoftpromptError "adapter", "usage" for a model that is not decoder-only.
 */
export async function exportRequest(
  model: Model,
  format: "vllm" | "sglang",
  { adapter: given, prompt, maxTokens = 64, anyBase, onEvent, signal }: RequestInput,
): Promise<JsonObject> {
  const adapter = needed(await adapterOf(model, given, { anyBase, onEvent, signal }), "exportRequest()");
  const tokenizer = await tokenizerFor(model, adapter);
  const task: Task = {
    name: "exportRequest()",
    template: "{text}",
    verbalizer: null,
    metrics: ["exactMatch"],
    maxTargetTokens: Math.max(1, maxTokens),
    targetPrefix: "",
  };
  const row = {
    id: "prompt",
    input: prompt,
    fields: [{ name: "text", from: 0, to: prompt.length }],
    continues: true,
    target: "",
    label: null,
    references: [""],
  };
  const { positions } = rulesOf(tokenizer, {}).window ?? {};
  const [encoded] = encodeRows(task, [row], tokenizer, recordedInputTokens(adapter) ?? positions ?? 492);
  if (encoded!.truncated)
    throw new SoftpromptError("usage", "the text is longer than the prompt and the model's window leave room for", {
      where: "exportRequest(), prompt",
    });
  const ids = [...textIds(encoded!)];
  return requests[format]({ adapter, checkpoint: model.checkpoint, ids, maxTokens });
}

/** For callers without types: null is the frozen model alone, and these forms are of an adapter. */
function needed(adapter: Adapter | null, where: string): Adapter {
  checkAdapterValue(adapter, where);
  return adapter!;
}

async function adapterOf(
  model: Model,
  given: Adapter | string | null,
  { anyBase, ...context }: { readonly anyBase: boolean | undefined } & CallContext<NoticeEvent>,
): Promise<Adapter | null> {
  const adapter = await givenAdapter(model, given, context);
  if (adapter !== null) await checkBase(adapter, model.checkpoint, { anyBase, tokenizer: model.tokenizer });
  return adapter;
}
