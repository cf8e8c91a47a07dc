/**
 * @file A whole tiny decoder-only model as a folder: the tiny-causal-llama fixture, with a tokenizer of single characters and, where asked
 * for, a chat template and a smaller window. In: what shall be different. Out: the folder, in the system's temporary one.
 */
import { copyFileSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const fixture = (family: string) => fileURLToPath(new URL(`../fixtures/tiny-causal-${family}/`, import.meta.url));

/** Ids 0 to 2, then characters: 96 in all, as many as the fixture's embedding has rows. */
export const tinyPieces = [
  "<unk>",
  "<|start|>",
  "<|end|>",
  "\u0120", // a blank
  "\u010a", // a line break
  ..."abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,'\"!?-:;()/&$%*#@+=<|>[]{}_",
] as const;

/** ChatML, with the names of the tiny tokenizer. */
export const tinyChat =
  "{% for message in messages %}{{ '<|start|>' + message['role'] + '\\n' + message['content'] + '<|end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant\\n' }}{% endif %}";

export interface TinyCausal {
  /** Which fixture. Default llama. */
  readonly family?: string;
  /** Put over its config.json. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** `chat_template` of tokenizer_config.json. Default none. */
  readonly chat?: string | undefined;
  /** Put a BOS before every text. Default false. */
  readonly bos?: boolean;
  /** `eos_token_id` of generation_config.json; without it there is no such file. */
  readonly ends?: unknown;
}

export function tinyCausal({ family = "llama", config = {}, chat, bos = false, ends }: TinyCausal = {}): string {
  const folder = mkdtempSync(join(tmpdir(), `softprompt-tiny-${family}-`));
  const write = (name: string, json: unknown) => writeFileSync(join(folder, name), JSON.stringify(json));
  copyFileSync(join(fixture(family), "model.safetensors"), join(folder, "model.safetensors"));
  write("config.json", { ...JSON.parse(readFileSync(join(fixture(family), "config.json"), "utf8")), ...config });
  const special = { special: true, single_word: false, lstrip: false, rstrip: false, normalized: false };
  write("tokenizer.json", {
    version: "1.0",
    added_tokens: [0, 1, 2].map((id) => ({ id, content: tinyPieces[id], ...special })),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: bos
      ? {
          type: "TemplateProcessing",
          single: [{ SpecialToken: { id: "<|start|>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
          pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
          special_tokens: { "<|start|>": { id: "<|start|>", ids: [1], tokens: ["<|start|>"] } },
        }
      : null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(tinyPieces.map((piece, id) => [piece, id])),
      merges: [],
    },
  });
  write("tokenizer_config.json", {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: "<|start|>",
    eos_token: "<|end|>",
    unk_token: "<unk>",
    ...(chat === undefined ? {} : { chat_template: chat }),
  });
  if (ends !== undefined) write("generation_config.json", { eos_token_id: ends });
  return folder;
}
