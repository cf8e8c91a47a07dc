/**
 * @file How rows are encoded for a chat model: the text around a user's message, and the token that ends an answer.
 *
 * In: a chat template, a tokenizer. Out: EncodingRules. The template is run once, with markers in place of the
 * message and the answer, and cut there: no user's text is ever run through it, so no text can pretend to be a part of the template. The
 * spans of field text stay marked (encode.ts), so it never becomes a control token.
 */
import { randomBytes } from "node:crypto";
import { SoftpromptError } from "../base/errors.js";
import { type ChatTemplate, renderChat } from "./chat-template.js";
import { causalRules, type EncodingRules } from "./rules.js";
import type { Tokenizer } from "./tokenizer.js";

/** White space that a template would take off. */
const edge = "\n \t";

/**
 * How rows are encoded in a chat: the only BOS is the template's own, and targets end where the template ends an answer.
 * @throws SoftpromptError "checkpoint" for a template that does not write a message and an answer once each.
 */
export async function chatRules(template: ChatTemplate, tokenizer: Tokenizer): Promise<EncodingRules> {
  const [said, answered] = [1, 2].map(() => `softprompt${randomBytes(12).toString("hex")}`) as [string, string];
  const asked = { role: "user", content: `${edge}${said}${edge}` } as const;
  const [open, closed] = (await renderChat(template, [
    { messages: [asked], addGenerationPrompt: true },
    { messages: [asked, { role: "assistant", content: answered }], addGenerationPrompt: false },
  ])) as [string, string];
  const trims = !open.includes(asked.content);
  const [before, after] = cutAt(open, trims ? said : asked.content, template);
  const [lead, end] = cutAt(closed, answered, template);
  // what stands between the header of an answer and the answer itself; "[/INST]" is followed by a blank
  const opened = lead.startsWith(before) ? lead.slice(before.length).replace(trims ? said : asked.content, "") : "";
  const between = opened.startsWith(after) ? opened.slice(after.length) : "";
  const [turnEnd] = tokenizer.encode(end);
  const isEnd = turnEnd !== undefined && tokenizer.controls.has(turnEnd);
  return {
    ...causalRules(tokenizer, {
      separator: /^\s*$/.test(between) ? between : "",
      ...(isEnd ? { targetEnd: turnEnd } : {}),
    }),
    before: [],
    chat: { before, after, trims },
  };
}

function cutAt(text: string, marker: string, { where }: ChatTemplate): [string, string] {
  const parts = text.split(marker);
  if (parts.length === 2) return parts as [string, string];
  throw new SoftpromptError("checkpoint", "the chat template cannot be used", {
    where,
    expected: "a template that writes each message once, as it is",
    got: `one that writes it ${parts.length - 1} times`,
    hint: "without --chat the model is used without it",
  });
}
