/**
 * @file A conversation as one text. In: a model's chat template, messages. Out: the text, and which stretches of it a user wrote.
 *
 * The template runs once for each order of roles, with markers in place of the messages (as in text/chat-rules.ts). No message is run
 * through it, so no message can pretend to be a part of the template. One process start serves many requests.
 */
import { randomBytes } from "node:crypto";
import { SoftpromptError } from "../base/errors.js";
import type { FieldSpan } from "../data/row.js";
import { type ChatTemplate, renderChat } from "../text/chat-template.js";
import type { ChatMessage } from "./protocol.js";

/** A conversation as text. */
export interface ChatText {
  readonly input: string;
  readonly fields: readonly FieldSpan[];
}

/** The texts that the template writes around the messages of one order of roles: one more than there are messages. */
interface Frame {
  readonly between: readonly string[];
  /** The template takes white space off this message's ends. */
  readonly trims: readonly boolean[];
}

/** White space that a template would remove. */
const edge = "\n \t";
/** Most orders of roles that are cached. */
const mostFrames = 256;

/** Formats conversations with a template. */
export function chatWriter(template: ChatTemplate): (messages: readonly ChatMessage[]) => Promise<ChatText> {
  const frames = new Map<string, Promise<Frame>>();
  return async (messages) => {
    const key = messages.map(({ role }) => role).join();
    let frame = frames.get(key);
    if (frame === undefined) {
      frame = frameOf(template, messages);
      if (frames.size >= mostFrames) frames.delete(frames.keys().next().value!);
      frames.set(key, frame);
      frame.catch(() => frames.delete(key));
    }
    const { between, trims } = await frame;
    let input = between[0]!;
    const fields = messages.map(({ content }, i) => {
      const from = input.length;
      input += trims[i] ? content.trim() : content;
      const to = input.length;
      input += between[i + 1]!;
      return { name: `messages[${i}]`, from, to };
    });
    return { input, fields };
  };
}

async function frameOf(template: ChatTemplate, messages: readonly ChatMessage[]): Promise<Frame> {
  const markers = messages.map(() => `softprompt${randomBytes(12).toString("hex")}`);
  const asked = messages.map(({ role }, i) => ({ role, content: `${edge}${markers[i]}${edge}` }));
  const [text] = (await renderChat(template, [{ messages: asked, addGenerationPrompt: true }])) as [string];
  let rest = text;
  const between: string[] = [];
  const trims: boolean[] = [];
  for (const [i, marker] of markers.entries()) {
    const whole = `${edge}${marker}${edge}`;
    const kept = rest.includes(whole);
    const [before, after, ...more] = rest.split(kept ? whole : marker);
    if (after === undefined || more.length > 0)
      throw new SoftpromptError("data", "the model's chat template cannot write these messages", {
        where: `messages[${i}]`,
        expected: "roles in an order that the template knows, each message written once",
        got: messages.map(({ role }) => role).join(", "),
      });
    between.push(before!);
    trims.push(!kept);
    rest = after;
  }
  return { between: [...between, rest], trims };
}
