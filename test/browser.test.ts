/**
 * @file Exported models in a real headless Chromium, on WebAssembly: transformers.js's pipelines write the texts that we write. The number
 * type is not named: a browser would take quantised files by itself, and config.json says which there are.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { exportModel } from "../src/tasks/export.js";
import { generate } from "../src/tasks/generate.js";
import { openModel } from "../src/tasks/model.js";
import { promptAdapter } from "./helpers/adapters.js";
import { findChromium, inChromium } from "./helpers/chromium.js";
import { inEightBits } from "./helpers/exported-eight-bit.js";
import { tinyCausal } from "./helpers/tiny-causal.js";

const root = mkdtempSync(join(tmpdir(), "softprompt-browser-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const browser = findChromium();
const modules = join(dirname(fileURLToPath(import.meta.url)), "../node_modules");
const folders = {
  transformers: join(modules, "@huggingface/transformers/dist"),
  ort: join(modules, "onnxruntime-web/dist"),
  models: root,
};

/** What a pipeline writes in the page. */
const page = (kind: string, folder: string, texts: readonly string[], maxTokens: number, more: object) => `
  const { env, pipeline } = await import("/transformers/transformers.js");
  Object.assign(env, { allowRemoteModels: false, allowLocalModels: true, localModelPath: "/models/", useBrowserCache: false });
  const wasm = "/ort/ort-wasm-simd-threaded.asyncify";
  env.backends.onnx.wasm.wasmPaths = { mjs: new URL(wasm + ".mjs", location).href, wasm: new URL(wasm + ".wasm", location).href };
  env.backends.onnx.wasm.numThreads = 1;
  const run = await pipeline(${JSON.stringify(kind)}, ${JSON.stringify(folder)}, { device: "wasm" });
  // one at a time: in a batch transformers.js (4.3.1) writes on behind a row's end while another row goes on
  const answers = [];
  for (const text of ${JSON.stringify(texts)}) answers.push(await run(text, ${JSON.stringify({ max_new_tokens: maxTokens, ...more })}));
  return answers.flat().map((answer) => answer.generated_text);`;

test.skipIf(browser === null)("t5-nano with a prompt", async () => {
  await using model = await openModel("t5-nano");
  const adapter = await promptAdapter(model.checkpoint, 20, 0.5);
  await exportModel(model, { adapter, output: join(root, "t5") });
  const texts = ["sst2 sentence: a charming and often affecting journey", "The capital"];
  const wanted = await generate(model, { prompt: texts, adapter, maxTokens: 12 });
  expect(await inChromium(browser!, page("text2text-generation", "t5", texts, 12, {}), folders, 120_000)).toEqual(
    wanted,
  );
});

test.skipIf(browser === null)("t5-nano with a prompt in 8 bits, which is what a browser loads by itself", async () => {
  await using model = await openModel("t5-nano");
  const adapter = await promptAdapter(model.checkpoint, 20, 0.5);
  await exportModel(model, { adapter, output: join(root, "t5-int8"), dtype: "int8" });
  const texts = ["sst2 sentence: a charming and often affecting journey", "The capital"];
  const rounded = await inEightBits(model, join(root, "int8-cache"));
  const wanted = await generate(rounded, { prompt: texts, adapter, maxTokens: 12 });
  await rounded.engine.dispose();
  const found = await inChromium(browser!, page("text2text-generation", "t5-int8", texts, 12, {}), folders, 120_000);
  expect(found).toEqual(wanted);
});

test.skipIf(browser === null)("a tiny Llama with a prompt", async () => {
  await using model = await openModel(tinyCausal({}));
  const adapter = await promptAdapter(model.checkpoint, 5);
  await exportModel(model, { adapter, output: join(root, "llama") });
  const texts = ["the cat sat", "a", "(one more): 12345"];
  const wanted = await generate(model, { prompt: texts, adapter, maxTokens: 10 });
  const found = await inChromium(
    browser!,
    page("text-generation", "llama", texts, 10, { return_full_text: false }),
    folders,
    120_000,
  );
  expect(found).toEqual(wanted);
});
