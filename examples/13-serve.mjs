/** @file From training to a served prompt: tune, serve, and ask with OpenAI's own client and by label. */
import { rmSync } from "node:fs";
import OpenAI from "openai"; // npm install openai
import { generate, loadData, openModel, predict, saveAdapter, tune } from "softprompt";
import { openServer } from "softprompt/serve";
import { check, steps } from "./check.mjs";

const folder = "runs/example-serve";
const prompt = "sst2 sentence: a charming and often affecting journey";

// 1. a prompt, saved as an adapter of a few kilobytes
const model = await openModel("t5-nano");
let adapter, offline, written;
try {
  const data = await loadData({ task: "quickstart" });
  ({ adapter } = await tune(model, data, { virtualTokens: 20, steps: steps(30), batchSize: 8, baselines: false }));
  saveAdapter(folder, adapter);
  [offline] = await predict(model, adapter, ["The soup was cold and the waiter rude."]);
  written = await generate(model, { prompt, adapter, maxTokens: 8 });
} finally {
  await model.dispose();
}

// 2. a server: the frozen model once, and any number of adapters beside each other (on the command line: softprompt serve)
const server = await openServer({ model: "t5-nano", adapters: { reviews: folder }, port: 0 });
try {
  // 3. OpenAI's client needs the address and the token, nothing else
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: server.token });
  const listed = (await client.models.list()).data.map(({ id }) => id);
  check(listed.includes("t5-nano:reviews"), "the adapter is a model of the server");

  const asked = { model: "t5-nano:reviews", prompt, max_tokens: 8, temperature: 0 };
  const { choices } = await client.completions.create(asked);
  check(choices[0].text === written, "a completion is what generate() writes");
  let streamed = "";
  for await (const chunk of await client.completions.create({ ...asked, stream: true }))
    streamed += chunk.choices[0]?.text ?? "";
  check(streamed === written, "the same as a stream");

  // 4. labels with their probabilities: the task's template is put around the input
  const body = { model: "t5-nano:reviews", input: "The soup was cold and the waiter rude." };
  const { data } = await client.post("/predict", { body });
  console.log(data[0]);
  const near = Object.entries(data[0].probabilities).every(([k, p]) => Math.abs(p - offline.probabilities[k]) < 1e-4);
  check(near && data[0].label === offline.label, "a prediction is what predict() answers");
} finally {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
}
