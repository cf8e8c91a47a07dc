/**
 * @file What answers a row: an adapter, or the bare model, ready for the engine. In: nothing. Out: types.
 *
 * A row holds the loaded skill itself, never its name or number, so an adapter that is replaced or taken out while rows run changes none
 * of them.
 */
import type { Parameters } from "../base/tensor.js";
import type { Method } from "../method/method.js";
import type { Skill } from "../tasks/predictor.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { ChatText } from "./chat.js";
import type { ChatMessage, SkillFacts } from "./protocol.js";

/** An adapter, or the bare model, ready to answer. */
export interface LoadedSkill {
  readonly facts: SkillFacts;
  /** Answers rows of its task; null where none is known. */
  readonly predict: Skill | null;
  /** Writes on from texts; null where its prompt stands inside a task's text. */
  readonly write: WritingSkill | null;
}

/** What writing on from a text needs. */
export interface WritingSkill {
  /** Texts as they stand. */
  readonly tokenizer: Tokenizer;
  readonly method: Method;
  /** null is the bare model. */
  readonly parameters: Parameters | null;
  /** The virtual tokens stand behind the text. */
  readonly behind: boolean;
  readonly chat: ChatSkill | null;
}

/** Conversations. */
export interface ChatSkill {
  /** Of a text that a template wrote: no BOS but the template's own; an answer ends where the template ends it. */
  readonly tokenizer: Tokenizer;
  write(messages: readonly ChatMessage[]): Promise<ChatText>;
}
