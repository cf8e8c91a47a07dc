/**
 * @file The border to PEFT: the only file that knows its names. Checked with PEFT 0.21.0 (and read down to 0.4).
 *
 * In: adapter_config.json and adapter_model.safetensors as PEFT writes them for PROMPT_TUNING, or a prompt of ours.
 * Out: the other one. PEFT puts a prompt of `num_virtual_tokens` rows before the encoder's input; for SEQ_2_SEQ_LM it allots
 * `num_transformer_submodules` = 2 times as many rows by default, but neither `forward` nor `generate` ever reads the second
 * half (peft_model.py, PeftModelForSeq2SeqLM). So our files are written with 1, and in PEFT's files with 2 the first half is the prompt.
 * For
 * CAUSAL_LM the default is 1. A config names the kind of model, never its family.
 */
import { SoftpromptError } from "../base/errors.js";
import { isObject, type JsonObject, own, parseJson } from "../base/json.js";
import { shapeText, type Tensor } from "../base/tensor.js";
import type { Architecture } from "../model/architecture.js";
import { architectures } from "../model/architectures.js";
import { parseSafetensors, writeSafetensors } from "../model/safetensors.js";
import type { AdapterBase } from "./types.js";

export const peftFiles = {
  config: "adapter_config.json",
  weights: "adapter_model.safetensors",
  /** Older PEFT wrote a pickle under this name; it is never opened. */
  pickle: "adapter_model.bin",
  card: "README.md",
} as const;

/** Largest files read. A prompt of 1000 tokens of T5-XXL is 16 MB. */
export const peftLimits = { configBytes: 1 << 20, weightsBytes: 1 << 28, tokens: 1 << 16, width: 1 << 16 } as const;

const weightKey = "prompt_embeddings";

type TaskType = Architecture["taskType"];
const taskTypes: readonly TaskType[] = ["SEQ_2_SEQ_LM", "CAUSAL_LM"];

/** adapter_config.json of a prompt. Fields of `kept` that PEFT or somebody else put there stay as they were. */
export function peftConfig(prompt: Tensor, base: AdapterBase, kept: JsonObject): JsonObject {
  const [tokens, width] = prompt.shape;
  const fields: Record<string, unknown> = {
    auto_mapping: null,
    inference_mode: true,
    modules_to_save: null,
    peft_version: "0.21.0",
    prompt_tuning_init: "RANDOM",
    prompt_tuning_init_text: null,
    tokenizer_kwargs: null,
    tokenizer_name_or_path: null,
    ...kept,
    base_model_name_or_path: base.name,
    num_attention_heads: base.heads,
    num_layers: base.layers,
    num_transformer_submodules: 1,
    num_virtual_tokens: tokens,
    peft_type: "PROMPT_TUNING",
    revision: base.revision,
    task_type: taskTypeOf(base, kept),
    token_dim: width,
  };
  return Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** PEFT's name for the kind of model that an adapter belongs to: that of its family, else the one that its config had. */
export function taskTypeOf({ family }: AdapterBase, kept: JsonObject): TaskType | undefined {
  const recorded = own(kept, "task_type");
  return architectures.find(({ name }) => name === family)?.taskType ?? taskTypes.find((type) => type === recorded);
}

export function peftWeights(prompt: Tensor): Uint8Array {
  return writeSafetensors({ [weightKey]: { shape: prompt.shape, data: prompt.data } }, { format: "pt" });
}

/** What PEFT's config says, checked. */
export interface PeftConfig {
  readonly tokens: number;
  readonly width: number;
  /** Rows of the stored tensor per virtual token: 1, or 2 where PEFT allotted rows for the decoder. */
  readonly submodules: number;
  readonly base: AdapterBase;
  /** The whole file, for saving again. */
  readonly raw: JsonObject;
}

/** adapter_config.json as JSON, whatever it holds. */
export function peftJson(bytes: Uint8Array, where: string): unknown {
  const text = new TextDecoder().decode(bytes);
  return parseJson(text, where, "adapter", { length: peftLimits.configBytes, depth: 16, containers: 10_000 });
}

/**
 * Methods whose saved prompt is an ordinary one: P-tuning saves the prompt that its encoder computed. For multitask prompt tuning with one
 * task, the task's factor is multiplied in when the prompt is read.
 */
const promptTypes = ["PROMPT_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING"];

/** Reads adapter_config.json. @throws SoftpromptError "adapter" for anything but a prompt of a model that writes text. */
export function readPeftConfig(bytes: Uint8Array, where: string): PeftConfig {
  const raw = peftJson(bytes, where);
  const wrong = (problem: string, expected: string, got: unknown, hint?: string) =>
    new SoftpromptError("adapter", problem, { where, expected, got, hint });
  if (!isObject(raw)) throw wrong("adapter_config.json must hold one object", "an object", raw);
  const type = own(raw, "peft_type");
  if (typeof type !== "string" || !promptTypes.includes(type))
    throw wrong(
      "this adapter is of another method",
      `peft_type ${[...promptTypes, "LORA", "PREFIX_TUNING"].join(", ")}`,
      type,
    );
  const task = own(raw, "task_type");
  if (task !== "SEQ_2_SEQ_LM" && task !== "CAUSAL_LM")
    throw wrong("this adapter is for another kind of model", `task_type ${taskTypes.join(" or ")}`, task);
  const count = (key: string, most: number): number => {
    const value = own(raw, key);
    if (!Number.isSafeInteger(value) || (value as number) < 1 || (value as number) > most)
      throw wrong(`${key} is missing or out of range`, `a whole number from 1 to ${most}`, value);
    return value as number;
  };
  const countOr = (key: string, most: number, absent: number | null) =>
    (own(raw, key) ?? null) === null ? absent : count(key, most);
  const text_ = (key: string): string | null => {
    const value = own(raw, key) ?? null;
    if (value !== null && (typeof value !== "string" || value.length > 4096))
      throw wrong(`${key} must be a text or null`, "text or null", value);
    return value;
  };
  const width = count("token_dim", peftLimits.width);
  // null means "2 for an encoder-decoder, else 1" to PEFT itself
  const submodules = countOr("num_transformer_submodules", 2, task === "SEQ_2_SEQ_LM" ? 2 : 1)!;
  // PEFT trains the second part only for this method; for the others it allocates the rows and never reads them
  if (type === "MULTITASK_PROMPT_TUNING" && submodules === 2)
    throw wrong(
      "this multitask prompt also has a part before the decoder's tokens, which is not read",
      "num_transformer_submodules 1",
      own(raw, "num_transformer_submodules"),
    );
  return {
    tokens: count("num_virtual_tokens", peftLimits.tokens),
    width,
    submodules,
    base: {
      name: text_("base_model_name_or_path") ?? "",
      revision: text_("revision"),
      sha256: null,
      family: task === "SEQ_2_SEQ_LM" ? "t5" : null,
      width,
      layers: countOr("num_layers", 65_536, null),
      heads: countOr("num_attention_heads", 65_536, null),
    },
    raw,
  };
}

/** Reads the prompt out of adapter_model.safetensors; [P, D], every value finite. */
export function readPeftWeights(bytes: Uint8Array, config: PeftConfig, where: string): Tensor {
  const file = parseSafetensors(bytes, where, "adapter");
  const multitask = own(config.raw, "peft_type") === "MULTITASK_PROMPT_TUNING";
  const taken = [weightKey, ...(multitask ? taskKeys : [])];
  const others = [...file.entries.keys()].filter((name) => !taken.includes(name));
  if (others.length > 0)
    throw new SoftpromptError("adapter", "this adapter holds more than a soft prompt", {
      where,
      expected: `one tensor, ${weightKey}`,
      got: others.slice(0, 8),
      hint: "adapters that also train layers of the model (modules_to_save) are not read",
    });
  const stored = file.tensor(weightKey);
  const { tokens, width, submodules } = config;
  if (stored.shape.length !== 2 || stored.shape[0] !== tokens * submodules || stored.shape[1] !== width)
    throw new SoftpromptError("adapter", `${weightKey} does not fit its config`, {
      where,
      expected: `${shapeText("float32", [tokens * submodules, width])} (${tokens} virtual tokens × ${submodules}, token_dim ${width})`,
      got: shapeText("float32", stored.shape),
    });
  const data = stored.data.slice(0, tokens * width);
  if (multitask) multiplyTask(data, file, config, where);
  return { shape: [tokens, width], data };
}

const taskKeys = ["prefix_task_cols", "prefix_task_rows"] as const;

/** Multitask prompt tuning: the shared prompt times, elementwise, the task's columns [P, r] · rows [r, D]. */
function multiplyTask(
  data: Float32Array,
  file: ReturnType<typeof parseSafetensors>,
  { tokens, width, submodules }: PeftConfig,
  where: string,
): void {
  const [columns, rows] = taskKeys.map((key) => {
    if (!file.entries.has(key))
      throw new SoftpromptError("adapter", `${key} is missing`, {
        where,
        expected: taskKeys.join(", "),
        got: [...file.entries.keys()],
      });
    return file.tensor(key);
  }) as [Tensor, Tensor];
  const r = columns.shape[2] ?? 0;
  if (columns.shape.join() !== [1, tokens * submodules, r].join() || rows.shape.join() !== [1, r, width].join())
    throw new SoftpromptError("adapter", "only a multitask prompt of one task is read", {
      where,
      expected: `prefix_task_cols [1, ${tokens * submodules}, r] and prefix_task_rows [1, r, ${width}]`,
      got: [columns, rows].map(({ shape }) => `[${shape.join(", ")}]`),
      hint: "save the task's own prompt with PEFT first",
    });
  for (let i = 0; i < tokens; i++)
    for (let c = 0; c < width; c++) {
      let factor = 0;
      for (let k = 0; k < r; k++) factor += columns.data[i * r + k]! * rows.data[k * width + c]!;
      data[i * width + c]! *= factor;
    }
}
