/**
 * @file A conversation as one text. In: a model's chat template, messages. Out: the text, and which stretches of it a user wrote.
 *
 * The template runs once for each order of roles, with markers in place of the messages (as in text/chat-rules.ts). No message is run
 * through it, so no message can pretend to be a part of the template. One process start serves many requests, and few run at a time: a
 * process costs more than an answer.
 */
import { randomBytes } from "node:crypto";
import { SoftpromptError } from "../base/errors.js";
import type { FieldSpan } from "../data/row.js";
import { type ChatTemplate, type Conversation, type Rendered, renderEach } from "../text/chat-template.js";
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
/** Most processes at a time, and conversations that one of them renders. */
const mostProcesses = 2;
const mostTogether = 8;

/** Renders conversations in a process of its own. */
export type Render = (template: ChatTemplate, conversations: readonly Conversation[]) => Promise<readonly Rendered[]>;

/**
 * Formats conversations with a template. What it gives throws SoftpromptError "data" for roles that the template refuses; for a process that
 * fails, what that fails with, without the names of this machine's files.
 */
export function chatWriter(
  template: ChatTemplate,
  render: Render = renderEach,
): (messages: readonly ChatMessage[]) => Promise<ChatText> {
  const frames = new Map<string, Promise<Frame>>();
  const rendered = inTurns((conversations) => render(template, conversations));
  return async (messages) => {
    const key = messages.map(({ role }) => role).join();
    let frame = frames.get(key);
    if (frame === undefined) {
      frame = frameOf(rendered, messages);
      if (frames.size >= mostFrames) frames.delete(frames.keys().next().value!);
      frames.set(key, frame);
      // that the template refuses this order is known from now on; a process that failed may not fail again
      frame.catch((error) => {
        if (!(error instanceof SoftpromptError && error.kind === "data")) frames.delete(key);
      });
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

/** A conversation that waits for its text. */
interface WaitingChat {
  readonly conversation: Conversation;
  resolve(rendered: Rendered): void;
  reject(error: unknown): void;
}

/** Renders at most `mostProcesses` lists at a time; what comes meanwhile waits, and goes together. */
function inTurns(
  render: (conversations: readonly Conversation[]) => Promise<readonly Rendered[]>,
): (conversation: Conversation) => Promise<Rendered> {
  const waiting: WaitingChat[] = [];
  let running = 0;
  const together = async (some: readonly WaitingChat[]): Promise<void> => {
    try {
      const rendered = await render(some.map(({ conversation }) => conversation));
      for (const [i, { resolve }] of some.entries()) resolve(rendered[i]!);
    } catch (error) {
      if (some.length === 1) return some[0]!.reject(withoutPath(error));
      // one that does not end, or takes all memory, fails for all of its process
      for (const one of some) await together([one]);
    }
  };
  const start = () => {
    while (running < mostProcesses && waiting.length > 0) {
      running++;
      void together(waiting.splice(0, mostTogether)).then(() => {
        running--;
        start();
      });
    }
  };
  return (conversation) =>
    new Promise((resolve, reject) => {
      waiting.push({ conversation, resolve, reject });
      start();
    });
}

/** Clients get the error, and the names of the server's files are none of their business. */
function withoutPath(error: unknown): unknown {
  if (!(error instanceof SoftpromptError)) return error;
  const { got } = error.parts;
  return new SoftpromptError(error.kind, error.problem, { where: "the model's chat template", got, cause: error });
}

async function frameOf(
  rendered: (conversation: Conversation) => Promise<Rendered>,
  messages: readonly ChatMessage[],
): Promise<Frame> {
  const markers = messages.map(() => `softprompt${randomBytes(12).toString("hex")}`);
  const asked = messages.map(({ role }, i) => ({ role, content: `${edge}${markers[i]}${edge}` }));
  const written = await rendered({ messages: asked, addGenerationPrompt: true });
  if ("refused" in written)
    throw new SoftpromptError("data", "the model's chat template refuses these messages", {
      where: "messages",
      got: written.refused,
    });
  let rest = written.text;
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
