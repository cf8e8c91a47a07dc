/**
 * @file zod schemas of requests and answers. The same schemas check requests and make /openapi.json.
 *
 * Limits that are the server's options come in as numbers. Unknown fields are accepted, because editors and gateways send some. Unsupported
 * OpenAI fields that would change the answer are refused by name.
 */
import { z } from "zod";

/** Limits that requests are checked against. */
export interface RequestLimits {
  readonly maxRows: number;
  readonly maxTokens: number;
}

/** Limits of the interface itself. */
export const fixedLimits = { stops: 4, stopLength: 256, messages: 1024, temperature: 2, topLogprobs: 20 } as const;

const modelId = z.string().min(1).max(512).describe("An id that /v1/models lists: BASE, or BASE:ADAPTER");
/** A field may be absent or null. */
const maybe = <T extends z.ZodType>(schema: T) => schema.nullish();
/** Accepts only values without effect; other values are refused with the field's name. */
const only = <const T extends readonly (string | number | boolean)[]>(values: T, why: string) =>
  z
    .unknown()
    .refine((value) => value === undefined || value === null || values.includes(value as T[number]), {
      message: `${why}; ${values.length === 0 ? "leave it out" : `only ${values.map((v) => JSON.stringify(v)).join(" or ")} is supported`}`,
    })
    .optional()
    .describe(why);
const none = (why: string) =>
  z
    .unknown()
    .refine((value) => value === undefined || value === null || isEmpty(value), { message: `${why}; leave it out` })
    .optional()
    .describe(why);
const isEmpty = (value: unknown) => typeof value === "object" && Object.keys(value as object).length === 0;

const topLogprobs = z.int().min(0).max(fixedLimits.topLogprobs);
const stopText = z.string().min(1).max(fixedLimits.stopLength);

/** Fields of both kinds of generation. */
const writing = ({ maxTokens }: RequestLimits) => ({
  model: modelId,
  max_tokens: maybe(z.int().min(1).max(maxTokens)).describe(
    `Longest text that is written, at most ${maxTokens} tokens`,
  ),
  max_completion_tokens: maybe(z.int().min(1).max(maxTokens)).describe("The same; wins where both are given"),
  temperature: maybe(z.number().min(0).max(fixedLimits.temperature)).describe("0 takes the likeliest token; default 1"),
  top_p: maybe(z.number().gt(0).max(1)).describe(
    "Draw from the likeliest tokens that reach this probability; default 1",
  ),
  top_k: maybe(z.int().min(0)).describe("Draw from so many of the likeliest tokens; default 0, all"),
  seed: maybe(z.int().min(0)).describe("Equal seeds give equal texts; default a random one"),
  stop: maybe(z.union([stopText, z.array(stopText).max(fixedLimits.stops)])).describe(
    "Texts that end the answer; they are no part of it",
  ),
  stream: maybe(z.boolean()),
  stream_options: maybe(z.looseObject({ include_usage: maybe(z.boolean()) })),
  n: only([1], "one answer for each prompt"),
  presence_penalty: only([0], "penalties are not supported"),
  frequency_penalty: only([0], "penalties are not supported"),
  logit_bias: none("biases are not supported"),
  tools: none("tools are not supported"),
  tool_choice: only(["none", "auto"], "tools are not supported"),
  functions: none("tools are not supported"),
  function_call: only(["none", "auto"], "tools are not supported"),
  response_format: z
    .unknown()
    .refine((value) => value === undefined || value === null || (value as { type?: unknown }).type === "text", {
      message: 'answers have no other form than text; only { "type": "text" } is supported',
    })
    .optional()
    .describe("Only { type: text }"),
});

/** Body of POST /v1/completions. */
export const completionRequest = (limits: RequestLimits) =>
  z.looseObject({
    ...writing(limits),
    prompt: z
      .union([
        z.string(),
        z.array(z.string()).min(1).max(limits.maxRows),
        z.array(z.int().min(0)).min(1),
        z
          .array(z.array(z.int().min(0)).min(1))
          .min(1)
          .max(limits.maxRows),
      ])
      .describe("A text, texts, token ids, or lists of token ids; each is one choice of the answer"),
    best_of: only([1], "one answer for each prompt"),
    echo: only([false], "the prompt is not repeated"),
    suffix: only([""], "texts are not written into a gap"),
    logprobs: maybe(z.union([topLogprobs, z.literal(false)])).describe(
      "Log-probability of each token, and of so many of the likeliest ones in its place",
    ),
  });

const textPart = z.looseObject({ type: z.literal("text"), text: z.string() });
const content = z.union([z.string(), z.array(textPart)]);

/** Body of POST /v1/chat/completions. */
export const chatRequest = (limits: RequestLimits) =>
  z.looseObject({
    ...writing(limits),
    messages: z
      .array(
        z.discriminatedUnion("role", [
          z.looseObject({ role: z.enum(["system", "developer"]), content }),
          z.looseObject({ role: z.literal("user"), content }),
          z.looseObject({
            role: z.literal("assistant"),
            content: content.nullish(),
            tool_calls: none("tools are not supported"),
          }),
        ]),
      )
      .min(1)
      .max(fixedLimits.messages),
    logprobs: maybe(z.boolean()).describe("Log-probability of each token; default false"),
    top_logprobs: maybe(topLogprobs).describe("With logprobs: also of so many of the likeliest tokens in its place"),
    modalities: maybe(z.array(z.literal("text"))),
  });

const input = z.union([z.string(), z.record(z.string(), z.unknown())]);

/** Body of POST /v1/predict. */
export const predictRequest = ({ maxRows }: RequestLimits) =>
  z.looseObject({
    model: z
      .union([modelId, z.array(modelId).min(1).max(maxRows)])
      .describe(
        "One id, or a list: every input is then answered under each of them, and a text is read once where it can be",
      ),
    input: z
      .union([input, z.array(input).min(1).max(maxRows)])
      .describe("A text for a template with one field, an object with its fields, or a list of either"),
  });

const usage = z.object({
  prompt_tokens: z.int(),
  completion_tokens: z.int(),
  total_tokens: z.int(),
});

/** Answer of POST /v1/predict. */
export const predictResponse = z.object({
  object: z.literal("list"),
  model: z.union([z.string(), z.array(z.string())]).describe("As it was asked"),
  data: z.array(
    z.object({
      object: z.literal("prediction"),
      index: z.int(),
      model: z.string().optional().describe("Where a list of models was asked"),
      label: z.string().nullable().describe("null for free text, and where a written text is no label's words"),
      text: z.string().describe("The label's words, or the written text"),
      probabilities: z.record(z.string(), z.number()).nullable().describe("By label; null for written text"),
      truncated: z
        .boolean()
        .describe("The input was longer than the adapter takes; the end of its longest field was left out"),
    }),
  ),
  usage: z.object({ prompt_tokens: z.int(), total_tokens: z.int() }),
});

const finish = z.enum(["stop", "length"]);

const tokenLogprob = z.object({
  token: z.string(),
  logprob: z.number().describe("Natural logarithm; at least -9999"),
  bytes: z.array(z.int()).nullable().describe("UTF-8; null for a token that is a part of a character"),
});

/** Answer of POST /v1/completions. */
export const completionResponse = z.object({
  id: z.string(),
  object: z.literal("text_completion"),
  created: z.int(),
  model: z.string(),
  choices: z.array(
    z.object({
      index: z.int(),
      text: z.string(),
      logprobs: z
        .object({
          tokens: z.array(z.string()),
          token_logprobs: z.array(z.number()),
          top_logprobs: z.array(z.record(z.string(), z.number())).nullable().describe("By the token's text"),
          text_offset: z.array(z.int()).describe("Where each token begins in the text, in UTF-16 units"),
        })
        .nullable(),
      finish_reason: finish,
    }),
  ),
  usage,
});

/** Answer of POST /v1/chat/completions. */
export const chatResponse = z.object({
  id: z.string(),
  object: z.literal("chat.completion"),
  created: z.int(),
  model: z.string(),
  choices: z.array(
    z.object({
      index: z.int(),
      message: z.object({ role: z.literal("assistant"), content: z.string(), refusal: z.null() }),
      logprobs: z
        .object({
          content: z.array(tokenLogprob.extend({ top_logprobs: z.array(tokenLogprob) })),
          refusal: z.null(),
        })
        .nullable(),
      finish_reason: finish,
    }),
  ),
  usage,
});

/** One entry of GET /v1/models. */
export const modelResponse = z.object({
  id: z.string(),
  object: z.literal("model"),
  created: z.int(),
  owned_by: z.string(),
  softprompt: z.object({
    adapter: z.string().nullable(),
    abilities: z.array(z.enum(["predict", "completions", "chat"])),
    task: z.string().nullable(),
    fields: z.array(z.string()),
    labels: z.array(z.string()).nullable(),
    virtual_tokens: z.int(),
  }),
});

/** Answer of GET /v1/models. */
export const modelsResponse = z.object({ object: z.literal("list"), data: z.array(modelResponse) });

/** Answer of GET /health. */
export const healthResponse = z.object({ status: z.enum(["ok", "starting", "stopping", "failed"]) });

const labels = z.record(z.string(), z.string());

/** Answer of GET /metrics as JSON: by the metric's name. */
export const metricsResponse = z.record(
  z.string(),
  z.object({
    type: z.enum(["counter", "histogram", "gauge"]),
    help: z.string(),
    values: z.array(
      z.union([
        z.object({ labels, value: z.number() }),
        z.object({
          labels,
          buckets: z.array(z.object({ le: z.string(), count: z.int() })).describe("How many values are at most `le`"),
          sum: z.number(),
          count: z.int(),
        }),
      ]),
    ),
  }),
);

/** Every failure. */
export const errorResponse = z.object({
  error: z.object({
    message: z.string(),
    type: z.string(),
    param: z.string().nullable(),
    code: z.string().nullable(),
  }),
});

/** A completion request after its check. */
export type CompletionRequest = z.infer<ReturnType<typeof completionRequest>>;
/** A chat request after its check. */
export type ChatRequest = z.infer<ReturnType<typeof chatRequest>>;
/** A prediction request after its check. */
export type PredictRequest = z.infer<ReturnType<typeof predictRequest>>;
