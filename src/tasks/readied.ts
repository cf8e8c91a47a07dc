/**
 * @file A model's tokenizer with the encoding rules of a prompt: with the chat template if it was tuned with one, and with its virtual
 * tokens counted. In: Model,
 * Adapter. Out: Tokenizer.
 */
import type { Adapter } from "../adapter/types.js";
import { behindPrompt, chatTemplateOf, chatTokenizer, openTokenizer } from "../model/tokenizer.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { Model } from "./model.js";

/** A model for a prompt of so many virtual tokens. */
export function forPrompt<M extends Pick<Model, "tokenizer">>(model: M, virtualTokens: number): M {
  return { ...model, tokenizer: behindPrompt(model.tokenizer, virtualTokens) };
}

/** Whether rows are messages of a chat. */
export function isChat({ tokenizer }: Pick<Model, "tokenizer">): boolean {
  return tokenizer.rules?.chat !== undefined;
}

/** Cached, because a chat's tokenizer needs a child process and a program may ask for it with every input. */
const chats = new WeakMap<Tokenizer, Promise<Tokenizer>>();

/**
 * The tokenizer for an adapter's rows. The adapter's record decides whether they are messages of a chat; without a record the model's own
 * setting counts. @throws SoftpromptError "usage" where the model has no chat template.
 */
export async function tokenizerFor(
  model: Pick<Model, "tokenizer" | "checkpoint">,
  adapter: Pick<Adapter, "prompt" | "chat" | "task" | "training"> | null,
): Promise<Tokenizer> {
  if (adapter === null) return model.tokenizer;
  const opened = isChat(model);
  const recorded = adapter.task !== null || adapter.training !== null;
  const chat = recorded ? adapter.chat === true : opened;
  return behindPrompt(chat === opened ? model.tokenizer : await other(model, chat), adapter.prompt.shape[0]!);
}

function other({ checkpoint, tokenizer }: Pick<Model, "tokenizer" | "checkpoint">, chat: boolean): Promise<Tokenizer> {
  let made = chats.get(tokenizer);
  if (made === undefined) {
    made = chat ? chatTokenizer(checkpoint, tokenizer) : openTokenizer(checkpoint);
    chats.set(tokenizer, made);
    made.catch(() => chats.delete(tokenizer));
  }
  return made;
}

/** A notice if a model was tuned for chats but no chat template is used; null otherwise. */
export async function chatNotice(model: Pick<Model, "tokenizer" | "checkpoint">): Promise<string | null> {
  if (isChat(model) || (await chatTemplateOf(model.checkpoint)) === null) return null;
  return "this model has a chat template: with --chat (chat: true) texts are put to it as a user's message";
}
