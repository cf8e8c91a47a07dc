/** @file The families of models, listed by hand. In: config.json, or a config read from it. Out: its Architecture. */
import { SoftpromptError } from "../base/errors.js";
import { isObject, type JsonObject, own, parseJson } from "../base/json.js";
import type { Architecture, ModelConfig } from "./architecture.js";
import { causalArchitectures } from "./causal/causal.js";
import { t5 } from "./t5/t5.js";
import { parameterCount } from "./tensors.js";

export const architectures: readonly Architecture[] = [t5, ...causalArchitectures];

/** Characters and containers of a config.json, each well above any published one. */
export const configLimits = { length: 1_000_000, containers: 10_000 } as const;

/** 10¹² is ninety times T5-XXL. */
const maxParameters = 1e12;

/** The family that a config belongs to. */
export function architectureOf(config: ModelConfig): Architecture {
  const found = architectures.find((a) => a.name === config.family);
  if (found === undefined) throw new RangeError(`no architecture ${config.family}`);
  return found;
}

/**
 * Reads the text of a config.json. @param where the file's name, for errors. @param ends further ids that end a text
 * (`generation_config.json` knows some that config.json does not)
 * @throws SoftpromptError("checkpoint") for anything that is not a model this project can run, naming the families that it can.
 */
export function readConfig(text: string, where: string, ends: readonly number[] = []): ModelConfig {
  const raw = parseJson(text, where, "checkpoint", configLimits);
  if (!isObject(raw)) throw new SoftpromptError("checkpoint", "config.json must hold one object", { where, got: raw });
  // older exporters wrote the class alone
  const type = own(raw, "model_type") ?? classes.get(firstOf(own(raw, "architectures")));
  // ByT5's model is a T5; only the tokenizer's class tells it
  const tokenizer = own(raw, "tokenizer_class");
  const reason = notRun.get(typeof tokenizer === "string" && tokenizer.startsWith("ByT5") ? "byt5" : type);
  if (reason !== undefined)
    throw new SoftpromptError("checkpoint", reason, {
      where,
      expected: `model_type one of ${architectures.flatMap((a) => a.modelTypes).join(", ")}`,
      hint: "google/mt5-small and google/flan-t5-small know many languages too",
    });
  const found = architectures.find((a) => typeof type === "string" && a.modelTypes.includes(type));
  if (found === undefined)
    throw new SoftpromptError("checkpoint", "this model is not of a supported family", {
      where,
      expected: `model_type one of ${architectures.flatMap((a) => a.modelTypes).join(", ")}`,
      got: type,
      hint: "any T5, Llama, Mistral, Qwen 2 or 3, GPT-2 or Pythia: google/flan-t5-small, HuggingFaceTB/SmolLM2-135M, …",
    });
  const named = own(raw, "eos_token_id");
  // T5 has no second end token
  // an id that the model cannot write ends nothing
  const { known } = knownEnds(raw, ends);
  const all =
    known.length > 0 && found.taskType === "CAUSAL_LM"
      ? { eos_token_id: [...(Array.isArray(named) ? named : named == null ? [] : [named]), ...known] }
      : {};
  const config = found.readConfig({ ...raw, ...all, model_type: type }, where);
  const parameters = parameterCount(found.tensors(config));
  if (parameters > maxParameters)
    throw new SoftpromptError("checkpoint", "this model is absurdly large", {
      where,
      expected: `at most ${maxParameters} parameters`,
      got: parameters,
    });
  return config;
}

/**
 * Fields of a config.json by which other families compute otherwise, and the value that changes nothing. No family here reads them, as
 * transformers does not under these model types; a model that was given another type by hand needs them.
 */
const arithmetic: Readonly<Record<string, unknown>> = {
  final_logit_softcapping: 0,
  attn_logit_softcapping: 0,
  query_pre_attn_scalar: null,
  logits_scaling: 1,
  logit_scale: 1,
  attention_multiplier: null,
  residual_multiplier: 1,
  embedding_multiplier: 1,
  clip_qkv: 0,
};

/** Ends that the vocabulary of a config.json has, and those that it does not have. */
function knownEnds(raw: JsonObject, ends: readonly number[]) {
  const size = own(raw, "vocab_size");
  const known = (id: number) => typeof size !== "number" || id < size;
  return { size, known: ends.filter(known), strange: ends.filter((id) => !known(id)) };
}

/**
 * What a config.json says and this program does not follow: fields by which other families compute, and ends of a `generation_config.json`
 * that the vocabulary does not have. @param text JSON of an object
 */
export function configWarnings(text: string, ends: readonly number[]): string[] {
  const raw: unknown = JSON.parse(text);
  if (!isObject(raw)) return [];
  const found = Object.entries(arithmetic).flatMap(([name, neutral]) => {
    const value = own(raw, name) ?? null;
    return value === null || value === neutral ? [] : [`${name} ${JSON.stringify(value)}`];
  });
  const { size, strange } = knownEnds(raw, ends);
  return [
    ...(found.length > 0
      ? [
          `config.json has fields that models of its type do not read: ${found.join(", ")}; if the model needs them, its answers are wrong`,
        ]
      : []),
    ...(strange.length > 0
      ? [`generation_config.json ends texts at ids that the vocabulary of ${size} does not have: ${strange.join(", ")}`]
      : []),
  ];
}

/** The ids that a `generation_config.json` ends texts with. @throws SoftpromptError("checkpoint") where it is no such file. */
export function readGenerationEnds(text: string, where: string): number[] {
  const raw = parseJson(text, where, "checkpoint", configLimits);
  if (!isObject(raw))
    throw new SoftpromptError("checkpoint", "generation_config.json must hold one object", { where, got: raw });
  const given = own(raw, "eos_token_id") ?? [];
  const ids: readonly unknown[] = Array.isArray(given) ? given : [given];
  if (ids.length > 64 || !ids.every((id) => Number.isInteger(id) && (id as number) >= 0))
    throw new SoftpromptError("checkpoint", "eos_token_id is out of range", {
      where,
      expected: "an id, or a list of at most 64",
      got: given,
    });
  return ids as number[];
}

/** A class of `architectures` → its model_type. */
const classes = new Map<unknown, string>([
  ["T5ForConditionalGeneration", "t5"],
  ["T5WithLMHeadModel", "t5"],
  ["MT5ForConditionalGeneration", "mt5"],
  ["LlamaForCausalLM", "llama"],
  ["MistralForCausalLM", "mistral"],
  ["Qwen2ForCausalLM", "qwen2"],
  ["Qwen3ForCausalLM", "qwen3"],
  ["GPT2LMHeadModel", "gpt2"],
  ["GPTNeoXForCausalLM", "gpt_neox"],
]);

/** Families that resemble a supported one, with the reason why they are not supported. */
const notRun = new Map<unknown, string>([
  [
    "umt5",
    "umT5 is not supported: each of its layers has a position bias of its own, where T5 shares the first layer's",
  ],
  ["byt5", "ByT5 is not supported: it reads bytes instead of pieces, and has no tokenizer file"],
]);

function firstOf(value: unknown): unknown {
  return Array.isArray(value) ? (value as unknown[])[0] : undefined;
}
