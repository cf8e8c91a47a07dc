/**
 * @file A skill answers rows: an adapter, or the bare model, ready for the engine. In: nothing. Out: types.
 *
 * A row holds the loaded skill itself, never its name or number, so replacing or removing an adapter does not affect running rows.
 */
import type { Parameters } from "../base/tensor.js";
import type { PromptPlace } from "../data/template.js";
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
  /** Continues texts; null if its prompt stands inside a task's text. */
  readonly write: WritingSkill | null;
}

/** What is needed to continue a text. */
export interface WritingSkill {
  /** Rules for texts without changes. */
  readonly tokenizer: Tokenizer;
  readonly method: Method;
  /** null is the bare model. */
  readonly parameters: Parameters | null;
  /** Where the virtual tokens stand around a text. */
  readonly place: (text: string) => PromptPlace;
  readonly chat: ChatSkill | null;
}

/** Conversations. */
export interface ChatSkill {
  /** Encoding rules of a text that a template wrote: the only BOS is the template's own, and an answer ends where the template ends it. */
  readonly tokenizer: Tokenizer;
  write(messages: readonly ChatMessage[]): Promise<ChatText>;
}
