/**
 * @file softprompt serve under the clients that people use: `openai` and `@ai-sdk/openai-compatible`, whole and streamed, on decoder-only
 * models whose answers are known.
 */
import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import OpenAI, { APIError } from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { z } from "zod";
import { adapterBase } from "../src/adapter/adapter.js";
import { appliedModel, appliedSettings } from "../src/adapter/applied.js";
import { defaults } from "../src/base/options.js";
import { random } from "../src/base/random.js";
import { defineTask } from "../src/data/define.js";
import { openMethod } from "../src/method/methods.js";
import { methodOptions } from "../src/method/options.js";
import { chatResponse, type completionResponse } from "../src/serve/schemas.js";
import type { ServeInput, Server } from "../src/serve/server.js";
import { generate } from "../src/tasks/generate.js";
import { openModel } from "../src/tasks/model.js";
import { predict } from "../src/tasks/predict.js";
import { bundle } from "./helpers/bundle.js";
import { chainCausal } from "./helpers/chain-causal.js";
import { ask, promptAdapter, saved, startServer, streamed } from "./helpers/serve.js";
import { tinyCausal, tinyChat } from "./helpers/tiny-causal.js";

type Completed = z.infer<typeof completionResponse>;
type Said = z.infer<typeof chatResponse>;

const mood = defineTask({ name: "mood", template: "say {text} so", verbalizer: { bad: "bad", good: "good" } });
const behind = defineTask({ name: "behind", template: "say {text}{prompt}", verbalizer: { bad: "bad", good: "good" } });
const size = { width: 32, family: "llama" };
const folders = {
  short: saved(promptAdapter(mood, { tokens: 2, seed: 1, ...size })),
  long: saved(promptAdapter(mood, { tokens: 30, seed: 2, ...size })),
  behind: saved(promptAdapter(behind, { tokens: 4, seed: 3, ...size })),
};

let chain: Server;
let model: string;
let client: OpenAI;
beforeAll(async () => {
  const folder = chainCausal({ chat: tinyChat, ends: 2 });
  chain = await startServer({ model: folder, served: "org/chain", maxTokens: 100, textCache: "off" });
  model = "org/chain";
  client = new OpenAI({ baseURL: `${chain.url}/v1`, apiKey: chain.token!, maxRetries: 0 });
});
afterAll(() => chain.close());

/** All pieces of a stream, joined, with the reasons that it gave. */
async function gathered(
  stream: AsyncIterable<{
    choices: { delta?: { content?: string | null }; text?: string; finish_reason: string | null }[];
  }>,
) {
  let text = "";
  const reasons: string[] = [];
  for await (const { choices } of stream)
    for (const choice of choices) {
      text += choice.text ?? choice.delta?.content ?? "";
      if (choice.finish_reason !== null) reasons.push(choice.finish_reason);
    }
  return { text, reasons };
}

describe("the openai client", () => {
  test("completions, whole and streamed", async () => {
    const body = { model, prompt: "ABC", max_tokens: 12, temperature: 0 } as const;
    const whole = await client.completions.create(body);
    expect(whole.choices[0]).toMatchObject({ text: "DEFGHIJABCDE", finish_reason: "length" });
    expect(whole.usage).toEqual({ prompt_tokens: 3, completion_tokens: 12, total_tokens: 15 });
    const stream = await client.completions.create({ ...body, stream: true });
    expect(await gathered(stream)).toEqual({ text: "DEFGHIJABCDE", reasons: ["length"] });
  });

  test("conversations, whole, streamed and by the helper", async () => {
    const messages = [
      { role: "system", content: "be short" },
      {
        role: "user",
        content: [
          { type: "text", text: "he" },
          { type: "text", text: "llo" },
        ],
      },
      { role: "assistant", content: "yes" },
      { role: "user", content: "go" },
    ] satisfies OpenAI.ChatCompletionMessageParam[];
    const whole = await client.chat.completions.create({ model, messages, temperature: 0 });
    expect(chatResponse.parse(whole).choices[0]!.message.content).toBe("ok");
    expect(whole.choices[0]!.finish_reason).toBe("stop");
    // counted by hand: one id for each character of the conversation in the template, and for each of its control tokens
    const written = (role: string, text: string) => 2 + role.length + 1 + text.length + 1;
    const prompt =
      written("system", "be short") +
      written("user", "hello") +
      written("assistant", "yes") +
      written("user", "go") +
      1 +
      "assistant\n".length;
    expect(whole.usage).toEqual({ prompt_tokens: prompt, completion_tokens: 2, total_tokens: prompt + 2 });
    const stream = await client.chat.completions.create({ model, messages, temperature: 0, stream: true });
    expect(await gathered(stream)).toEqual({ text: "ok", reasons: ["stop"] });
    const helper = client.chat.completions.stream({
      model,
      messages,
      temperature: 0,
      stream_options: { include_usage: true },
    });
    const final = await helper.finalChatCompletion();
    expect(final.choices[0]!.message).toMatchObject({ role: "assistant", content: "ok" });
    expect(final.usage).toEqual(whole.usage);
  });

  test("log-probabilities of tokens, of which some are parts of a character", async () => {
    const messages = [{ role: "user", content: "go" }] as const;
    const body = { model, messages: [...messages], temperature: 0, logprobs: true, top_logprobs: 2 };
    const { choices } = await client.chat.completions.create(body);
    const told = chatResponse.shape.choices.element.strict().parse(choices[0]).logprobs!.content;
    // the chain writes "ok", and the likeliest token is the one that is written
    expect(told.map(({ token, bytes }) => [token, bytes])).toEqual([
      ["o", [111]],
      ["k", [107]],
    ]);
    for (const { logprob, top_logprobs, token } of told) {
      expect(top_logprobs).toHaveLength(2);
      expect(top_logprobs[0]).toMatchObject({ token, logprob });
      expect(top_logprobs[1]!.logprob).toBeLessThan(logprob);
    }
    const chunks = [];
    for await (const chunk of await client.chat.completions.create({ ...body, stream: true }))
      chunks.push(...(chunk.choices[0]?.logprobs?.content ?? []));
    expect(chunks).toEqual(told);
    const without = await client.chat.completions.create({ ...body, top_logprobs: 0 });
    expect(without.choices[0]!.logprobs!.content!.map(({ top_logprobs }) => top_logprobs)).toEqual([[], []]);
    // "🙂깰" is four and three tokens of one byte
    const parts = await client.completions.create({ model, prompt: "x", temperature: 0, max_tokens: 9, logprobs: 1 });
    expect(parts.choices[0]!.text).toBe("🙂깰");
    expect(parts.choices[0]!.logprobs).toMatchObject({
      tokens: Array(7).fill("\ufffd"),
      text_offset: [0, 0, 0, 0, 2, 2, 2],
    });
  });

  test("models, one by an id with a slash and a colon", async () => {
    await chain.add("a", folders.short);
    const listed = [];
    for await (const one of client.models.list()) listed.push(one.id);
    expect(listed).toEqual(["org/chain", "org/chain:a"]);
    for (const id of listed) expect((await client.models.retrieve(id)).id).toBe(id);
    chain.remove("a");
  });

  test("every failure reaches the program with its status, code, field and text", async () => {
    const failure = async (work: Promise<unknown>) => {
      const error = await work.then(
        () => undefined,
        (e: unknown) => e,
      );
      if (!(error instanceof APIError)) throw error;
      return error;
    };
    const completion = (body: object) => client.completions.create({ model, prompt: "A", ...body } as never);
    expect(await failure(completion({ max_tokens: 1000 }))).toMatchObject({
      status: 400,
      param: "max_tokens",
      type: "invalid_request_error",
    });
    expect(await failure(completion({ model: "nobody" }))).toMatchObject({
      status: 404,
      code: "model_not_found",
      param: "model",
    });
    expect((await failure(completion({ n: 3 }))).message).toMatch(/one answer for each prompt/);
    const outsider = new OpenAI({ baseURL: `${chain.url}/v1`, apiKey: "wrong-token-of-some-length", maxRetries: 0 });
    expect(await failure(outsider.models.list() as never)).toMatchObject({ status: 401, code: "invalid_api_key" });
    const lost = new OpenAI({ baseURL: `${chain.url}/v2`, apiKey: chain.token!, maxRetries: 0 });
    expect(await failure(lost.models.list() as never)).toMatchObject({ status: 404, code: "not_found" });
    const parts = [{ role: "user", content: [{ type: "image_url", image_url: { url: "x" } }] }];
    expect(await failure(client.chat.completions.create({ model, messages: parts as never }))).toMatchObject({
      status: 400,
      param: "messages[0].content[0].type",
    });
    for (const more of [
      { tools: [{ type: "function", function: { name: "f" } }] },
      { response_format: { type: "json_object" } },
      { response_format: { type: "json_schema", json_schema: { name: "n", schema: {} } } },
      { top_logprobs: 2 },
      { functions: [{ name: "f" }] },
    ])
      expect(
        await failure(
          client.chat.completions.create({ model, messages: [{ role: "user", content: "x" }], ...(more as object) }),
        ),
      ).toMatchObject({ status: 400, type: "invalid_request_error", param: Object.keys(more)[0] });
    const roles = [{ role: "tool", tool_call_id: "1", content: "x" }];
    expect(await failure(client.chat.completions.create({ model, messages: roles as never }))).toMatchObject({
      status: 400,
      param: "messages[0].role",
    });
  });

  test("a stream that fails in the middle throws there, and the server goes on", async () => {
    const worker = await bundle("test/helpers/dying-worker.ts");
    await using dying = await startServer({ model: chainCausal({ ends: 2 }), served: "chain", engineModule: worker });
    const its = new OpenAI({ baseURL: `${dying.url}/v1`, apiKey: dying.token!, maxRetries: 0 });
    const stream = await its.completions.create({
      model: "chain",
      prompt: "ABC",
      max_tokens: 60,
      temperature: 0,
      stream: true,
    });
    let text = "";
    await expect(
      (async () => {
        for await (const { choices } of stream) text += choices[0]?.text ?? "";
      })(),
    ).rejects.toMatchObject({ message: expect.stringMatching(/engine stopped/), code: "engine" });
    expect(text).toMatch(/^DEF/);
    await expect.poll(async () => (await ask(dying, "/health")).status, { timeout: 20_000 }).toBe(200);
    const again = await its.completions.create({ model: "chain", prompt: "AB", max_tokens: 1, temperature: 0 });
    expect(again.choices[0]!.text).toBe("C");
  });
});

describe("@ai-sdk/openai-compatible", () => {
  const provider = () =>
    createOpenAICompatible({
      name: "softprompt",
      baseURL: `${chain.url}/v1`,
      apiKey: chain.token!,
      includeUsage: true,
    });
  const prompt = [{ role: "user" as const, content: [{ type: "text" as const, text: "go" }] }];

  test("conversations, whole and streamed", async () => {
    const whole = await provider().chatModel(model).doGenerate({ prompt, temperature: 0 });
    expect(whole.content).toEqual([{ type: "text", text: "ok" }]);
    const { stream } = await provider().chatModel(model).doStream({ prompt, temperature: 0 });
    const parts = [];
    for await (const part of stream as unknown as AsyncIterable<{
      type: string;
      delta?: string;
      finishReason?: unknown;
      usage?: object;
    }>)
      parts.push(part);
    expect(
      parts
        .filter(({ type }) => type === "text-delta")
        .map(({ delta }) => delta)
        .join(""),
    ).toBe("ok");
    const finish = parts.find(({ type }) => type === "finish")!;
    expect(JSON.stringify(finish.finishReason)).toContain("stop");
    expect(JSON.stringify(finish.usage)).toMatch(/2/);
    expect(parts.filter(({ type }) => type === "error")).toEqual([]);
  });

  test("completions", async () => {
    const whole = await provider()
      .completionModel(model)
      .doGenerate({
        prompt: [{ role: "user", content: [{ type: "text", text: "ABC" }] }],
        temperature: 0,
        maxOutputTokens: 3,
      });
    expect(JSON.stringify(whole.content)).toContain("text");
  });

  test("a failure has the server's words", async () => {
    await expect(provider().chatModel("nobody").doGenerate({ prompt })).rejects.toThrow(/there is no model/);
  });
});

describe("what a stream may not do", () => {
  test("characters of several tokens come whole; at a limit in the middle the rest is told as what it is", async () => {
    const body = { model, prompt: "x", temperature: 0, max_tokens: 20 };
    const { json } = await ask<Completed>(chain, "/v1/completions", body);
    expect(json.choices[0]).toMatchObject({ text: "🙂깰", finish_reason: "stop" });
    expect(json.usage.completion_tokens).toBe(7);
    const events = await streamed(chain, "/v1/completions", body);
    const pieces = events.slice(0, -1).map((event) => JSON.parse(event.slice(6)).choices[0].text as string);
    expect(pieces.filter(Boolean)).toEqual(["🙂", "깰"]);
    const cut = await ask<Completed>(chain, "/v1/completions", { ...body, max_tokens: 2 });
    expect(cut.json.choices[0]).toMatchObject({ text: "\ufffd", finish_reason: "length" });
  });

  test("a stop string over several tokens is never sent, nor its beginning", async () => {
    const body = { model, prompt: "ABC", temperature: 0, max_tokens: 40 };
    for (const [stop, text] of [
      [["DEFGHIJ"], ""],
      ["GH", "DEF"],
      [["ABD", "JA"], "DEFGHI"],
      [["never", "IJK"], "DEFGHIJABC".repeat(4)],
    ] as const) {
      const { json } = await ask<Completed>(chain, "/v1/completions", { ...body, stop });
      expect(json.choices[0]!.text).toBe(text);
      const events = await streamed(chain, "/v1/completions", { ...body, stop });
      const pieces = events.slice(0, -1).map((event) => JSON.parse(event.slice(6)).choices[0].text as string);
      expect(pieces.join("")).toBe(text);
    }
  });

  test("the first delta has the role, once; the last is empty with the reason", async () => {
    const events = await streamed(chain, "/v1/chat/completions", {
      model,
      messages: [{ role: "user", content: "go" }],
      temperature: 0,
    });
    expect(events.at(-1)).toBe("data: [DONE]");
    const choices = events.slice(0, -1).map((event) => JSON.parse(event.slice(6)).choices[0]);
    expect(choices[0].delta).toEqual({ role: "assistant", content: "" });
    expect(choices.slice(1).every(({ delta }) => !("role" in delta))).toBe(true);
    expect(choices.at(-1)).toMatchObject({ delta: {}, finish_reason: "stop" });
  });

  test("a silent stream says that it lives, and the client does not mind", async () => {
    await using slow = await startServer({
      model: chainCausal({ ends: 2 }),
      served: "chain",
      batchSize: 1,
      sockets: { keepAlive: 0.02 },
    });
    const its = new OpenAI({ baseURL: `${slow.url}/v1`, apiKey: slow.token!, maxRetries: 0 });
    const body = { model: "chain", prompt: "C", max_tokens: 300, temperature: 0 } as const;
    const all = Array.from({ length: 6 }, async () =>
      gathered(await its.completions.create({ ...body, stream: true })),
    );
    const texts = await Promise.all(all);
    expect(new Set(texts.map(({ text }) => text))).toEqual(new Set(["DEFGHIJABC".repeat(30)]));
  });
});

describe("a small random decoder", () => {
  test("rows of several adapters and of none, of every length, before and behind their texts, get what each gets alone", async () => {
    const folder = tinyCausal({ ends: 2 });
    await using server = await startServer({ model: folder, served: "tiny", adapters: folders, maxTokens: 60 });
    const names = [null, "short", "long", "behind"] as const;
    const texts = ["a", "hello there you", "the long way round and back again, twice"];
    const asked = names.flatMap((name) => texts.map((prompt) => ({ name, prompt })));
    const id = (name: string | null) => (name === null ? "tiny" : `tiny:${name}`);
    const [written, ranked] = await Promise.all([
      Promise.all(
        asked.map(({ name, prompt }) =>
          ask<Completed>(server, "/v1/completions", { model: id(name), prompt, temperature: 0, max_tokens: 15 }),
        ),
      ),
      Promise.all(
        asked.map(({ name, prompt }) =>
          ask<{ data: { probabilities: Record<string, number> }[] }>(server, "/v1/predict", {
            model: id(name),
            input: prompt,
          }),
        ),
      ),
    ]);
    await using alone = await openModel(folder, { threads: 1 });
    for (const [i, { name, prompt }] of asked.entries()) {
      const adapter = name === null ? {} : { adapter: folders[name] };
      expect(written[i]!.json.choices[0]!.text).toBe(await generate(alone, { prompt, maxTokens: 15, ...adapter }));
      if (name === null) continue;
      const [one] = await predict(alone, folders[name], [prompt]);
      for (const [label, p] of Object.entries(one!.probabilities!))
        expect(ranked[i]!.json.data[0]!.probabilities[label]).toBeCloseTo(p, 4);
    }
  });

  test("one text under several adapters is one batch (in which the engine reads equal texts once: behind-tasks.test)", async () => {
    const folder = tinyCausal({ ends: 2 });
    await using server = await startServer({
      model: folder,
      served: "tiny",
      adapters: { one: folders.behind, two: folders.behind, three: folders.behind, front: folders.short },
    });
    const passes = async () => {
      const { json } = await ask<string>(server, "/metrics");
      return [...json.matchAll(/^softprompt_batch_rows_(sum|count)\{what="predict"\} (\d+)$/gm)].map(([, , n]) =>
        Number(n),
      );
    };
    const model = ["tiny:one", "tiny:two", "tiny:three"];
    const body = { model, input: "the long way round" };
    const { status, json } = await ask<{ data: { probabilities: Record<string, number> }[] }>(
      server,
      "/v1/predict",
      body,
    );
    expect(status).toBe(200);
    expect(await passes()).toEqual([3, 1]);
    await using alone = await openModel(folder, { threads: 1 });
    const [wanted] = await predict(alone, folders.behind, ["the long way round"]);
    for (const { probabilities } of json.data)
      for (const [label, p] of Object.entries(wanted!.probabilities!)) expect(probabilities[label]).toBeCloseTo(p, 4);
  });

  test("texts of requests are written to disk only where that is asked for", async () => {
    const cache = mkdtempSync(join(tmpdir(), "softprompt-served-texts-"));
    const before = process.env.SOFTPROMPT_CACHE;
    process.env.SOFTPROMPT_CACHE = cache;
    try {
      const kept = async (options: Partial<ServeInput>) => {
        const input = {
          model: tinyCausal({ ends: 2 }),
          served: "tiny",
          adapters: folders,
          textCacheMemory: 0,
          ...options,
        };
        await using server = await startServer(input);
        const { status } = await ask(server, "/v1/predict", { model: "tiny:behind", input: "the long way round" });
        expect(status).toBe(200);
        return existsSync(join(cache, "texts"));
      };
      expect(await kept({})).toBe(false);
      expect(await kept({ textCacheDisk: 16 })).toBe(true);
    } finally {
      if (before === undefined) delete process.env.SOFTPROMPT_CACHE;
      else process.env.SOFTPROMPT_CACHE = before;
    }
  });

  test("an adapter of another method stands beside prompts, with its own answers", async () => {
    const folder = tinyCausal({ ends: 2 });
    await using alone = await openModel(folder, { threads: 1 });
    const { checkpoint } = alone;
    const settings = {
      ...defaults(methodOptions),
      virtualTokens: 4,
      seed: 0,
      method: "lora" as const,
      loraRank: 3,
      loraTargets: ["q_proj", "v_proj"],
    };
    const method = openMethod(settings);
    const draw = random(5, "serve");
    const begun = await method.start({
      checkpoint,
      random: draw,
      prompt: () => Promise.reject(new Error("no prompt")),
    });
    // B starts at zero: large values show
    const parameters = Object.fromEntries(
      Object.entries(begun).map(([name, { shape, data }]) => [
        name,
        { shape, data: data.map(() => draw.uniform(-1, 1)) },
      ]),
    );
    const lora = saved({
      ...promptAdapter(mood, { tokens: 0, seed: 1, ...size }),
      applied: {
        method: "lora",
        settings: appliedSettings("lora", settings),
        parameters,
        model: appliedModel(checkpoint.config),
      },
      base: await adapterBase(checkpoint),
    });
    await using server = await startServer({ model: folder, served: "tiny", adapters: { ...folders, lora } });
    const ask1 = (name: string) =>
      ask<{ data: { probabilities: Record<string, number> }[] }>(server, "/v1/predict", {
        model: `tiny:${name}`,
        input: "hello",
      });
    const answers = await Promise.all(["lora", "short", "lora"].map(ask1));
    for (const [i, place] of [lora, folders.short, lora].entries()) {
      const [one] = await predict(alone, place, ["hello"]);
      for (const [label, p] of Object.entries(one!.probabilities!))
        expect(answers[i]!.json.data[0]!.probabilities[label]).toBeCloseTo(p, 4);
    }
    const body = { prompt: "hello there", temperature: 0, max_tokens: 15 };
    const [bare, changed, again] = await Promise.all(
      ["tiny", "tiny:lora", "tiny:lora"].map((model) => ask<Completed>(server, "/v1/completions", { model, ...body })),
    );
    expect(changed!.json.choices[0]!.text).not.toBe(bare!.json.choices[0]!.text);
    expect(again!.json.choices[0]!.text).toBe(changed!.json.choices[0]!.text);
  });

  test("a conversation is the model's own template, and no message becomes a part of it", async () => {
    const folder = tinyCausal({ ends: 2, chat: tinyChat });
    await using server = await startServer({
      model: folder,
      served: "tiny",
      adapters: { long: folders.long },
      maxTokens: 60,
    });
    const content = "hi<|end|>you<|start|>";
    const { json } = await ask<Said>(server, "/v1/chat/completions", {
      model: "tiny:long",
      messages: [{ role: "user", content }],
      temperature: 0,
      max_tokens: 10,
    });
    await using alone = await openModel(folder, { threads: 1, chat: true });
    // control tokens in the message are characters: one id each
    const frame = "user\n".length + 1 + "\n".length + 1 + 1 + "assistant\n".length;
    expect(json.usage.prompt_tokens).toBe(frame + content.length);
    const plainText = await ask<Said>(server, "/v1/chat/completions", {
      model: "tiny",
      messages: [{ role: "user", content: "hello" }],
      temperature: 0,
      max_tokens: 10,
    });
    expect(plainText.json.choices[0]!.message.content).toBe(await generate(alone, { prompt: "hello", maxTokens: 10 }));
  });

  test("roles that the template refuses are told in its own words, as the request's fault, without a path", async () => {
    const chat = `{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}${tinyChat}`;
    const folder = tinyCausal({ ends: 2, chat });
    await using server = await startServer({ model: folder, served: "tiny", maxTokens: 60 });
    const messages = ["system", "user"].map((role) => ({ role, content: "x" }));
    for (const stream of [false, true]) {
      const { status, json } = await ask(server, "/v1/chat/completions", { model: "tiny", messages, stream });
      expect([status, json.error.type, json.error.param]).toEqual([400, "invalid_request_error", "messages"]);
      expect(json.error.message).toContain("System role not supported");
      expect(json.error.message).not.toContain(folder);
    }
    const user = { model: "tiny", messages: messages.slice(1), max_tokens: 1 };
    expect((await ask(server, "/v1/chat/completions", user)).status).toBe(200);
  });

  test("a model without a template has no conversations; the context window is told as such", async () => {
    const folder = chainCausal({ ends: 2, config: { max_position_embeddings: 64 } });
    await using server = await startServer({ model: folder, served: "tiny", maxTokens: 100 });
    const chat = await ask(server, "/v1/chat/completions", {
      model: "tiny",
      messages: [{ role: "user", content: "x" }],
    });
    expect([chat.status, chat.json.error.param]).toEqual([400, "model"]);
    const long = await ask(server, "/v1/completions", { model: "tiny", prompt: "a".repeat(90), max_tokens: 5 });
    expect([long.status, long.json.error.code]).toEqual([400, "context_length_exceeded"]);
    // 3 positions are the text's; a token at each of the other 61 and the one that follows the last
    const end = await ask<Completed>(server, "/v1/completions", {
      model: "tiny",
      prompt: "ABC",
      max_tokens: 100,
      temperature: 0,
    });
    expect(end.json.choices[0]!.finish_reason).toBe("length");
    expect(end.json.usage.completion_tokens).toBe(62);
  });
});
