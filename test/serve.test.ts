/**
 * @file softprompt serve on the bundled model: answers, batches of several adapters, adapters that come and go, overload, an orderly end.
 */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { z } from "zod";
import { SoftpromptError } from "../src/base/errors.js";
import { defineTask } from "../src/data/define.js";
import {
  completionResponse,
  errorResponse,
  healthResponse,
  metricsResponse,
  modelsResponse,
  predictResponse,
} from "../src/serve/schemas.js";
import type { Server } from "../src/serve/server.js";
import { openWatch } from "../src/serve/watch.js";
import { generate } from "../src/tasks/generate.js";
import { openModel } from "../src/tasks/model.js";
import { openPredictor, type PredictInput } from "../src/tasks/predictor.js";
import { makeBatch } from "../src/text/batch.js";
import { ask, promptAdapter, saved, startServer, streamed } from "./helpers/serve.js";

type Of<S extends z.ZodType> = z.infer<S>;
type Predicted = Of<typeof predictResponse>;
type Completed = Of<typeof completionResponse>;

const mood = defineTask({
  name: "mood",
  template: "sentence: {text}",
  verbalizer: { negative: "negative", positive: "positive" },
});
const team = defineTask({
  name: "team",
  template: "message: {message}",
  verbalizer: { money: "money", computer: "computer", person: "person" },
});
const pair = defineTask({
  name: "pair",
  template: "one: {a} two: {b}",
  verbalizer: { no: "no", yes: "yes" },
});
const folders = {
  reviews: saved(promptAdapter(mood, { tokens: 3, seed: 1 })),
  teams: saved(promptAdapter(team, { tokens: 20, seed: 2 })),
  one: saved(promptAdapter(mood, { tokens: 1, seed: 3 })),
  long: saved(promptAdapter(pair, { tokens: 100, seed: 4 })),
  plain: saved(promptAdapter(null, { tokens: 5, seed: 5 })),
};
const made = Object.values(folders);

let server: Server;
beforeAll(async () => {
  server = await startServer({ adapters: folders, maxRows: 40, maxPromptTokens: 200, maxTokens: 50 });
});
afterAll(async () => {
  await server.close();
  for (const folder of made) rmSync(folder, { recursive: true, force: true });
});

const texts = ["Fine.", "The soup was cold and the waiter rude, and nobody said a word about it.", "Ä 🙂 x", "no"];
/** Inputs of every adapter, mixed. */
const mixed = texts.flatMap((text) => [
  { adapter: "reviews", input: text },
  { adapter: "teams", input: { message: text } },
  { adapter: "one", input: text },
  { adapter: "long", input: { a: text, b: "other" } },
]) satisfies { adapter: string; input: PredictInput }[];

async function metric(of: Server, name: string): Promise<number> {
  const { json } = await ask<string>(of, "/metrics");
  return Number(new RegExp(`^${name} (.*)$`, "m").exec(json)?.[1]);
}

describe("POST /v1/predict", () => {
  test("requests of five adapters at once get what the library gives each of them alone", async () => {
    const answers = await Promise.all(
      mixed.map(({ adapter, input }) => ask<Predicted>(server, "/v1/predict", { model: `t5-nano:${adapter}`, input })),
    );
    await using model = await openModel("t5-nano", { threads: 1 });
    const { plain: _, ...withTasks } = folders;
    const predictor = await openPredictor(model, { adapters: withTasks });
    for (const [i, one] of mixed.entries()) {
      const { status, json } = answers[i]!;
      expect(status).toBe(200);
      expect(predictResponse.strict().parse(json).model).toBe(`t5-nano:${one.adapter}`);
      const [alone] = await predictor.predict([one]);
      const [given] = json.data;
      expect(given!.label).toBe(alone!.label);
      // other sums in a batch of other width: float32
      for (const [label, p] of Object.entries(alone!.probabilities!))
        expect(given!.probabilities![label]).toBeCloseTo(p, 4);
    }
  });

  test("rows of a request come back in their order, and count their tokens", async () => {
    const whole = await ask<Predicted>(server, "/v1/predict", { model: "t5-nano:reviews", input: texts });
    expect(whole.json.data.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    let tokens = 0;
    for (const [i, input] of texts.entries()) {
      const { json } = await ask<Predicted>(server, "/v1/predict", { model: "t5-nano:reviews", input });
      expect(json.data[0]!.label).toBe(whole.json.data[i]!.label);
      tokens += json.usage.prompt_tokens;
    }
    expect(whole.json.usage).toEqual({ prompt_tokens: tokens, total_tokens: tokens });
  });

  test("several models in one request: every input under each of them, as each alone", async () => {
    const model = ["t5-nano:reviews", "t5-nano:one", "t5-nano:reviews"];
    const { status, json } = await ask<Predicted>(server, "/v1/predict", { model, input: texts.slice(0, 2) });
    expect(status).toBe(200);
    expect(predictResponse.strict().parse(json).model).toEqual(model);
    expect(json.data.map(({ index, model }) => [index, model])).toEqual([...model, ...model].map((id, i) => [i, id]));
    for (const [i, { model, probabilities }] of json.data.entries()) {
      const body = { model, input: texts[Math.floor(i / 3)] };
      const alone = (await ask<Predicted>(server, "/v1/predict", body)).json.data[0]!;
      expect(alone.model).toBeUndefined();
      for (const [label, p] of Object.entries(alone.probabilities!)) expect(probabilities![label]).toBeCloseTo(p, 4);
    }
  });

  test("a text that is too long is cut, and that is told", async () => {
    const { json } = await ask<Predicted>(server, "/v1/predict", {
      model: "t5-nano:reviews",
      input: ["short", "word ".repeat(2000)],
    });
    expect(json.data.map(({ truncated }) => truncated)).toEqual([false, true]);
    expect(json.usage.prompt_tokens).toBeLessThan(300);
  });

  test.each([
    [{ model: "t5-nano:long", input: "one text" }, "input", /a, b/],
    [{ model: "t5-nano:long", input: [{ a: "x", b: "y" }, { a: "x" }] }, "input[1]", /b/],
    [{ model: "t5-nano:long", input: { a: "x", bb: "y" } }, "input", /column b is missing.*there is a column bb/],
    [{ model: "t5-nano:reviews", input: [] }, "input", /1/],
    [{ model: "t5-nano:reviews", input: Array(41).fill("x") }, "input", /40/],
    [{ model: "t5-nano", input: "x" }, "model", /no task/],
    [{ model: "t5-nano:plain", input: "x" }, "model", /no task/],
    [{ input: "x" }, "model", /^model is missing$/],
    [{ model: "t5-nano:reviews" }, "input", /^input is missing$/],
    [
      { model: "t5-nano:reviews", inputs: "x" },
      "input",
      /^input is missing; there is a field "inputs": did you mean input\?$/,
    ],
    [{ model: [], input: "x" }, "model", /1/],
    [{ model: ["t5-nano:reviews", "t5-nano"], input: "x" }, "model", /no task/],
    [{ model: Array(5).fill("t5-nano:reviews"), input: Array(9).fill("x") }, "model", /9 inputs under 5 models.*40/],
    [[], null, /object/],
  ] as const)("%j is refused, naming the field", async (body, param, message) => {
    const { status, json } = await ask(server, "/v1/predict", body);
    expect(status).toBe(400);
    expect(errorResponse.strict().parse(json).error.param).toBe(param);
    expect(json.error.message).toMatch(message);
  });
});

describe("POST /v1/completions of T5", () => {
  test("greedy texts of several adapters at once are what generate() writes for each alone", async () => {
    const prompts = ["sst2 sentence: A moving, funny film.", "sentence: Ä 🙂"];
    const names = [null, "reviews", "teams", "plain"] as const;
    const asked = names.flatMap((name) => prompts.map((prompt) => ({ name, prompt })));
    const answers = await Promise.all(
      asked.map(({ name, prompt }) =>
        ask<Completed>(server, "/v1/completions", {
          model: name === null ? "t5-nano" : `t5-nano:${name}`,
          prompt,
          temperature: 0,
          max_tokens: 12,
        }),
      ),
    );
    await using model = await openModel("t5-nano", { threads: 1 });
    for (const [i, { name, prompt }] of asked.entries()) {
      const { json } = answers[i]!;
      const text = await generate(model, {
        prompt,
        maxTokens: 12,
        ...(name === null ? {} : { adapter: folders[name] }),
      });
      expect(completionResponse.strict().parse(json).choices[0]!.text).toBe(text);
      const { usage } = json;
      expect(usage.total_tokens).toBe(usage.prompt_tokens + usage.completion_tokens);
    }
  });

  test("a seed decides what is drawn, whatever stands beside it", async () => {
    const body = { model: "t5-nano:plain", prompt: "a", temperature: 1.5, seed: 7, max_tokens: 20 };
    const other = { ...body, model: "t5-nano:teams", prompt: "other text", seed: 8 };
    const [first, , second] = await Promise.all(
      [body, other, body].map((b) => ask<Completed>(server, "/v1/completions", b)),
    );
    const alone = await ask<Completed>(server, "/v1/completions", body);
    await using model = await openModel("t5-nano", { threads: 1 });
    const library = await generate(model, {
      prompt: "a",
      adapter: folders.plain,
      temperature: 1.5,
      seed: 7,
      maxTokens: 20,
    });
    for (const { json } of [first!, second!, alone]) expect(json.choices[0]!.text).toBe(library);
  });

  test("prompts have four forms; each is one choice in its place", async () => {
    const ask4 = async (prompt: unknown) => {
      const { status, json } = await ask<Completed>(server, "/v1/completions", {
        model: "t5-nano",
        prompt,
        temperature: 0,
      });
      expect(status).toBe(200);
      return json.choices.map(({ index, text }) => [index, text]);
    };
    const [[, one]] = (await ask4("sst2 sentence: awful")) as [[number, string]];
    const [[, two]] = (await ask4("sst2 sentence: lovely")) as [[number, string]];
    expect(await ask4(["sst2 sentence: awful", "sst2 sentence: lovely"])).toEqual([
      [0, one],
      [1, two],
    ]);
    await using model = await openModel("t5-nano", { threads: 1 });
    const ids = (text: string) => model.tokenizer.encode(text, { special: true });
    expect(await ask4(ids("sst2 sentence: awful"))).toEqual([[0, one]]);
    expect(await ask4([ids("sst2 sentence: awful"), ids("sst2 sentence: lovely")])).toEqual([
      [0, one],
      [1, two],
    ]);
  });

  test("max_tokens ends with length, an end token with stop; a stop string is no part of the text", async () => {
    const body = { model: "t5-nano:plain", prompt: "a", temperature: 1.5, seed: 7, max_tokens: 20 };
    const whole = (await ask<Completed>(server, "/v1/completions", body)).json.choices[0]!.text;
    const short = (await ask<Completed>(server, "/v1/completions", { ...body, max_tokens: 1 })).json;
    expect(short.choices[0]!.finish_reason).toBe("length");
    expect(short.usage.completion_tokens).toBe(1);
    const wins = (await ask<Completed>(server, "/v1/completions", { ...body, max_completion_tokens: 2 })).json;
    expect(wins.usage.completion_tokens).toBe(2);
    const stop = whole.slice(3, 6);
    const stopped = (await ask<Completed>(server, "/v1/completions", { ...body, stop })).json;
    expect(stopped.choices[0]).toMatchObject({ text: whole.slice(0, whole.indexOf(stop)), finish_reason: "stop" });
    const said = (
      await ask<Completed>(server, "/v1/completions", {
        model: "t5-nano",
        prompt: "sst2 sentence: awful",
        temperature: 0,
      })
    ).json;
    expect(said.choices[0]!.finish_reason).toBe("stop");
  });

  test("a stream is the same text in pieces, framed, with a last event", async () => {
    const body = { model: "t5-nano:plain", prompt: ["a", "b"], temperature: 1.2, seed: 3, max_tokens: 25 };
    const { json } = await ask<Completed>(server, "/v1/completions", body);
    const events = await streamed(server, "/v1/completions", { ...body, stream_options: { include_usage: true } });
    expect(events.every((event) => event.startsWith("data: ") && !event.includes("\n"))).toBe(true);
    expect(events.at(-1)).toBe("data: [DONE]");
    const chunks = events.slice(0, -1).map((event) => JSON.parse(event.slice(6)));
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: json.usage });
    for (const choice of json.choices) {
      const mine = chunks.flatMap(({ choices }) => choices).filter(({ index }) => index === choice.index);
      expect(mine.map(({ text }) => text).join("")).toBe(choice.text);
      expect(mine.map(({ finish_reason }) => finish_reason).filter(Boolean)).toEqual([choice.finish_reason]);
    }
    const silent = await streamed(server, "/v1/completions", { ...body, stream_options: { include_usage: false } });
    expect(silent.join()).not.toContain("usage");
  });

  test("log-probabilities are the log-softmax of the model's logits, drawn or greedy, whole or streamed", async () => {
    await using model = await openModel("t5-nano", { threads: 1 });
    const { tokenizer, engine } = model;
    const prompt = "sst2 sentence: A moving, funny film.";
    const input = Int32Array.from(tokenizer.encode(prompt, { special: true }));
    const none = { prompt: { shape: [0, 128], data: new Float32Array(0) } };
    for (const temperature of [0, 1.5]) {
      const body = { model: "t5-nano", prompt, temperature, seed: 7, top_k: 5, max_tokens: 6, logprobs: 3 };
      const [{ json }, plain] = await Promise.all([
        ask<Completed>(server, "/v1/completions", body),
        ask<Completed>(server, "/v1/completions", { ...body, logprobs: null }),
      ]);
      const { text, logprobs } = completionResponse.strict().parse(json).choices[0]!;
      // asking for them changes no text
      expect(plain.json.choices[0]).toMatchObject({ text, logprobs: null });
      const { tokens, token_logprobs, top_logprobs, text_offset } = logprobs!;
      expect(tokens).toHaveLength(json.usage.completion_tokens);
      expect(tokens.join("")).toBe(text);
      expect(text_offset).toEqual(tokens.map((_, i) => tokens.slice(0, i).join("").length));
      // the same tokens, teacher-forced through the library's own forward pass
      const named = (id: number, i: number) => tokenizer.decode([id], { continues: i > 0, keepSpecial: true });
      const { logits, ids } = await forced(tokens);
      for (const [i, id] of ids.entries()) {
        const row = logits.data.subarray(i * logits.shape[2]!, (i + 1) * logits.shape[2]!);
        const sum = row.reduce((all, logit) => all + Math.exp(logit), 0);
        const all = Array.from(row, (logit, other) => ({ other, value: logit - Math.log(sum) }));
        expect(token_logprobs[i]).toBeCloseTo(all[id]!.value, 3);
        const likeliest = all.sort((a, b) => b.value - a.value).slice(0, 3);
        for (const { other, value } of likeliest) expect(top_logprobs![i]![named(other, i)]).toBeCloseTo(value, 3);
        expect(Object.keys(top_logprobs![i]!).length).toBe(likeliest.some(({ other }) => other === id) ? 3 : 4);
      }
      const events = await streamed(server, "/v1/completions", body);
      const pieces = events.slice(0, -1).map((event) => JSON.parse(event.slice(6)).choices[0].logprobs);
      const joined = pieces.filter((piece) => piece !== null);
      expect(joined.flatMap((piece) => piece.tokens)).toEqual(tokens);
      expect(joined.flatMap((piece) => piece.text_offset)).toEqual(text_offset);
      for (const [i, value] of joined.flatMap((piece) => piece.token_logprobs).entries())
        expect(value).toBeCloseTo(token_logprobs[i]!, 4);

      async function forced(tokens: readonly string[]) {
        const known = new Map(Array.from({ length: tokenizer.size }, (_, id) => [named(id, 1), id]));
        const first = Array.from({ length: tokenizer.size }, (_, id) => id).find((id) => named(id, 0) === tokens[0]);
        const ids = tokens.map((token, i) => (i === 0 ? first! : known.get(token)!));
        const batch = makeBatch([{ input, target: Int32Array.from(ids) } as never]);
        const { logits } = await (await engine.forward()).run(none, batch);
        expect(logits.shape.slice(0, 2)).toEqual([1, ids.length]);
        return { logits, ids };
      }
    }
  });

  test.each([
    [{ n: 2 }, "n", /one answer/],
    [{ best_of: 3 }, "best_of", /one answer/],
    [{ echo: true }, "echo", /not repeated/],
    [{ logprobs: 21 }, "logprobs", /20/],
    [{ logprobs: true }, "logprobs", /number/],
    [{ response_format: { type: "json_object" } }, "response_format", /text/],
    [{ response_format: { type: "json_schema", json_schema: {} } }, "response_format", /text/],
    [{ tools: [{ type: "function", function: { name: "f" } }] }, "tools", /not supported/],
    [{ logit_bias: { "5": 1 } }, "logit_bias", /not supported/],
    [{ presence_penalty: 1 }, "presence_penalty", /not supported/],
    [{ suffix: "x" }, "suffix", /gap/],
    [{ max_tokens: 51 }, "max_tokens", /50/],
    [{ max_tokens: 0 }, "max_tokens", /1/],
    [{ temperature: 3 }, "temperature", /2/],
    [{ top_p: 0 }, "top_p", /0/],
    [{ stop: ["a", "b", "c", "d", "e"] }, "stop", /4/],
    [{ stop: "" }, "stop", /1/],
    [{ stop: ["x".repeat(300)] }, "stop[0]", /256/],
    [{ seed: -1 }, "seed", /0/],
    [{ seed: 1.5 }, "seed", /int/],
    [{ seed: 2 ** 60 }, "seed", /int|9007199254740991/],
    [{ max_tokens: -5 }, "max_tokens", /1/],
    [{ max_tokens: 2.5 }, "max_tokens", /int/],
    [{ max_tokens: "8" }, "max_tokens", /number/],
    [{ max_completion_tokens: 1e9 }, "max_completion_tokens", /50/],
    [{ temperature: -0.1 }, "temperature", /0/],
    [{ temperature: "NaN" }, "temperature", /number/],
    [{ top_p: 1.01 }, "top_p", /1/],
    [{ top_k: -1 }, "top_k", /0/],
    [{ stop: [1] }, "stop[0]", /string/],
    [{ stop: Array(100_000).fill("a") }, "stop", /4/],
    [{ stream: "yes" }, "stream", /boolean/],
    [{ prompt: [5, -1] }, "prompt[1]", /0/],
    [{ prompt: [5, 1.5] }, "prompt[1]", /int/],
    [{ prompt: [[5], []] }, "prompt[1]", /1/],
    [{ prompt: [] }, "prompt", /1/],
    [{ prompt: [5, 999999] }, "prompt", /no such token/],
    [{ prompt: Array(41).fill("x") }, "prompt", /40/],
    [{ prompt: "word ".repeat(400) }, "prompt", /too long/],
    [{ prompt: Array(300).fill(5) }, "prompt", /200/],
  ] as const)("%j is refused by name", async (more, param, message) => {
    const { status, json } = await ask(server, "/v1/completions", { model: "t5-nano", prompt: "a", ...more });
    expect([status, json.error.param]).toEqual([400, param]);
    expect(json.error.message).toMatch(message);
  });

  test("what changes nothing is taken: defaults by name, null, fields that nobody knows", async () => {
    const more = {
      n: 1,
      best_of: 1,
      echo: false,
      logprobs: null,
      logit_bias: {},
      presence_penalty: 0,
      frequency_penalty: 0,
    };
    const odd = { user: "u", metadata: { a: "b" }, store: false, session_id: "7", constructor: { prototype: 1 } };
    const { status } = await ask(server, "/v1/completions", { model: "t5-nano", prompt: "a", ...more, ...odd });
    expect(status).toBe(200);
  });

  test("numbers beyond a double are refused, and nothing after them is worse", async () => {
    for (const number of ["1e999", "-1e999", "NaN", "Infinity", "0x10"]) {
      const answer = await fetch(`${server.url}/v1/completions`, {
        method: "POST",
        headers: { authorization: `Bearer ${server.token}`, "content-type": "application/json" },
        body: `{"model":"t5-nano","prompt":"a","max_tokens":1,"temperature":${number}}`,
      });
      expect(answer.status, number).toBe(400);
      errorResponse.strict().parse(await answer.json());
    }
    const { status } = await ask(server, "/v1/completions", { model: "t5-nano", prompt: "a", max_tokens: 1 });
    expect(status).toBe(200);
  });

  test("a prompt that is too long says so by a code, streamed too", async () => {
    for (const stream of [false, true]) {
      const { status, json } = await ask(server, "/v1/completions", {
        model: "t5-nano",
        prompt: "word ".repeat(400),
        stream,
      });
      expect([status, json.error.code]).toEqual([400, "context_length_exceeded"]);
    }
  });
});

test("a server of labels alone answers them, and refuses texts by name", async () => {
  await using labels = await startServer({ adapters: { reviews: folders.reviews }, onlyLabels: true });
  const { status, json } = await ask<Predicted>(labels, "/v1/predict", { model: "t5-nano:reviews", input: "Fine." });
  expect(status).toBe(200);
  const both = await ask<Predicted>(server, "/v1/predict", { model: "t5-nano:reviews", input: "Fine." });
  for (const [label, p] of Object.entries(both.json.data[0]!.probabilities!))
    expect(json.data[0]!.probabilities![label]).toBeCloseTo(p, 4);
  for (const model of ["t5-nano", "t5-nano:reviews"]) {
    const refused = await ask(labels, "/v1/completions", { model, prompt: "a" });
    expect([refused.status, refused.json.error.param, refused.json.error.code]).toEqual([
      400,
      "model",
      "unsupported_model",
    ]);
    expect(refused.json.error.message).toMatch(/labels alone/);
  }
  await expect(labels.add("plain", folders.plain)).rejects.toThrow(/has no task/);
});

describe("models", () => {
  test("everything that is listed can be fetched by its id", async () => {
    const { json } = await ask<Of<typeof modelsResponse>>(server, "/v1/models");
    expect(modelsResponse.parse(json).data.map(({ id }) => id)).toEqual(server.models);
    expect(server.models).toEqual(["t5-nano", ...Object.keys(folders).map((name) => `t5-nano:${name}`)]);
    for (const { id, ...rest } of json.data) {
      const one = await ask(server, `/v1/models/${encodeURIComponent(id)}`);
      expect(one.json).toEqual({ id, ...rest });
    }
  });
  test("an unknown one is told in OpenAI's way, whatever asks for it", async () => {
    for (const path of ["/v1/predict", "/v1/completions"])
      for (const model of [
        "t5-nano:nobody",
        "nobody",
        "t5-nano:",
        "T5-nano",
        "__proto__",
        "t5-nano:__proto__",
        "t5-nano:constructor",
      ]) {
        const { status, json } = await ask(server, path, { model, input: "x", prompt: "x" });
        expect([status, json.error.code]).toEqual([404, "model_not_found"]);
      }
    expect((await ask(server, "/v1/models/nobody")).status).toBe(404);
  });
  test("what is missing inside a field is named by its place", async () => {
    for (const [message, param] of [
      [{ content: "hi" }, "messages[0].role"],
      [{ role: "user" }, "messages[0].content"],
    ] as const) {
      const { status, json } = await ask(server, "/v1/chat/completions", { model: "t5-nano", messages: [message] });
      expect([status, json.error.param, json.error.message]).toEqual([400, param, `${param} is missing`]);
    }
  });
  test("T5 has no conversations", async () => {
    const { status, json } = await ask(server, "/v1/chat/completions", {
      model: "t5-nano",
      messages: [{ role: "user", content: "hi" }],
    });
    expect([status, json.error.param]).toEqual([400, "model"]);
    expect(json.error.message).toMatch(/chat template/);
  });
});

describe("what stands beside", () => {
  test("/health needs no token and tells nothing but a state", async () => {
    const { status, json } = await ask({ url: server.url, token: null }, "/health");
    expect([status, healthResponse.strict().parse(json)]).toEqual([200, { status: "ok" }]);
  });
  test("/openapi.json has every route, made of the schemas that check", async () => {
    const { json } = await ask<{ openapi: string; paths: Record<string, object> }>(server, "/openapi.json");
    expect(json.openapi).toBe("3.1.0");
    expect(Object.keys(json.paths).sort()).toEqual(
      [
        "/health",
        "/metrics",
        "/openapi.json",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/models",
        "/v1/models/{id}",
        "/v1/predict",
      ].sort(),
    );
    const text = JSON.stringify(json);
    for (const field of ["max_completion_tokens", "include_usage", "probabilities", "finish_reason"])
      expect(text).toContain(field);
  });
  test("metrics as JSON are those of the text", async () => {
    type Measured = Record<string, { type: string; values: { labels: object; value: number; count: number }[] }>;
    await ask(server, "/v1/predict", { model: "t5-nano:reviews", input: "x" });
    const { json: text, headers } = await ask<string>(server, "/metrics");
    expect(headers.get("content-type")).toContain("text/plain");
    const byQuery = await ask<Measured>(server, "/metrics?format=json");
    const byHeader = await ask<Measured>(server, "/metrics", undefined, { accept: "application/json" });
    for (const { json } of [byQuery, byHeader]) {
      metricsResponse.parse(json);
      // families in their order, and of each what does not change from one request to the next
      expect(Object.entries(json).map(([name, { type }]) => `# TYPE ${name} ${type}`)).toEqual(
        text.split("\n").filter((line) => line.startsWith("# TYPE")),
      );
      const read = json.softprompt_tokens_total!.values.find(
        ({ labels }) => JSON.stringify(labels) === '{"model":"t5-nano:reviews","direction":"read"}',
      );
      expect(text).toContain(
        `softprompt_tokens_total{model="t5-nano:reviews",direction="read"} ${read?.value ?? "absent"}\n`,
      );
      const predicted = json.softprompt_batch_rows!.values.find(
        ({ labels }) => JSON.stringify(labels) === '{"what":"predict"}',
      )!;
      expect(text).toContain(`softprompt_batch_rows_count{what="predict"} ${predicted.count}\n`);
      expect(text).toContain(`softprompt_batch_rows_bucket{what="predict",le="+Inf"} ${predicted.count}\n`);
    }
    // what Prometheus itself sends
    const scraped = {
      accept: "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
    };
    expect((await ask(server, "/metrics", undefined, scraped)).headers.get("content-type")).toContain("text/plain");
    const wrong = await ask(server, "/metrics?format=xml");
    expect([wrong.status, wrong.json.error.param]).toEqual([400, "format"]);
  });
  test("metrics of models that are not there make no new series", async () => {
    const size = async () => (await ask<string>(server, "/metrics")).json.split("\n").length;
    await ask(server, "/v1/models/nobody0");
    await ask(server, "/v1/predict", { model: "nobody0", input: "x" });
    await ask(server, "/nobody0");
    await size();
    const before = await size();
    for (let i = 1; i < 30; i++) {
      await ask(server, `/v1/models/nobody${i}`);
      await ask(server, "/v1/predict", { model: `nobody${i}`, input: "x" });
      await ask(server, `/nobody${i}`);
    }
    expect(await size()).toBe(before);
  });
});

describe("adapters that come and go", () => {
  test("by the library: added, replaced, refused without harm, taken out", async () => {
    const folder = saved(promptAdapter(mood, { tokens: 2, seed: 9 }));
    await server.add("later", folder);
    const predict = () => ask<Predicted>(server, "/v1/predict", { model: "t5-nano:later", input: "Fine." });
    const first = (await predict()).json.data[0]!.probabilities!;
    await server.add("later", saved(promptAdapter(team, { tokens: 2, seed: 10 }), folder));
    expect(Object.keys((await predict()).json.data[0]!.probabilities!)).toEqual(["money", "computer", "person"]);
    await expect(server.add("later", join(folder, "nothing"))).rejects.toMatchObject({ kind: "adapter" });
    await expect(
      server.add("later", saved(promptAdapter(mood, { tokens: 2, seed: 1, width: 64 }))),
    ).rejects.toMatchObject({ kind: "adapter" });
    await expect(server.add("a/b", folder)).rejects.toMatchObject({ kind: "usage" });
    expect((await predict()).status).toBe(200);
    expect(first).toHaveProperty("negative");
    expect(server.remove("later")).toBe(true);
    expect(server.remove("later")).toBe(false);
    expect((await predict()).status).toBe(404);
  });

  test("under load every answer is that of the adapter it named", async () => {
    const places = Array.from({ length: 6 }, (_, i) => saved(promptAdapter(mood, { tokens: i + 1, seed: 100 + i })));
    const right: number[] = [];
    for (const [i, place] of places.entries()) {
      await server.add(`load${i}`, place);
      const { json } = await ask<Predicted>(server, "/v1/predict", { model: `t5-nano:load${i}`, input: "Fine." });
      right.push(json.data[0]!.probabilities!.positive!);
    }
    let answered = 0;
    const clients = places.map(async (_, i) => {
      for (let n = 0; n < 12; n++) {
        const { status, json } = await ask<Predicted>(server, "/v1/predict", {
          model: `t5-nano:load${i}`,
          input: ["Fine.", "Fine."],
        });
        // its adapter may be out just now, but never another's
        if (status === 404) continue;
        expect(status).toBe(200);
        for (const { probabilities } of json.data) expect(probabilities!.positive).toBeCloseTo(right[i]!, 4);
        answered++;
      }
    });
    const changes = (async () => {
      for (let n = 0; n < 18; n++) {
        const i = (n * 5) % places.length;
        if (n % 3 === 0) server.remove(`load${i}`);
        await server.add(`load${i}`, places[i]!);
      }
    })();
    await Promise.all([...clients, changes]);
    expect(answered).toBeGreaterThan(30);
    for (const i of places.keys()) server.remove(`load${i}`);
  });

  test("a watched folder: what is complete is taken, what changes is replaced, what goes is taken out", async () => {
    const folder = mkdtempSync(join(tmpdir(), "softprompt-watched-"));
    cpSync(folders.reviews, join(folder, "first"), { recursive: true });
    const told: string[] = [];
    const has = new Map<string, string>();
    const broken = new Set<string>();
    const watch = await openWatch(
      folder,
      {
        async add(name, place) {
          if (broken.has(name)) throw new SoftpromptError("adapter", "it is broken", { where: place, hint: "mend it" });
          has.set(name, readFileSync(join(place, "adapter_config.json"), "utf8"));
        },
        remove: (name) => void has.delete(name),
        notice: (message) => told.push(message),
        taken: (name) => name === "mine",
        has: (name) => has.has(name),
      },
      1_000_000,
    );
    expect([...has.keys()]).toEqual(["first"]);
    // half of a new one: not before it rests
    mkdirSync(join(folder, "second"));
    writeFileSync(join(folder, "second/adapter_config.json"), "{}");
    await watch.look();
    writeFileSync(join(folder, "second/adapter_model.safetensors"), "x");
    await watch.look();
    expect(has.has("second")).toBe(false);
    await watch.look();
    expect(has.has("second")).toBe(true);
    // renamed into place, a name of others, a link that leads away, a name that is none
    renameSync(join(folder, "second"), join(folder, "third"));
    cpSync(folders.reviews, join(folder, "mine"), { recursive: true });
    symlinkSync(folders.teams, join(folder, "link"));
    mkdirSync(join(folder, "a b"));
    writeFileSync(join(folder, "note.txt"), "");
    for (let i = 0; i < 3; i++) await watch.look();
    expect([...has.keys()].sort()).toEqual(["first", "third"]);
    expect(told.filter((message) => message.includes("link"))).toHaveLength(1);
    expect(told.filter((message) => message.includes("command line"))).toHaveLength(1);
    // one that becomes bad: told once, the old one stays
    broken.add("first");
    writeFileSync(join(folder, "first/adapter_config.json"), "{ }");
    const before = told.length;
    for (let i = 0; i < 4; i++) await watch.look();
    expect(has.get("first")).not.toBe("{ }");
    // errors have several lines; a log has one for each notice
    expect(told.slice(before)).toEqual([
      expect.stringMatching(/^adapter first was not taken: .*it is broken; .*mend it$/),
    ]);
    // the folder itself goes away for a moment: nothing is taken out
    renameSync(folder, `${folder}-away`);
    await watch.look();
    expect(has.size).toBe(2);
    renameSync(`${folder}-away`, folder);
    rmSync(join(folder, "third"), { recursive: true });
    await watch.look();
    expect([...has.keys()]).toEqual(["first"]);
    await watch.close();
    rmSync(folder, { recursive: true });
  });

  test("an adapter of the watched folder that the program takes out stays out until its files change", async () => {
    const folder = mkdtempSync(join(tmpdir(), "softprompt-watched-"));
    cpSync(folders.reviews, join(folder, "first"), { recursive: true });
    await using watching = await startServer({ adaptersFolder: folder });
    expect(watching.models).toEqual(["t5-nano", "t5-nano:first"]);
    expect([watching.remove("first"), watching.remove("first")]).toEqual([true, false]);
    await new Promise((resolve) => setTimeout(resolve, 2500));
    expect(watching.models).toEqual(["t5-nano"]);
    cpSync(folders.one, join(folder, "first"), { recursive: true });
    await expect.poll(() => watching.models, { timeout: 20_000 }).toContain("t5-nano:first");
    rmSync(folder, { recursive: true });
  });
});

describe("load", () => {
  test("what finds no place is told to come again; nothing that was taken is lost; those who leave free their places", async () => {
    await using small = await startServer({ adapters: { reviews: folders.reviews }, maxQueue: 6, maxTokens: 400 });
    const long = { model: "t5-nano:reviews", prompt: "a", temperature: 2, max_tokens: 400, stop: [] };
    const all = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        ask<Completed>(small, "/v1/completions", { ...long, seed: i, max_tokens: 30 }),
      ),
    );
    const statuses = all.map(({ status }) => status);
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(6);
    const refused = all.filter(({ status }) => status !== 200);
    expect(refused.length).toBeGreaterThan(0);
    for (const { status, headers, json } of refused) {
      expect(status).toBe(429);
      expect(headers.get("retry-after")).toMatch(/^[1-9]\d*$/);
      expect((json as unknown as Of<typeof errorResponse>).error.code).toBe("overloaded");
    }
    // a request that never finds place is not told to come again
    const never = await ask(small, "/v1/completions", { ...long, prompt: Array(7).fill("a") });
    expect([never.status, never.json.error.param, never.json.error.message]).toEqual([
      400,
      "prompt",
      expect.stringMatching(/^7 rows; at most 6 /),
    ]);
    const leave = new AbortController();
    const gone = Array.from({ length: 6 }, (_, i) =>
      fetch(`${small.url}/v1/completions`, {
        method: "POST",
        headers: { authorization: `Bearer ${small.token}`, "content-type": "application/json" },
        body: JSON.stringify({ ...long, seed: i, stream: i % 2 === 0 }),
        signal: leave.signal,
      }).then(
        (response) => response.text(),
        () => "left",
      ),
    );
    await new Promise((resolve) => setTimeout(resolve, 50));
    leave.abort();
    await Promise.allSettled(gone);
    await expect
      .poll(async () => (await metric(small, "softprompt_running")) + (await metric(small, "softprompt_waiting")))
      .toBe(0);
    expect((await ask(small, "/v1/predict", { model: "t5-nano:reviews", input: "x" })).status).toBe(200);
  });

  test("/health is answered while a batch is computed", async () => {
    const rows = Array.from({ length: 40 }, () => "word ".repeat(150));
    const busy = ask<Predicted>(server, "/v1/predict", {
      model: "t5-nano:teams",
      input: rows.map((message) => ({ message })),
    });
    let [health, done] = [0, false];
    void busy.then(() => {
      done = true;
    });
    while (!done) {
      expect((await ask(server, "/health")).status).toBe(200);
      health++;
    }
    expect((await busy).status).toBe(200);
    // with the engine in this thread there would be one answer before the batch and none during it
    expect(health).toBeGreaterThan(3);
  });

  test("a request that takes too long ends with 504 and is not asked again", async () => {
    await using slow = await startServer({ requestTimeout: 0.1, maxTokens: 2000, adapters: { plain: folders.plain } });
    const body = { model: "t5-nano:plain", prompt: Array(40).fill("a"), temperature: 2, max_tokens: 2000 };
    const { status, json, headers } = await ask(slow, "/v1/completions", body);
    expect([status, json.error.code, headers.get("x-should-retry")]).toEqual([504, "timeout", "false"]);
    await expect.poll(() => metric(slow, "softprompt_running")).toBe(0);
  });
});

describe("an orderly end", () => {
  test("what runs is ended, what comes is refused, and the stream is whole", async () => {
    const ending = await startServer({ adapters: { plain: folders.plain } });
    const body = { model: "t5-nano:plain", prompt: "a", temperature: 2, seed: 1, max_tokens: 200 };
    const kept = await ask<Completed>(ending, "/v1/completions", body);
    const response = await fetch(`${ending.url}/v1/completions`, {
      method: "POST",
      headers: { authorization: `Bearer ${ending.token}`, "content-type": "application/json" },
      body: JSON.stringify({ ...body, stream: true }),
    });
    const closing = ending.close(30);
    const text = await response.text();
    const pieces = text.split("\n\n").filter((event) => event.startsWith("data: {"));
    expect(pieces.map((event) => JSON.parse(event.slice(6)).choices[0].text).join("")).toBe(kept.json.choices[0]!.text);
    expect(text).toMatch(/data: \[DONE\]\n\n$/);
    expect(await closing).toEqual({ cut: 0 });
    await expect(ask(ending, "/health")).rejects.toThrow();
    expect(await ending.close()).toEqual({ cut: 0 });
  });

  /** Thirty texts that do not end by themselves for long. */
  const longStream = ({ url, token }: Pick<Server, "url" | "token">, signal: AbortSignal | null = null) =>
    fetch(`${url}/v1/completions`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify({
        model: "t5-nano:plain",
        prompt: Array(30).fill("a"),
        temperature: 2,
        seed: 1,
        max_tokens: 5000,
        stream: true,
      }),
      signal,
    });

  test("while it ends it listens, and tells whoever comes to come again; then it is gone", async () => {
    const ending = await startServer({ adapters: folders, maxTokens: 5000 });
    const leave = new AbortController();
    const response = await longStream(ending, leave.signal);
    const text = response.text().catch(() => "left");
    const closing = ending.close(30);
    const health = await ask({ url: ending.url, token: null }, "/health");
    expect([health.status, healthResponse.strict().parse(health.json)]).toEqual([503, { status: "stopping" }]);
    const others = [
      health,
      await ask(ending, "/v1/predict", { model: "t5-nano:reviews", input: "x" }),
      await ask(ending, "/v1/completions", { model: "t5-nano", prompt: "x" }),
      await ask(ending, "/v1/models"),
      await ask(ending, "/metrics"),
    ];
    for (const { status, headers } of others)
      expect([status, headers.get("retry-after"), headers.get("connection")]).toEqual([503, "1", "close"]);
    expect(others[1]!.json.error.code).toBe("stopping");
    expect((await ask({ url: ending.url, token: null }, "/v1/models")).status).toBe(401);
    leave.abort();
    expect(await text).toBe("left");
    await closing;
    await expect(ask(ending, "/health")).rejects.toThrow();
  });

  test("what is not ended in time is told so in its stream", async () => {
    const ending = await startServer({ adapters: { plain: folders.plain }, maxTokens: 5000 });
    const response = await longStream(ending);
    const text = response.text();
    const { cut } = await ending.close(0);
    expect(cut).toBeGreaterThan(0);
    const last = (await text).trim().split("\n\n").at(-1)!;
    expect(JSON.parse(last.slice(6)).error).toMatchObject({ type: "server_error", code: "stopping" });
  });
});
