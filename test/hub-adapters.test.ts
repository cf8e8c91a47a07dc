/**
 * @file Adapters by their hub id: every adapter that PEFT made for us, and ours, is the same from a repository as from its folder; cache,
 * revisions, offline and pickles under the rules of models.
 */
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { loadAdapter, saveAdapter } from "../src/adapter/adapter.js";
import { isHubAdapter } from "../src/adapter/hub-name.js";
import { runConfigText } from "../src/cli/config.js";
import { trainTable } from "../src/cli/tables/train.js";
import type { Task } from "../src/data/row.js";
import { compare } from "../src/study/call.js";
import { adapterFolder, openAdapter } from "../src/tasks/adapter-place.js";
import type { CallContext } from "../src/tasks/call.js";
import { evaluate } from "../src/tasks/evaluate.js";
import { exportModel, exportPrompt } from "../src/tasks/export.js";
import { generate } from "../src/tasks/generate.js";
import { type Model, openModel } from "../src/tasks/model.js";
import { predict } from "../src/tasks/predict.js";
import { openPredictor } from "../src/tasks/predictor.js";
import { prune } from "../src/tasks/prune.js";
import { tune } from "../src/tasks/tune.js";
import { promptWords } from "../src/tasks/words.js";
import { methodAdapter, promptAdapter } from "./helpers/adapters.js";
import { commitOf, type HubRepo, type HubServer, openHubServer } from "./helpers/hub-server.js";
import { startServer } from "./helpers/serve.js";

const fixture = (path: string) => fileURLToPath(new URL(`fixtures/${path}`, import.meta.url));
const filesOf = (folder: string) =>
  Object.fromEntries(readdirSync(folder).map((file) => [file, new Uint8Array(readFileSync(join(folder, file)))]));
const root = mkdtempSync(join(tmpdir(), "softprompt-hub-adapters-"));

const task: Task = {
  name: "films",
  template: "sst2 sentence: {text}",
  verbalizer: { "0": "negative", "1": "positive" },
  metrics: ["accuracy"],
  maxTargetTokens: 4,
  targetPrefix: "",
};
const peftMade = readdirSync(fixture("peft-methods"));
const repos: Record<string, HubRepo> = {};
let hub: HubServer;
beforeAll(async () => {
  for (const name of peftMade) repos[`peft/${name}`] = { files: filesOf(fixture(`peft-methods/${name}`)) };
  const { "adapter_model.safetensors": _, ...without } = filesOf(fixture("peft-methods/lora"));
  repos["old/pickled"] = { files: { ...without, "adapter_model.bin": Buffer.from("pickle") } };
  repos["large/config"] = { files: { "adapter_config.json": Buffer.alloc(2 ** 20 + 1, " ") } };
  repos["no/adapter"] = { files: { "config.json": Buffer.from("{}"), "model.safetensors": Buffer.from("x") } };
  await using model = await openModel("t5-nano");
  const prompt = await promptAdapter(model.checkpoint, 5, 0.5, { task });
  saveAdapter(join(root, "prompt"), prompt);
  saveAdapter(join(root, "full"), await methodAdapter(model.checkpoint, "full", { fullParts: ["layer_norm"] }, task));
  repos["ours/prompt"] = { files: filesOf(join(root, "prompt")), refs: ["v2"] };
  repos["ours/full"] = { files: filesOf(join(root, "full")) };
  hub = await openHubServer(repos);
});
afterAll(async () => {
  await hub.close();
  rmSync(root, { recursive: true, force: true });
});
let home: string;
beforeEach(() => {
  home = mkdtempSync(join(root, "home-"));
  vi.stubEnv("HF_ENDPOINT", hub.url);
  vi.stubEnv("HF_HOME", home);
  vi.stubEnv("HF_HUB_CACHE", "");
  vi.stubEnv("HF_HUB_OFFLINE", "");
  hub.log.length = 0;
});
afterEach(() => vi.unstubAllEnvs());
const fetched = () => hub.log.filter((line) => line.includes("/resolve/")).length;

test.each(peftMade)("%s that PEFT made is the same from the hub as from its folder", async (name) => {
  expect(await openAdapter(`peft/${name}`)).toEqual(loadAdapter(fixture(`peft-methods/${name}`)));
  expect(hub.log.some((line) => line.includes("expected.json"))).toBe(false);
});

test("ours too, with their tasks; they answer by their ids, and a server lists them", async () => {
  expect(await openAdapter("ours/full")).toEqual(loadAdapter(join(root, "full")));
  await using model = await openModel("t5-nano");
  const adapters = { hub: "ours/prompt", folder: join(root, "prompt") };
  const predictor = await openPredictor(model, { adapters });
  const [one, other] = await predictor.predict(Object.keys(adapters).map((adapter) => ({ adapter, input: "a film" })));
  expect(one).toEqual(other);
  await using server = await startServer({ adapters: { films: "ours/prompt" } });
  expect(server.models).toContain("t5-nano:films");
});

test("one commit, in the hub's own cache; afterwards no hub is needed, and a revision is not another's", async () => {
  const progress: string[] = [];
  const folder = await adapterFolder("ours/prompt@v2", { onEvent: ({ kind }) => progress.push(kind) });
  expect(folder).toBe(join(home, "hub", "models--ours--prompt", "snapshots", commitOf("ours/prompt")));
  expect(lstatSync(join(folder, "adapter_model.safetensors")).isSymbolicLink()).toBe(true);
  expect(progress).toContain("progress");
  const before = fetched();
  expect(before).toBeGreaterThan(1);
  const asked = hub.log.length;
  expect(await adapterFolder("ours/prompt@v2", { offline: true })).toBe(folder);
  vi.stubEnv("HF_HUB_OFFLINE", "1");
  expect(await adapterFolder(`ours/prompt@${commitOf("ours/prompt")}`)).toBe(folder);
  expect(hub.log).toHaveLength(asked);
  await expect(adapterFolder("ours/prompt")).rejects.toMatchObject({ kind: "network" });
  await expect(adapterFolder("peft/lora", { offline: true })).rejects.toThrow(/not in the local cache/);
  vi.stubEnv("HF_HUB_OFFLINE", "");
  expect(await adapterFolder("ours/prompt")).toBe(folder);
  expect(fetched()).toBe(before);
  // a hub that is gone: the cached copy, said once
  vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:9");
  const said: string[] = [];
  const onEvent = (event: { kind: string; message?: string }) =>
    void (event.kind === "notice" && said.push(event.message!));
  expect(await adapterFolder("ours/prompt", { onEvent })).toBe(folder);
  // whose adapter it is stands first
  expect(said).toEqual([
    `the adapter is ours/prompt@${commitOf("ours/prompt")}, from the hub`,
    expect.stringMatching(/using the cached ours\/prompt@/),
  ]);
});

test("an interrupted download is not taken as complete, and each file has its own limit", async () => {
  const commit = commitOf("ours/prompt");
  const folder = await adapterFolder(`ours/prompt@${commit}`);
  rmSync(join(folder, "adapter_config.json"));
  await expect(adapterFolder(`ours/prompt@${commit}`, { offline: true })).rejects.toThrow(/not in the local cache/);
  await expect(adapterFolder("large/config")).rejects.toThrow(/adapter_config\.json is too large/);
});

test("a model that was opened offline asks no hub for adapters", async () => {
  await using model = await openModel("t5-nano", { offline: true });
  await expect(predict(model, "ours/prompt", ["a film"])).rejects.toThrow(/not in the local cache/);
  await expect(generate(model, { prompt: "a film", adapter: "ours/prompt" })).rejects.toThrow(/not in the local cache/);
  expect(hub.log).toEqual([]);
});

describe("every call that takes an adapter says whose it is, and can be stopped while it is fetched", () => {
  const rows = [{ text: "a film", label: "1" }];
  const output = (name: string) => join(root, `called-${name}`);
  const few = { steps: 1, batchSize: 1, virtualTokens: 5, init: "fromPrompt", initFrom: "ours/prompt" } as const;
  const started = { ...few, baselines: false } as const;
  const trained = { rows, template: task.template, verbalizer: task.verbalizer!, validationShare: 0 };
  const chosen = { ...trained, validationRows: rows };
  type Told = CallContext<{ readonly kind: string }>;
  const calls: [string, (model: Model, told: Told) => Promise<unknown>][] = [
    ["predict", (model, told) => predict(model, "ours/prompt", ["a film"], told)],
    ["evaluate", (model, told) => evaluate(model, rows, { adapter: "ours/prompt", ...told })],
    ["generate", (model, told) => generate(model, { prompt: "a film", adapter: "ours/prompt", maxTokens: 1, ...told })],
    ["promptWords", (model, told) => promptWords(model, { adapter: "ours/prompt", ...told })],
    ["openPredictor", (model, told) => openPredictor(model, { adapters: { one: "ours/prompt" }, ...told })],
    ["exportPrompt", (_, told) => exportPrompt("npy", { adapter: "ours/prompt", output: output("npy"), ...told })],
    ["exportModel", (model, told) => exportModel(model, { adapter: "ours/prompt", output: output("onnx"), ...told })],
    ["tune", (model, told) => tune(model, trained, { ...started, ...told })],
    ["prune", (model, told) => prune(model, chosen, { ...started, tokensPruned: [1], level: "tokens", ...told })],
    ["compare", (model, told) => compare(model, [chosen], { ...few, scoreSplit: "train", seeds: [0], ...told })],
  ];
  test.each(calls)("%s", { timeout: 120_000 }, async (_, call) => {
    await using model = await openModel("t5-nano");
    await expect(call(model, { signal: AbortSignal.abort() })).rejects.toMatchObject({ kind: "interrupted" });
    expect(fetched()).toBe(0);
    const said: string[] = [];
    const stop = new AbortController();
    const onEvent = (event: { readonly kind: string }) => {
      said.push(JSON.stringify(event));
      // a study's whole work is not asked for here
      if (/the adapter is ours/.test(said.at(-1)!)) stop.abort("SIGINT");
    };
    await call(model, { onEvent, signal: stop.signal }).catch((error: unknown) =>
      expect(error).toMatchObject({ kind: "interrupted" }),
    );
    expect(said.join("\n")).toContain(`the adapter is ours/prompt@${commitOf("ours/prompt")}, from the hub`);
  });
});

test("a run that starts from a hub's adapter keeps its name, from a folder its whole path", () => {
  const kept = (initFrom: string) => runConfigText(trainTable, { model: "t5-nano", initFrom }, undefined);
  expect(kept("ours/prompt@v2")).toMatch(/^initFrom: ours\/prompt@v2$/m);
  expect(kept(relative(process.cwd(), join(root, "prompt")))).toContain(`initFrom: ${join(root, "prompt")}\n`);
  expect(kept("prompt.npy")).toContain(`initFrom: ${join(process.cwd(), "prompt.npy")}\n`);
});

test("refused: a pickle without being fetched, a repository that is no adapter, a revision and an id that are not there", async () => {
  await expect(openAdapter("old/pickled")).rejects.toMatchObject({
    kind: "adapter",
    message: expect.stringMatching(/adapter_model\.bin, a pickle.*save_pretrained/s) as string,
  });
  expect(hub.log.some((line) => line.includes("adapter_model.bin"))).toBe(false);
  await expect(openAdapter("no/adapter")).rejects.toThrow(/holds no adapter/);
  await expect(openAdapter("ours/prompt@nowhere")).rejects.toThrow();
  await expect(openAdapter("ours/absent")).rejects.toThrow();
});

test("paths stay paths: what exists, what lies in a folder that exists, .npy", () => {
  mkdirSync(join(root, "runs"));
  const cwd = process.cwd();
  expect(isHubAdapter("test/nothing")).toBe(!existsSync(join(cwd, "test")));
  expect(isHubAdapter("./a/b")).toBe(false);
  expect(isHubAdapter("a/b/c")).toBe(false);
  expect(isHubAdapter("some-org/prompt.npy")).toBe(false);
  expect(isHubAdapter("some-org/adapter@main")).toBe(true);
  expect(hub.log).toEqual([]);
});
