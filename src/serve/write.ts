/**
 * @file POST /v1/completions and /v1/chat/completions: text, whole or as it is written. In: a checked request. Out: OpenAI's bodies and
 * chunks.
 *
 * A stream's headers go out with its first token, or after a second where it still waits: an error that is known at once is reported by the
 * status, a later one by an `error` event.
 */
import { randomBytes, randomInt } from "node:crypto";
import type { ServerResponse } from "node:http";
import { ApiError, invalid } from "./api-error.js";
import { Left, modelFor, type ServerContext, waitFor } from "./context.js";
import { type EventStream, openEvents } from "./events.js";
import type { ChatMessage, Prompt, TokenLogprob, WritingSettings, WrittenEnd, WrittenLogprob } from "./protocol.js";
import type { ChatRequest, CompletionRequest } from "./schemas.js";

/** How the two kinds of answer differ. */
interface Form {
  readonly ability: "completions" | "chat";
  readonly id: string;
  /** The object's name whole, and as a chunk. */
  readonly object: string;
  readonly chunk: string;
  /** Tokens where the request does not say how many. */
  readonly usualTokens: (most: number) => number;
  whole(text: string): object;
  /** How the log-probabilities of tokens stand in an answer or a chunk. @param count of the likeliest tokens */
  logprobs(tokens: readonly WrittenLogprob[], count: number): object;
  /** Content of a chunk: at the beginning (null: no chunk), for a text, at the end. */
  begin: object | null;
  piece(text: string): object;
  readonly end: object;
}

/** OpenAI's own default. */
const completionTokens = 16;

const completionForm: Form = {
  ability: "completions",
  id: "cmpl",
  object: "text_completion",
  chunk: "text_completion",
  usualTokens: (most) => Math.min(completionTokens, most),
  whole: (text) => ({ text }),
  logprobs: (tokens, count) => ({
    tokens: tokens.map(({ token }) => token),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    // the token itself stands among them, so that there may be one more
    top_logprobs: count === 0 ? null : tokens.map(({ likeliest, ...own }) => byText([...likeliest, own])),
    text_offset: tokens.map(({ offset }) => offset),
  }),
  begin: null,
  piece: (text) => ({ text }),
  end: { text: "" },
};

const chatForm: Form = {
  ability: "chat",
  id: "chatcmpl",
  object: "chat.completion",
  chunk: "chat.completion.chunk",
  usualTokens: (most) => most,
  whole: (content) => ({ message: { role: "assistant", content, refusal: null } }),
  logprobs: (tokens) => ({
    content: tokens.map(({ likeliest, ...own }) => ({ ...withBytes(own), top_logprobs: likeliest.map(withBytes) })),
    refusal: null,
  }),
  begin: { delta: { role: "assistant", content: "" } },
  piece: (content) => ({ delta: { content } }),
  end: { delta: {} },
};

/** Parts of characters all read as U+FFFD: the first of them stands for it. */
function byText(tokens: readonly TokenLogprob[]): Readonly<Record<string, number>> {
  const found = new Map<string, number>();
  for (const { token, logprob } of tokens) if (!found.has(token)) found.set(token, logprob);
  return Object.fromEntries(found);
}

const withBytes = ({ token, logprob }: TokenLogprob) => ({
  token,
  logprob,
  bytes: token.includes("\ufffd") ? null : [...Buffer.from(token, "utf8")],
});

/** Milliseconds that a stream's headers wait for the first sign of its row. */
const firstSign = 1000;

const finishReason = (end: WrittenEnd) => (end === "length" || end === "window" ? "length" : "stop");

/** @returns the body, or null where it was streamed. @throws ApiError, Left. */
export function complete(context: ServerContext, request: CompletionRequest, response: ServerResponse) {
  const { prompt } = request;
  const prompts: Prompt[] =
    typeof prompt === "string"
      ? [{ text: prompt }]
      : typeof prompt[0] === "number"
        ? [{ ids: prompt as number[] }]
        : (prompt as (string | number[])[]).map((one) => (typeof one === "string" ? { text: one } : { ids: one }));
  const tokens = prompts.reduce((most, one) => Math.max(most, "ids" in one ? one.ids.length : 0), 0);
  if (tokens > context.options.maxPromptTokens)
    throw invalid(
      `prompt: ${tokens} tokens; at most ${context.options.maxPromptTokens}`,
      "prompt",
      "context_length_exceeded",
    );
  return write(context, completionForm, request, prompts, response);
}

/** @returns the body, or null where it was streamed. @throws ApiError, Left. */
export function chat(context: ServerContext, request: ChatRequest, response: ServerResponse) {
  if (request.top_logprobs && request.logprobs !== true)
    throw invalid("top_logprobs: needs logprobs: true", "top_logprobs");
  const messages = request.messages.map(
    ({ role, content }): ChatMessage => ({
      role: role === "developer" ? "system" : role,
      content: typeof content === "string" ? content : (content ?? []).map(({ text }) => text).join(""),
    }),
  );
  return write(context, chatForm, request, [{ messages }], response);
}

type WriteRequest = CompletionRequest | ChatRequest;

async function write(
  context: ServerContext,
  form: Form,
  request: WriteRequest,
  prompts: readonly Prompt[],
  response: ServerResponse,
): Promise<object | null> {
  const { skill } = modelFor(context, request.model, form.ability);
  const how = settingsOf(request, form, context.options.maxTokens);
  const rows = prompts.map((prompt, row) => ({
    kind: "write" as const,
    skill,
    prompt,
    how: { ...how, seed: (how.seed + row) % 2 ** 32 },
  }));
  const head = {
    id: `${form.id}-${randomBytes(12).toString("hex")}`,
    created: Math.floor(Date.now() / 1000),
    model: request.model,
  };
  const streamed = request.stream === true ? openChunks(context, form, request, head, response) : null;
  const texts = rows.map(() => "");
  const logprobs: WrittenLogprob[][] = rows.map(() => []);
  const ends = new Array<WrittenEnd>(rows.length);
  const usage = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 };
  try {
    await waitFor(context, rows, {
      response,
      paramOf: (row) => (form.ability === "chat" ? "messages" : rows.length > 1 ? `prompt[${row}]` : "prompt"),
      hear: (row, event) => {
        if (event.kind === "began") {
          usage.prompt_tokens += event.promptTokens;
          streamed?.open();
        } else if (event.kind === "piece" || event.kind === "end") {
          const told = event.logprobs ?? [];
          if (streamed === null) {
            texts[row] += event.text;
            logprobs[row]!.push(...told);
          } else if (event.text !== "" || told.length > 0) streamed.piece(row, event.text, told);
          if (event.kind !== "end") return;
          ends[row] = event.end;
          usage.completion_tokens += event.tokens;
          streamed?.end(row, finishReason(event.end));
        }
      },
    });
  } catch (error) {
    if (streamed === null || !streamed.close()) throw error;
    if (!(error instanceof Left))
      streamed.fail(error instanceof ApiError ? error : new ApiError(500, "the server failed"));
    return null;
  }
  usage.total_tokens = usage.prompt_tokens + usage.completion_tokens;
  context.metrics.tokens(request.model, "read", usage.prompt_tokens);
  context.metrics.tokens(request.model, "written", usage.completion_tokens);
  if (streamed) {
    streamed.close();
    streamed.done(usage);
    return null;
  }
  return {
    ...head,
    object: form.object,
    choices: texts.map((text, index) => ({
      index,
      ...form.whole(text),
      logprobs: how.logprobs === undefined ? null : form.logprobs(logprobs[index]!, how.logprobs),
      finish_reason: finishReason(ends[index]!),
    })),
    usage,
  };
}

function settingsOf(request: WriteRequest, form: Form, most: number): WritingSettings {
  const { stop } = request;
  return {
    maxTokens: request.max_completion_tokens ?? request.max_tokens ?? form.usualTokens(most),
    temperature: request.temperature ?? 1,
    topP: request.top_p ?? 1,
    topK: request.top_k ?? 0,
    seed: request.seed ?? randomInt(2 ** 32),
    stop: typeof stop === "string" ? [stop] : (stop ?? []),
    logprobs: countOf(request),
  };
}

/** How many of the likeliest tokens are told beside each token; undefined where no log-probabilities are. */
function countOf(request: WriteRequest): number | undefined {
  const { logprobs } = request;
  if (typeof logprobs === "number") return logprobs;
  return logprobs === true ? ((request as ChatRequest).top_logprobs ?? 0) : undefined;
}

/** The chunks of one stream. */
function openChunks(
  { sockets }: ServerContext,
  form: Form,
  request: WriteRequest,
  head: object,
  response: ServerResponse,
) {
  const withUsage = request.stream_options?.include_usage === true;
  let events: EventStream | null = null;
  const begun = new Set<number>();
  const open = () => {
    clearTimeout(late);
    events ??= openEvents(response, {}, sockets);
    return events;
  };
  const late = setTimeout(open, firstSign);
  const chunk = (choices: readonly object[], usage: object | null) =>
    open().send({ ...head, object: form.chunk, choices, ...(withUsage ? { usage } : {}) });
  const choice = (index: number, what: object, finish_reason: string | null, logprobs: object | null = null) =>
    chunk([{ index, ...what, logprobs, finish_reason }], null);
  const begin = (row: number) => {
    if (begun.has(row)) return;
    begun.add(row);
    if (form.begin !== null) choice(row, form.begin, null);
  };
  return {
    open: () => void open(),
    piece(row: number, text: string, told: readonly WrittenLogprob[]) {
      begin(row);
      choice(row, form.piece(text), null, told.length === 0 ? null : form.logprobs(told, countOf(request) ?? 0));
    },
    end(row: number, reason: string) {
      begin(row);
      choice(row, form.end, reason);
    },
    /** Stops sending headers after the waiting time. @returns whether they were sent. */
    close(): boolean {
      clearTimeout(late);
      return events !== null;
    },
    /** A failure in the middle of a stream: sent as an event that clients turn into an exception. */
    fail(error: ApiError) {
      open().send(error.body);
      open().end();
    },
    done(usage: object) {
      if (withUsage) chunk([], usage);
      open().send("[DONE]");
      open().end();
    },
  };
}
