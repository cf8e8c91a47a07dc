/**
 * @file PEFT's forms of LORA and PREFIX_TUNING, both ways. Checked with PEFT 0.21.2 and transformers 5.24.
 *
 * LoRA: tensors `base_model.model.LAYER.lora_A.weight` [r, in] and `.lora_B.weight` [out, r], scaled by alpha/r.
 *
 * Prefix: one tensor `prompt_embeddings` [N, L·2·G·K], per layer keys then values, with G the key heads: for grouped heads PEFT writes
 * num_attention_heads = G and token_dim = G·K. For an encoder-decoder PEFT gives the prefix to the decoder's self attention alone (it empties
 * the cross attention's cache), and it lays the L pairs out twice and takes four tensors per layer, of which it uses the first two: layer l
 * has the pair (2l mod L). So if the number of layers is even, half of the pairs are never read, and layers l and l + L/2 share one pair. A
 * prefix of ours in which those layers differ has no form in PEFT.
 */
import { SoftpromptError } from "../base/errors.js";
import { isObject, type JsonObject, own } from "../base/json.js";
import type { Parameters, Tensor } from "../base/tensor.js";
import { shapeText } from "../base/tensor.js";
import { parseSafetensors, writeSafetensors } from "../model/safetensors.js";
import type { AdapterBase, Applied } from "./types.js";

const root = "base_model.model.";
const prefixKey = "prompt_embeddings";
const prefixName = "decoder.self.prefix";

/** PEFT's two files of an adapter. */
export interface PeftForm {
  readonly config: JsonObject;
  readonly weights: Uint8Array;
}

/** PEFT's two files of an applied method, or, where PEFT has no form for it, why: a clause for people. */
export function peftApplied(
  { method, settings, parameters, model }: Applied,
  base: AdapterBase,
  kept: JsonObject,
): PeftForm | string {
  const common = {
    auto_mapping: null,
    base_model_name_or_path: base.name,
    inference_mode: true,
    peft_version: "0.21.0",
    revision: base.revision,
    task_type: model.taskType,
  };
  const sorted = (fields: JsonObject) =>
    Object.fromEntries(Object.entries({ ...kept, ...fields }).sort(([a], [b]) => (a < b ? -1 : 1)));
  if (method === "lora") {
    const names = [...new Set(Object.keys(parameters).map((name) => name.slice(0, -2)))];
    const rank = parameters[`${names[0]}.A`]!.shape[0]!;
    const tensors: Record<string, Tensor> = {};
    for (const name of names) {
      tensors[`${root}${name}.lora_A.weight`] = parameters[`${name}.A`]!;
      tensors[`${root}${name}.lora_B.weight`] = parameters[`${name}.B`]!;
    }
    const config = sorted({
      ...common,
      bias: "none",
      fan_in_fan_out: model.transposed,
      init_lora_weights: true,
      lora_alpha: own(settings, "loraAlpha") ?? 16,
      lora_dropout: 0,
      modules_to_save: null,
      peft_type: "LORA",
      r: rank,
      target_modules: names,
      use_dora: false,
      use_rslora: false,
    });
    return { config, weights: writeSafetensors(tensors, { format: "pt" }) };
  }
  if (method === "prefix") {
    const prefix = parameters[prefixName];
    const { layers: L, keyHeads: G, headWidth: K } = model;
    const others = Object.keys(parameters).filter((name) => name !== prefixName);
    if (prefix === undefined || others.length > 0)
      return `it gives a prefix to the decoder's self attention alone, and this one is in ${others.map(attentionOf).join(" and ")}`;
    if (L === null || G === null || K === null)
      return "it asks for the model's layers and heads, which are not recorded";
    const laid = model.taskType === "CAUSAL_LM" ? prefix : toEncoderDecoder(prefix, L);
    if (laid === null)
      return `it gives one prefix to layers l and l + ${L / 2} of an encoder-decoder, and here they have two`;
    const config = sorted({
      ...common,
      encoder_hidden_size: G * K,
      num_attention_heads: G,
      num_layers: L,
      num_transformer_submodules: model.taskType === "CAUSAL_LM" ? 1 : 2,
      num_virtual_tokens: prefix.shape[0]!,
      peft_type: "PREFIX_TUNING",
      prefix_projection: false,
      token_dim: G * K,
    });
    return { config, weights: writeSafetensors({ [prefixKey]: laid }, { format: "pt" }) };
  }
  if (method === "prompt") return "it puts every prompt before the first block, and this one enters before a later one";
  return `it has no such method as ${method}`;
}

/** "encoder.self.prefix" → "encoder.self" */
const attentionOf = (parameter: string) => parameter.replace(/\.prefix$/, "");

/** Whether an adapter_config.json is of a method that this file reads. */
export function isPeftApplied(raw: unknown): raw is JsonObject {
  return isObject(raw) && (own(raw, "peft_type") === "LORA" || own(raw, "peft_type") === "PREFIX_TUNING");
}

/** Reads PEFT's files. @throws SoftpromptError "adapter" for variants that compute something else. */
export function readPeftApplied(
  raw: JsonObject,
  weights: Uint8Array,
  at: { readonly config: string; readonly weights: string },
): { readonly applied: Applied; readonly base: AdapterBase } {
  refuseUnknown(raw, at.config);
  const field = fields(raw, at.config);
  const taskType = field.choice("task_type", ["SEQ_2_SEQ_LM", "CAUSAL_LM"] as const);
  const base: AdapterBase = {
    name: field.text("base_model_name_or_path") ?? "",
    revision: field.text("revision"),
    sha256: null,
    family: taskType === "SEQ_2_SEQ_LM" ? "t5" : null,
    width: null,
    layers: null,
    heads: null,
  };
  const file = parseSafetensors(weights, at.weights, "adapter");
  const model = {
    taskType,
    layers: null,
    keyHeads: null,
    headWidth: null,
    transposed: own(raw, "fan_in_fan_out") === true,
  };
  if (own(raw, "peft_type") === "LORA") {
    const { parameters, rank } = readLora(file, field, at.weights);
    const alpha = field.number("lora_alpha");
    // rank-stabilised LoRA divides by √r
    const loraAlpha = own(raw, "use_rslora") === true ? alpha * Math.sqrt(rank) : alpha;
    const loraTargets = [...new Set(Object.keys(parameters).map((name) => name.slice(0, -2)))];
    return {
      base,
      applied: { method: "lora", settings: { loraRank: rank, loraAlpha, loraTargets }, parameters, model },
    };
  }
  const [N, L, G, width] = (["num_virtual_tokens", "num_layers", "num_attention_heads", "token_dim"] as const).map(
    (key) => field.count(key),
  ) as [number, number, number, number];
  onlyTensors(file, [prefixKey], at.weights);
  const stored = file.tensor(prefixKey);
  const expected = [N, L * 2 * width];
  if (stored.shape.join() !== expected.join())
    throw new SoftpromptError("adapter", `${prefixKey} does not fit its config`, {
      where: at.weights,
      expected: shapeText("float32", expected),
      got: shapeText("float32", stored.shape),
    });
  const prefix = taskType === "CAUSAL_LM" ? stored : fromEncoderDecoder(stored, L);
  return {
    base,
    applied: {
      method: "prefix",
      settings: { virtualTokens: N, prefixAttentions: ["decoder.self"], prefixHidden: 0 },
      parameters: { [prefixName]: prefix },
      model: { ...model, layers: L, keyHeads: G, headWidth: width / G },
    },
  };
}

/**
 * Further fields that do not change what is computed from the saved tensors: where the adapter came from, how its tensors were initialised,
 * which parts of the model were asked for (the tensors' names show the actual parts).
 */
const idle = new Set([
  ...[
    "auto_mapping",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "peft_version",
    "task_type",
    "peft_type",
  ],
  ...["target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out", "megatron_core"],
  ...["init_lora_weights", "lora_dropout", "loftq_config", "eva_config", "corda_config", "lora_ga_config"],
  ...["r", "lora_alpha", "bias", "use_rslora", "qalora_group_size", "runtime_config"],
  ...["num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers"],
  // a projected prefix is saved as the keys and values that it gives
  ...["encoder_hidden_size", "prefix_projection", "init_weights"],
]);

/**
 * Newer PEFT has more fields. A field that is off has no effect. Any other unknown field might change what is computed, so it is refused.
 */
function refuseUnknown(raw: JsonObject, where: string): void {
  const field = fields(raw, where);
  for (const key of Object.keys(raw)) if (!idle.has(key)) field.absent(key, variants[key] ?? "a setting");
}

/** The feature that a field turns on, for the error message. */
const variants: Readonly<Record<string, string>> = {
  use_dora: "DoRA",
  lora_bias: "biases of the factors",
  modules_to_save: "whole layers beside the factors",
  rank_pattern: "ranks that differ by layer",
  alpha_pattern: "scales that differ by layer",
  layer_replication: "repeated layers",
  trainable_token_indices: "trained token embeddings",
};

type File = ReturnType<typeof parseSafetensors>;

function readLora(
  file: File,
  field: ReturnType<typeof fields>,
  where: string,
): { parameters: Parameters; rank: number } {
  field.choice("bias", ["none"], "none");
  const rank = field.count("r");
  const parameters: Record<string, Tensor> = {};
  for (const name of file.entries.keys()) {
    const found = /^base_model\.model\.(.{1,500})\.lora_([AB])\.weight$/.exec(name);
    if (found === null)
      throw new SoftpromptError("adapter", "this adapter holds more than LoRA's factors", {
        where,
        expected: `${root}LAYER.lora_A.weight and lora_B.weight`,
        got: name,
      });
    const tensor = file.tensor(name);
    const axis = found[2] === "A" ? 0 : 1;
    if (tensor.shape.length !== 2 || tensor.shape[axis] !== rank)
      throw new SoftpromptError("adapter", `${name} does not have the recorded rank`, {
        where,
        expected: axis === 0 ? `[${rank}, in]` : `[out, ${rank}]`,
        got: shapeText("float32", tensor.shape),
      });
    parameters[`${found[1]}.${found[2]}`] = tensor;
  }
  const names = Object.keys(parameters);
  const alone = names.find((name) => !Object.hasOwn(parameters, name.slice(0, -1) + (name.endsWith("A") ? "B" : "A")));
  if (alone !== undefined || names.length === 0)
    throw new SoftpromptError("adapter", "a pair of factors is not complete", {
      where,
      expected: "lora_A and lora_B of every layer",
      got: alone === undefined ? "no tensors" : `${alone} alone`,
    });
  return { parameters, rank };
}

/** Layer l takes PEFT's pair (2l mod L). */
function fromEncoderDecoder({ shape, data }: Tensor, L: number): Tensor {
  const [N, W] = shape as [number, number];
  const pair = W / L;
  const out = new Float32Array(data.length);
  for (let n = 0; n < N; n++)
    for (let l = 0; l < L; l++) {
      const from = n * W + ((2 * l) % L) * pair;
      out.set(data.subarray(from, from + pair), n * W + l * pair);
    }
  return { shape, data: out };
}

/** The inverse; null if two layers that share a pair have different values. Pairs that PEFT never reads are zeros. */
function toEncoderDecoder(prefix: Tensor, L: number): Tensor | null {
  const { shape, data } = prefix;
  const [N, W] = shape as [number, number];
  const pair = W / L;
  const out = new Float32Array(data.length);
  for (let n = 0; n < N; n++)
    for (let l = 0; l < L; l++)
      out.set(data.subarray(n * W + l * pair, n * W + (l + 1) * pair), n * W + ((2 * l) % L) * pair);
  const laid = { shape, data: out };
  return fromEncoderDecoder(laid, L).data.every((v, i) => v === data[i]) ? laid : null;
}

function onlyTensors(file: File, names: readonly string[], where: string): void {
  const others = [...file.entries.keys()].filter((name) => !names.includes(name));
  if (others.length > 0 || names.some((name) => !file.entries.has(name)))
    throw new SoftpromptError("adapter", "the tensors are not those of this method", {
      where,
      expected: names.join(", "),
      got: [...file.entries.keys()].slice(0, 8),
    });
}

/** Checked access to PEFT's config. */
function fields(raw: JsonObject, where: string) {
  const wrong = (key: string, expected: string) =>
    new SoftpromptError("adapter", `${key} is missing or cannot be used`, { where, expected, got: own(raw, key) });
  return {
    count(key: string): number {
      const value = own(raw, key);
      if (!Number.isSafeInteger(value) || (value as number) < 1 || (value as number) > 65_536)
        throw wrong(key, "a whole number from 1 to 65536");
      return value as number;
    },
    number(key: string): number {
      const value = own(raw, key);
      if (typeof value !== "number" || !Number.isFinite(value) || value < 0) throw wrong(key, "a number of 0 or more");
      return value;
    },
    text(key: string): string | null {
      const value = own(raw, key) ?? null;
      if (value !== null && (typeof value !== "string" || value.length > 4096)) throw wrong(key, "text or null");
      return value as string | null;
    },
    choice<const T extends string>(key: string, values: readonly T[], absent?: T): T {
      const value = own(raw, key) ?? absent;
      if (!values.includes(value as T)) throw wrong(key, values.join(" or "));
      return value as T;
    },
    /** Refuses a variant by the field that turns it on. */
    absent(key: string, what: string): void {
      const value = own(raw, key) ?? null;
      const empty =
        value === null ||
        value === false ||
        value === "" ||
        (typeof value === "object" && Object.keys(value).length === 0);
      if (!empty)
        throw new SoftpromptError("adapter", `this adapter has ${what}, which is not read`, {
          where: `${where}: ${key}`,
          expected: "absent",
          got: value,
        });
    },
  };
}
