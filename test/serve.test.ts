/**
 * @file softprompt serve on the bundled model and on a small random decoder: answers, batches, adapters that come and go.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { defineTask } from "../src/data/define.js";
import { openModel } from "../src/tasks/model.js";
import { openPredictor } from "../src/tasks/predictor.js";
import type { Server } from "../src/serve/server.js";
import { ask, promptAdapter, saved, startServer } from "./helpers/serve.js";

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
const folders = {
  reviews: saved(promptAdapter(mood, { tokens: 3, seed: 1 })),
  teams: saved(promptAdapter(team, { tokens: 20, seed: 2 })),
  one: saved(promptAdapter(mood, { tokens: 1, seed: 3 })),
};

let server: Server;
beforeAll(async () => {
  server = await startServer({ adapters: folders });
});
afterAll(() => server.close());

describe("predict", () => {
  test("answers", async () => {
    const { status, json } = await ask(server, "/v1/predict", { model: "t5-nano:reviews", input: "Fine." });
    console.log(JSON.stringify(json));
    expect(status).toBe(200);
    console.log(JSON.stringify((await ask(server, "/v1/models")).json));
    console.log((await ask(server, "/metrics")).json);
    console.log(JSON.stringify((await ask(server, "/v1/completions", { model: "t5-nano", prompt: "sst2 sentence: Fine.", temperature: 0 })).json));
  });
});
