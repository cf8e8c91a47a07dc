/**
 * @file A base model's tokenizer with the encoding rules of that model. In: a Checkpoint. Out: a Tokenizer with the family's rules.
 */
import { SoftpromptError } from "../base/errors.js";
import { chatRules } from "../text/chat-rules.js";
import { type ChatTemplate, findChatTemplate } from "../text/chat-template.js";
import { loadTokenizer, tokenizerFiles } from "../text/load.js";
import { type ContextWindow, causalRules, type EncodingRules } from "../text/rules.js";
import { limitedTo, type Tokenizer } from "../text/tokenizer.js";
import type { ModelConfig } from "./architecture.js";
import { architectureOf } from "./architectures.js";
import type { Checkpoint } from "./checkpoint.js";

type Base = Pick<Checkpoint, "folder" | "config">;

/** @throws SoftpromptError "checkpoint" where the folder has no tokenizer that can be read. */
export async function openTokenizer({ folder, config }: Base): Promise<Tokenizer> {
  const tokenizer = limitedTo(await loadTokenizer(folder), config.vocabulary);
  if (!decoderOnly(config)) return tokenizer;
  return { ...tokenizer, rules: windowed(causalRules(tokenizer, modelEnd(tokenizer, config)), config) };
}

/** The model's own chat template; null if it has none or cannot use one (T5). @throws SoftpromptError "checkpoint" for a bad one. */
export async function chatTemplateOf({ folder, config }: Base): Promise<ChatTemplate | null> {
  return decoderOnly(config) ? findChatTemplate(await tokenizerFiles(folder)) : null;
}

/** The same tokenizer with rows as messages of a chat. @throws SoftpromptError "usage" for a model that has no chat template. */
export async function chatTokenizer(base: Base, tokenizer: Tokenizer): Promise<Tokenizer> {
  const template = await chatTemplateOf(base);
  if (template === null)
    throw new SoftpromptError("usage", "this model has no chat template", {
      where: base.folder,
      expected: decoderOnly(base.config)
        ? "chat_template.jinja, or chat_template in tokenizer_config.json"
        : "a decoder-only model that was tuned for chats",
      hint: "use it without --chat",
    });
  return { ...tokenizer, rules: windowed(await chatRules(template, tokenizer), base.config) };
}

/** The same tokenizer for rows behind so many virtual tokens. */
export function behindPrompt(tokenizer: Tokenizer, prompt: number): Tokenizer {
  const { rules } = tokenizer;
  if (rules?.window === undefined) return tokenizer;
  const made = behind.get(tokenizer) ?? new Map<number, Tokenizer>();
  behind.set(tokenizer, made);
  const known = made.get(prompt) ?? { ...tokenizer, rules: { ...rules, window: { ...rules.window, prompt } } };
  made.set(prompt, known);
  return known;
}

/** Equal calls get the same object, because encoded rows are cached per tokenizer. */
const behind = new WeakMap<Tokenizer, Map<number, Tokenizer>>();

/** The model's own end token, where its tokenizer names none. */
function modelEnd({ eosIds }: Tokenizer, config: ModelConfig): { readonly targetEnd?: number } {
  const [targetEnd] = eosIds.length > 0 ? [] : architectureOf(config).stopIds(config);
  return targetEnd === undefined ? {} : { targetEnd };
}

function decoderOnly(config: ModelConfig): boolean {
  return architectureOf(config).taskType === "CAUSAL_LM";
}

function windowed(rules: EncodingRules, config: ModelConfig): EncodingRules {
  const { maxPositions, window } = config;
  // if one layer sees all positions, the whole row can be seen
  const closed = window?.layers.length === architectureOf(config).stacks(config).at(-1)!.layers;
  const limits: ContextWindow = {
    prompt: 0,
    ...(maxPositions === undefined ? {} : { positions: maxPositions }),
    ...(closed ? { sliding: window!.size } : {}),
  };
  return { ...rules, window: limits };
}
