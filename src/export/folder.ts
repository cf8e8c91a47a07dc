/**
 * @file The files beside an exported model: those from which transformers.js learns the model, its tokenizer and its generation settings.
 *
 * In: a base model's folder, what the prompt adds. Out: config.json, generation_config.json, tokenizer files. Fields that transformers.js
 * needs and Python has defaults for are written out; fields that would change the input or the choice of tokens unasked are left out.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { readWhole } from "../base/files.js";
import { isObject, type JsonObject, own, parseJson } from "../base/json.js";
import type { Task } from "../data/row.js";
import { architectureOf, configLimits } from "../model/architectures.js";
import type { Checkpoint } from "../model/checkpoint.js";
import type { Tokenizer } from "../text/tokenizer.js";

/** Files that are copied as they are, where the base model has them. */
const copied = ["tokenizer.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json"] as const;
const mostBytes = 1 << 28;

/** Fields of config.json that would make transformers.js use other inputs, or choose other tokens than the likeliest. */
const choosers =
  /^(prefix|task_specific_params|do_sample|temperature|top_[kp]|num_beams|num_beam_groups|repetition_penalty|no_repeat_ngram_size|(min|max)_(length|new_tokens)|length_penalty|early_stopping|(forced|suppress|begin_suppress|bad)_.*|exponential_decay_length_penalty|guidance_scale)$/;

export interface FolderSource {
  readonly checkpoint: Pick<Checkpoint, "folder" | "config" | "name">;
  readonly tokenizer: Tokenizer;
  readonly task: Task | null;
  /** Positions that virtual tokens and prefixes take of the model's window. */
  readonly before: number;
  /** Model files and how many files of weights lie beside each. */
  readonly beside: Readonly<Record<string, number>>;
  readonly dtype: string;
}

/** Texts and bytes by the name of the file. @throws SoftpromptError "checkpoint" where transformers.js could not read the tokenizer. */
export function folderFiles(source: FolderSource): Readonly<Record<string, string | Uint8Array>> {
  const { folder } = source.checkpoint;
  const read = (name: string) =>
    existsSync(join(folder, name)) ? readWhole(join(folder, name), "checkpoint", mostBytes) : null;
  const files: Record<string, string | Uint8Array> = {};
  for (const name of copied) {
    const bytes = read(name);
    if (bytes !== null) files[name] = bytes;
  }
  if (files["tokenizer.json"] === undefined)
    throw new SoftpromptError(
      "checkpoint",
      "the base model has no tokenizer.json, and transformers.js reads no other form",
      {
        where: folder,
        expected: "tokenizer.json",
        hint: "write one with Python: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)",
      },
    );
  const object = (name: string): JsonObject => {
    const bytes = read(name);
    if (bytes === null) return {};
    const json = parseJson(bytes.toString("utf8"), join(folder, name), "checkpoint", {
      ...configLimits,
      length: 1 << 22,
    });
    return isObject(json) ? json : {};
  };
  const write = (name: string, json: JsonObject) => {
    files[name] = `${JSON.stringify(json, null, 2)}\n`;
  };
  write("config.json", configOf(object("config.json"), source));
  write("generation_config.json", generationOf(source));
  write("tokenizer_config.json", tokenizerOf(object("tokenizer_config.json"), source));
  return files;
}

function configOf(raw: JsonObject, { checkpoint: { config }, before, beside, dtype }: FolderSource): JsonObject {
  const kept = Object.fromEntries(Object.entries(raw).filter(([key]) => !choosers.test(key) && key !== "torch_dtype"));
  const architecture = architectureOf(config);
  const { heads: keyHeads, headWidth } = architecture.keys(config);
  const stacks = architecture.stacks(config);
  const layers = stacks.at(-1)!.layers;
  const external = Object.fromEntries(Object.entries(beside).filter(([, files]) => files > 0));
  const shape =
    architecture.taskType === "SEQ_2_SEQ_LM"
      ? {
          is_encoder_decoder: true,
          num_layers: stacks[0].layers,
          num_decoder_layers: layers,
          num_heads: config.heads,
          d_kv: config.headWidth,
          decoder_start_token_id: architecture.startId(config),
        }
      : {
          ...(config.family === "gpt2" ? { n_layer: layers, n_head: config.heads, n_embd: config.width } : {}),
          num_hidden_layers: layers,
          num_attention_heads: config.heads,
          num_key_value_heads: keyHeads,
          hidden_size: config.width,
          head_dim: headWidth,
        };
  return {
    ...kept,
    ...shape,
    model_type: own(raw, "model_type") ?? config.family,
    dtype: "float32",
    eos_token_id: oneOrMore(architecture.stopIds(config)),
    pad_token_id: config.padId,
    // transformers.js stops there, and counts the text alone
    ...(config.maxPositions === undefined ? {} : { max_position_embeddings: config.maxPositions - before }),
    "transformers.js_config": {
      dtype,
      ...(Object.keys(external).length > 0 ? { use_external_data_format: external } : {}),
    },
  };
}

function generationOf({ checkpoint: { config }, task, tokenizer }: FolderSource): JsonObject {
  const architecture = architectureOf(config);
  const start = architecture.startId(config);
  const ends = new Set([...architecture.stopIds(config), ...tokenizer.eosIds]);
  if (tokenizer.rules) ends.add(tokenizer.rules.targetEnd);
  return {
    ...(start === undefined ? {} : { decoder_start_token_id: start }),
    do_sample: false,
    eos_token_id: oneOrMore([...ends]),
    // bare generate() would stop at 20 tokens in all
    max_new_tokens: task?.maxTargetTokens ?? 256,
    pad_token_id: config.padId,
  };
}

function tokenizerOf(raw: JsonObject, { checkpoint: { config }, tokenizer, before }: FolderSource): JsonObject {
  const causal = architectureOf(config).taskType === "CAUSAL_LM";
  if (!causal) return raw;
  const length = own(raw, "model_max_length");
  const window = config.maxPositions === undefined ? undefined : config.maxPositions - before;
  const most = Math.min(
    window ?? Number.POSITIVE_INFINITY,
    typeof length === "number" ? length : Number.POSITIVE_INFINITY,
  );
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    ...raw,
    // text-generation puts a BOS before a text only where this says so
    add_bos_token: (tokenizer.rules?.before ?? tokenizer.frame.before).length > 0,
    add_eos_token: false,
    ...(Number.isFinite(most) ? { model_max_length: most } : {}),
    ...(own(raw, "pad_token") == null ? { pad_token: padPiece(tokenizer, config.padId) } : {}),
  };
}

/** A batch needs a padding token. Rows never read it, so a model without one uses its end token. */
function padPiece(tokenizer: Tokenizer, padId: number): string {
  return tokenizer.piece(padId) || tokenizer.piece(tokenizer.rules?.targetEnd ?? tokenizer.eosIds[0] ?? 0);
}

const oneOrMore = (ids: readonly number[]) => (ids.length === 1 ? ids[0]! : [...ids]);
