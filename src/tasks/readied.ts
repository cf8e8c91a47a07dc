/**
 * @file A model's tokenizer as a prompt wants its rows: in the chat that it was tuned in, and with its virtual tokens counted. In: Model,
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

/** A chat's tokenizer costs a process; a program may ask for every input. */
const chats = new WeakMap<Tokenizer, Promise<Tokenizer>>();

/**
 * The tokenizer for an adapter's rows: whether they are messages of a chat says the adapter, as far as it records anything; else the model
 * as it was opened. @throws SoftpromptError "usage" where the model has no chat template.
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

/** What to say where a model was tuned for chats and is used without; null where nothing is to be said. */
export async function chatNotice(model: Pick<Model, "tokenizer" | "checkpoint">): Promise<string | null> {
  if (isChat(model) || (await chatTemplateOf(model.checkpoint)) === null) return null;
  return "this model has a chat template: with --chat (chat: true) texts are put to it as a user's message";
}
