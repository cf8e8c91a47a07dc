/**
 * @file Runs a chat template safely: in a child process with a memory limit and a deadline.
 *
 * In: a Jinja template from a model's folder, conversations. Out: their texts. The template is an untrusted program and the
 * library sets no limit to its work: 40 characters of it may take all memory. The result is what transformers renders (`trim_blocks`,
 * `lstrip_blocks`, `raise_exception`). Known differences of the library: text written in a loop iteration before `break` is lost, and
 * `strip` removes all white space whatever its argument.
 */
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { SoftpromptError } from "../base/errors.js";
import { isObject, own, parseJson } from "../base/json.js";
import { readRoles, type TokenizerFiles } from "./tokenizer-config.js";

/** Characters of a template and of what it writes; Llama 3.3's has 4,000. Seconds are for loaded machines. */
export const chatLimits = { template: 200_000, text: 1_000_000, heapMb: 128, seconds: 30 } as const;

/** A template with the special tokens that it may name. */
export interface ChatTemplate {
  readonly text: string;
  /** The file that it came from. */
  readonly where: string;
  readonly tokens: Readonly<Record<string, string>>;
}

export interface Conversation {
  readonly messages: readonly { readonly role: "system" | "user" | "assistant"; readonly content: string }[];
  readonly addGenerationPrompt: boolean;
}

/** What a template writes for a conversation, or why it writes nothing: the words of its own raise_exception, or of the library. */
export type Rendered = { readonly text: string } | { readonly refused: string };

/**
 * The template of a model's folder: `chat_template.jinja`, else what tokenizer_config.json holds (of several the one named "default").
 * Null where there is none. @throws SoftpromptError "checkpoint" where it is no text or too long.
 */
export function findChatTemplate(files: TokenizerFiles): ChatTemplate | null {
  const { config, chatTemplate } = files;
  const raw = config === undefined ? {} : parseJson(config.text, config.where, "checkpoint");
  const given = chatTemplate?.text ?? (isObject(raw) ? named(own(raw, "chat_template")) : undefined);
  if (given === undefined || given === null) return null;
  const where = chatTemplate?.where ?? config!.where;
  if (typeof given !== "string" || given.length > chatLimits.template)
    throw new SoftpromptError("checkpoint", "the chat template cannot be used", {
      where,
      expected: `a text of at most ${chatLimits.template} characters`,
      got: typeof given === "string" ? `${given.length} characters` : typeof given,
    });
  const tokens = Object.entries(readRoles(files)).map(([role, text]) => [`${role}_token`, text]);
  return { text: given, where, tokens: Object.fromEntries(tokens) };
}

/** Several templates stand in a list with names. */
function named(value: unknown): unknown {
  if (!Array.isArray(value)) return value;
  const one = value.find((entry) => isObject(entry) && own(entry, "name") === "default");
  return isObject(one) ? own(one, "template") : undefined;
}

/**
 * The date that a template gets when it asks for today. It is fixed, because otherwise prompts would change from day to day (Llama 3's own
 * default).
 */
const today = { date_string: "26 Jul 2024", time: Date.UTC(2024, 6, 26, 12) } as const;

/** The child's program; sent as text, so that it needs no file of its own beside the source or the build. */
const program = (library: string) => `
const chunks = [];
process.stdin.on("data", (chunk) => chunks.push(chunk));
process.stdin.on("end", () => {
  const answer = (value) => process.stdout.write(JSON.stringify(value));
  const told = (error) => String((error && error.message) || error).slice(0, 300);
  try {
    const { Template } = require(${JSON.stringify(library)});
    const { template, contexts, most, time } = JSON.parse(Buffer.concat(chunks).toString("utf8"));
    const Now = Date;
    globalThis.Date = class extends Now {
      constructor(...given) { given.length === 0 ? super(time) : super(...given); }
      static now() { return time; }
    };
    const parsed = new Template(template);
    const render = (context) => {
      try {
        const text = parsed.render(context);
        return text.length > most ? { refused: "it writes more than " + most + " characters" } : { text };
      } catch (error) {
        return { refused: told(error) };
      }
    };
    answer({ rendered: contexts.map(render) });
  } catch (error) {
    answer({ problem: told(error) });
  }
});`;

type ProcessLimits = { readonly heapMb: number; readonly seconds: number };

/** The texts of conversations. @throws SoftpromptError "checkpoint" for a template that fails or does not end, "io" without a process. */
export async function renderChat(
  template: ChatTemplate,
  conversations: readonly Conversation[],
  limits: ProcessLimits = chatLimits,
): Promise<string[]> {
  return (await renderEach(template, conversations, limits)).map((one) => {
    if ("refused" in one) throw unusable(template, one.refused);
    return one.text;
  });
}

/**
 * As renderChat, but a conversation that the template refuses does not keep the others from their texts. One process is started for all.
 * @throws SoftpromptError "checkpoint" for a template that cannot be read, that does not end, or that takes too much memory; "io" without a
 * process.
 */
export async function renderEach(
  template: ChatTemplate,
  conversations: readonly Conversation[],
  limits: ProcessLimits = chatLimits,
): Promise<Rendered[]> {
  const contexts = conversations.map(({ messages, addGenerationPrompt }) => ({
    ...template.tokens,
    messages,
    add_generation_prompt: addGenerationPrompt,
    // labels of a model that reasons before its answer could not be ranked
    enable_thinking: false,
    tools: null,
    documents: null,
    date_string: today.date_string,
  }));
  const asked = JSON.stringify({ template: template.text, contexts, most: chatLimits.text, time: today.time });
  const answer = await inChild(asked, limits);
  if (typeof answer === "string") throw unusable(template, answer);
  if (!isObject(answer) || !Array.isArray(own(answer, "rendered")))
    throw unusable(template, String(isObject(answer) ? own(answer, "problem") : "nothing"));
  return own(answer, "rendered") as Rendered[];
}

function unusable({ where }: ChatTemplate, problem: string): SoftpromptError {
  return new SoftpromptError("checkpoint", "the chat template cannot be used", {
    where,
    expected: "a Jinja template that writes a user's message once",
    got: problem,
    hint: "without --chat the model is used without it",
  });
}

/** @returns what the child says, or in words why it says nothing */
function inChild(asked: string, { heapMb, seconds }: ProcessLimits): Promise<object | string> {
  const library = createRequire(import.meta.url).resolve("@huggingface/jinja");
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [`--max-old-space-size=${heapMb}`, "-e", program(library)], {
      stdio: ["pipe", "pipe", "ignore"],
      env: { ...process.env, NODE_OPTIONS: "" },
    });
    let late = false;
    const deadline = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, seconds * 1000);
    const chunks: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    child.stdin.on("error", () => {}); // the child ended before it had read everything; "close" says why
    child.on("error", (cause) => {
      clearTimeout(deadline);
      reject(
        new SoftpromptError("io", "cannot start a process for the chat template", { where: process.execPath, cause }),
      );
    });
    child.on("close", () => {
      clearTimeout(deadline);
      if (late) return resolve(`it does not end within ${seconds} seconds`);
      try {
        resolve(JSON.parse(Buffer.concat(chunks).toString("utf8")) as object);
      } catch {
        resolve(`it needs more than ${heapMb} MB`);
      }
    });
    child.stdin.end(asked);
  });
}
