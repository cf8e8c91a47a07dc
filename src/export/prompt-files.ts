/**
 * @file A tuned prompt for other programs: its vectors alone, or the body of a request to a server that takes embeddings.
 *
 * In: an Adapter; for requests also a text and the model's embedding. Out: files, or a JSON body. Only prompts before the text can be
 * exported this way: for LoRA, prefixes and prompts at other places the vectors alone would give other results.
 */
import { writeNpy } from "../adapter/npy.js";
import type { Adapter } from "../adapter/types.js";
import { SoftpromptError } from "../base/errors.js";
import { sha256 } from "../base/files.js";
import { floatBytes } from "../base/floats.js";
import { hubName } from "../base/hub-name.js";
import type { JsonObject } from "../base/json.js";
import type { Tensor } from "../base/tensor.js";
import { compileTemplate } from "../data/template.js";
import { applyMask } from "../method/mask.js";
import { architectureOf } from "../model/architectures.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { torchFile } from "./torch-file.js";

/** The vectors [P, D], pruned entries zero. @throws SoftpromptError "adapter" where they are not all that was tuned, or stand elsewhere. */
export function plainPrompt(adapter: Adapter): Tensor {
  const refuse = (problem: string, got: unknown, hint: string) =>
    new SoftpromptError("adapter", problem, { where: "adapter", expected: "a prompt before the text", got, hint });
  if (adapter.applied)
    throw refuse(
      "this adapter is more than vectors before a text",
      `method ${adapter.applied.method}`,
      "softprompt export onnx writes a model with it in; PEFT's own files lie in the adapter's folder where PEFT has the method",
    );
  const template = adapter.task?.template ?? "";
  if (compileTemplate(template).marked)
    throw refuse(
      "this prompt does not stand before the text, and who reads the file would put it there",
      template,
      "use it with softprompt predict",
    );
  return adapter.mask ? applyMask(adapter.prompt, adapter.mask) : adapter.prompt;
}

/** File name → content. */
export const promptFiles = {
  npy: (adapter) => ({ "prompt.npy": writeNpy(plainPrompt(adapter)) }),
  raw: (adapter) => {
    const prompt = plainPrompt(adapter);
    const bytes = floatBytes(prompt.data);
    const { base, task } = adapter;
    const description = {
      file: "prompt.f32",
      dtype: "float32",
      byteOrder: "little",
      shape: prompt.shape,
      sha256: sha256(bytes),
      base: { name: base.name, revision: base.revision, sha256: base.sha256 },
      template: task?.template ?? null,
    };
    return { "prompt.f32": bytes, "prompt.json": `${JSON.stringify(description, null, 2)}\n` };
  },
} satisfies Record<string, (adapter: Adapter) => Readonly<Record<string, string | Uint8Array>>>;

/** A request to a server, as JSON. */
export interface RequestSource {
  readonly adapter: Adapter;
  readonly checkpoint: Pick<Checkpoint, "config" | "readRows" | "name">;
  /** Ids of the whole text, BOS included. */
  readonly ids: readonly number[];
  readonly maxTokens: number;
}

/** Bodies of requests that carry embeddings in place of text. */
export const requests = {
  /** `POST /v1/completions` of `vllm serve --enable-prompt-embeds`. */
  vllm: async (source) => ({
    // what vllm calls a model of a hub without --served-model-name
    model: hubName(source.checkpoint.name)?.id ?? source.checkpoint.name,
    prompt_embeds: Buffer.from(torchFile(await wholePrompt(source))).toString("base64"),
    max_tokens: source.maxTokens,
    temperature: 0,
  }),
  /** `POST /generate` of SGLang, launched with `--disable-radix-cache`. */
  sglang: async (source) => {
    const { shape, data } = await wholePrompt(source);
    const width = shape[1]!;
    return {
      input_embeds: Array.from({ length: shape[0]! }, (_, i) => [...data.subarray(i * width, (i + 1) * width)]),
      sampling_params: { max_new_tokens: source.maxTokens, temperature: 0 },
    };
  },
} satisfies Record<string, (source: RequestSource) => Promise<JsonObject>>;

/** Virtual tokens and the text's embeddings [P + T, D]: such a request carries no ids. */
async function wholePrompt({ adapter, checkpoint, ids }: RequestSource): Promise<Tensor> {
  const architecture = architectureOf(checkpoint.config);
  if (architecture.taskType !== "CAUSAL_LM")
    throw new SoftpromptError("usage", "these servers take embeddings for decoder-only models alone", {
      where: checkpoint.name,
      expected: "a decoder-only model",
      got: checkpoint.config.family,
      hint: "softprompt export onnx writes a model for transformers.js; .npy holds the prompt alone",
    });
  const prompt = plainPrompt(adapter);
  const text = await checkpoint.readRows(architecture.embedding, ids);
  const data = new Float32Array(prompt.data.length + text.data.length);
  data.set(prompt.data);
  data.set(text.data, prompt.data.length);
  return { shape: [prompt.shape[0]! + ids.length, prompt.shape[1]!], data };
}
