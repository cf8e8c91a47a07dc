/**
 * @file XPrompt on prefix vectors, on tiny models with an encoder and without: the matrix that masks are over computes what the plain prefix
 * does, scores agree with central differences, pruned values stay zero from the search to the adapter and its answers.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { adapterBase, checkBase, loadAdapter, saveAdapter } from "../src/adapter/adapter.js";
import { appliedModel, appliedSettings, runnable } from "../src/adapter/applied.js";
import { adapterReportText, inspectAdapter } from "../src/adapter/inspect.js";
import type { Adapter } from "../src/adapter/types.js";
import { defaults } from "../src/base/options.js";
import { random } from "../src/base/random.js";
import type { Tensor } from "../src/base/tensor.js";
import type { Dataset } from "../src/data/row.js";
import { type Engine, openEngine } from "../src/engine/engine.js";
import { evaluate } from "../src/evaluate/evaluate.js";
import { applyMask, entryMask, fullMask, maskFromScores, pieceOfDimension } from "../src/method/mask.js";
import type { Method, VectorRows } from "../src/method/method.js";
import { methods, openMethod, prunableForm } from "../src/method/methods.js";
import { type MethodChoice, methodOptions } from "../src/method/options.js";
import { maskRows } from "../src/method/rows.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { fullModel } from "../src/model/partial.js";
import { importance } from "../src/prune/importance.js";
import { pruneOptions } from "../src/prune/options.js";
import { type XPromptInput, xprompt } from "../src/prune/xprompt.js";
import { singleStage } from "../src/schedule/schedule.js";
import type { Model } from "../src/tasks/model.js";
import { prune } from "../src/tasks/prune.js";
import { tune } from "../src/tasks/tune.js";
import { makeBatch } from "../src/text/batch.js";
import { encodeRows } from "../src/text/rows.js";
import { causalRules } from "../src/text/rules.js";
import { forecast } from "../src/train/forecast.js";
import { train } from "../src/train/trainer.js";
import { bundle } from "./helpers/bundle.js";
import { memoryFolder } from "./helpers/memory-folder.js";
import { tinyDataset, tinyTokenizer } from "./helpers/tiny.js";
import { scoring, settings } from "./helpers/tiny-prompt.js";
import { withoutClock } from "./helpers/without-clock.js";

const N = 3;
const K = 8;
const choice: MethodChoice = { ...defaults(methodOptions), virtualTokens: N, seed: 0, method: "prefix" };
const root = memoryFolder("softprompt-prefix-");
const tiny = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe.each(["tiny-t5-v11", "tiny-causal-llama"])("%s", (name) => {
  const data: Dataset = tinyDataset(16, 8);
  const { task, train: rows, validation } = data;
  const plain = openMethod(choice);
  let form: VectorRows;
  let engine: Engine;
  let whole: Engine;
  let tokenizer = tinyTokenizer;
  let prompt: Tensor;
  let model: Model;
  beforeAll(async () => {
    const checkpoint = await openCheckpoint(tiny(name));
    if (checkpoint.config.family !== "t5") tokenizer = { ...tinyTokenizer, rules: causalRules(tinyTokenizer) };
    form = prunableForm(plain, checkpoint.config)!;
    engine = openEngine(checkpoint, { threads: 1 }, form.method);
    whole = openEngine(checkpoint, { threads: 1 }, plain);
    prompt = form.join(await startOf(checkpoint));
    const bare = openEngine(checkpoint, { threads: 1 });
    model = { checkpoint, tokenizer, engine: bare, device: "cpu", dispose: () => bare.dispose() };
  });
  afterAll(async () => {
    await engine?.dispose();
    await whole?.dispose();
    await model?.dispose();
  });
  const startOf = (checkpoint: Engine["checkpoint"], method: Method = plain) =>
    method.start({ checkpoint, random: random(4, "prefix"), prompt: () => Promise.reject(new Error("no prompt")) });
  const score = (more: object = {}, which = rows) =>
    importance(engine, tokenizer, task, which, prompt, { ...scoring, pieces: K, ...more });
  const worst = (a: readonly number[], b: readonly number[]) =>
    Math.max(...a.map((v, i) => Math.abs(v - b[i]!))) / Math.max(...b.map(Math.abs));
  const input = (more: Partial<XPromptInput> = {}): XPromptInput => ({
    engine,
    tokenizer,
    task,
    train: rows,
    validation,
    prompt,
    schedule: singleStage(engine.checkpoint.config, 4),
    retrainSchedule: singleStage(engine.checkpoint.config, 4),
    settings: { ...settings, evalEvery: 2 },
    options: { ...defaults(pruneOptions), pieces: K, tokensPruned: [1], piecesPruned: [2], workers: 1 },
    run: null,
    resume: false,
    observe: () => {},
    ...more,
  });

  test("the matrix of rows computes what the plain prefix does, and there and back is the same", async () => {
    const parameters = form.part(prompt);
    expect(form.join(parameters)).toEqual(prompt);
    const start = await startOf(engine.checkpoint);
    expect(parameters).toEqual(start);
    const batch = makeBatch(encodeRows(task, rows.slice(0, 5), tokenizer, 64));
    const [mine, theirs] = [await engine.forward(), await whole.forward()];
    expect((await mine.run({ prompt }, batch)).logits).toEqual((await theirs.run(start, batch)).logits);
    // each row may have its own
    const other = { ...prompt, data: prompt.data.map((v) => -v) };
    const mixed = await mine.run([{ prompt }, { prompt: other }, { prompt }, { prompt }, { prompt: other }], batch);
    const alone = await mine.run({ prompt: other }, batch);
    const size = alone.logits.data.length / 5;
    const last = ({ data: all }: Tensor) => all.subarray(4 * size);
    expect(last(mixed.logits)).toEqual(last(alone.logits));
    // summed over the rows, their gradients are the plain prefix's
    const weights = new Float32Array(5).fill(0.2);
    const gradient = (await (await engine.train()).run({ prompt }, batch, weights)).gradients.prompt!;
    const sum = new Float32Array(prompt.data.length);
    for (const [n, v] of gradient.data.entries()) sum[n % sum.length]! += v;
    const summed = form.part({ shape: prompt.shape, data: sum });
    const given = (await (await whole.train()).run(start, batch, weights)).gradients;
    for (const key of Object.keys(given))
      expect(worst([...summed[key]!.data], [...given[key]!.data])).toBeLessThan(1e-5);
  });

  test("∂L/∂γ and ∂L/∂ζ agree with central differences, and pieces add up to their position", async () => {
    const W = form.width;
    const piece = pieceOfDimension(fullMask(N, K), W);
    const encoded = encodeRows(task, [rows[1]!], tokenizer, 492);
    const program = await engine.train();
    const loss = async (chosen: (n: number) => boolean, factor: number) => {
      const data = prompt.data.map((v, n) => (chosen(n) ? v * factor : v));
      const { loss } = await program.run({ prompt: { shape: [N, W], data } }, makeBatch(encoded), Float32Array.of(1));
      return loss[0]! / encoded[0]!.target.length;
    };
    const difference = async (chosen: (n: number) => boolean) => {
      const central = async (h: number) => ((await loss(chosen, 1 + h)) - (await loss(chosen, 1 - h))) / (2 * h);
      return (4 * (await central(0.05)) - (await central(0.1))) / 3;
    };
    const found = await score({ mode: "signed" }, [rows[1]!]);
    const [tokens, pieces]: [number[], number[]] = [[], []];
    for (let i = 0; i < N; i++) {
      tokens.push(-(await difference((n) => Math.floor(n / W) === i)));
      for (let j = 0; j < K; j++)
        pieces.push(-(await difference((n) => Math.floor(n / W) === i && piece[n % W] === j)));
    }
    expect(worst(found.tokens, tokens)).toBeLessThan(5e-3);
    expect(worst(found.pieces, pieces)).toBeLessThan(5e-3);
    const signed = await score({ mode: "signed" });
    const sums = signed.tokens.map((_, i) => signed.pieces.slice(i * K, (i + 1) * K).reduce((a, b) => a + b, 0));
    expect(worst(sums, signed.tokens)).toBeLessThan(1e-9);
  });

  test("a mask of ones trains as no mask does, bit for bit; pruned entries stay zero, the others move", async () => {
    const tuned = (mask: ReturnType<typeof fullMask> | null) =>
      train({ ...input(), parameters: { prompt }, mask, run: null, observe: () => {} });
    const [ones, none] = [await tuned(fullMask(N, K)), await tuned(null)];
    expect(ones.last).toEqual(none.last);
    const mask = maskFromScores(await score(), { tokensPruned: 1, piecesPruned: 3 });
    const live = entryMask(mask, form.width);
    const { last } = await tuned(mask);
    expect(last.prompt!.data.every((v, n) => live[n] === 1 || Object.is(v, 0))).toBe(true);
    expect(last.prompt!.data.some((v, n) => live[n] === 1 && v !== prompt.data[n])).toBe(true);
  });

  test("what a search will cost is known before, and what it costs is counted of the prefix's own graph", async () => {
    const told = forecast({ ...input(), parameters: { prompt }, mask: null, observe: () => {} });
    const { control, candidates, importance: scores } = await xprompt(input());
    for (const { cost } of [control, ...candidates]) expect(cost.trainFlops + cost.evalFlops).toBe(told.spent(4));
    // a prompt as long makes the sequence longer, a prefix the attentions only
    const asPrompt = openEngine(engine.checkpoint, { threads: 1 });
    const D = engine.checkpoint.config.width;
    const long: Tensor = { shape: [N, D], data: new Float32Array(N * D).fill(0.1) };
    const other = await importance(asPrompt, tokenizer, task, rows, long, { ...scoring, pieces: K });
    await asPrompt.dispose();
    expect(scores.flops).toBeLessThan(other.flops);
  });

  test("two processes find what one finds, a stopped search goes on to the same", { timeout: 120_000 }, async () => {
    const run = (folder: string, more: Partial<XPromptInput> = {}) =>
      xprompt(input({ run: join(root, `${name}-${folder}`), method: choice, ...more }));
    const one = withoutClock(await run("one"));
    if (name === "tiny-t5-v11") {
      const module = await bundle("test/helpers/tiny-worker.ts");
      const options = { ...input().options, tokensPruned: [1, 2] };
      const [a, b] = [await run("a", { options }), await run("b", { options, workers: { count: 2, module } })];
      expect(withoutClock(b)).toEqual(withoutClock(a));
    }
    const stop = new AbortController();
    const observe: XPromptInput["observe"] = (event) => event.kind === "retrained" && stop.abort();
    await expect(run("cut", { signal: stop.signal, observe })).rejects.toMatchObject({ kind: "interrupted" });
    expect(withoutClock(await run("cut", { resume: true }))).toEqual(one);
    // a prompt's search in the same folder is another one
    await expect(run("cut", { resume: true, engine: model.engine })).rejects.toThrow();
  });

  const asked = {
    ...{ method: "prefix" as const, virtualTokens: N, steps: 4, batchSize: 8, microBatchSize: 8, evalEvery: 2 },
    ...{ pieces: K, tokensPruned: [1], piecesPruned: [2], workers: 1, baselines: false, tensorboard: false },
  };

  test("the whole search leaves an adapter that is read back, keeps its mask and answers alike", async () => {
    const output = join(root, `${name}-whole`);
    const { adapter, record, predictions, result } = await prune(model, data, { ...asked, output });
    expect(record.run.method).toBe("xprompt-prefix");
    expect(record.run.options.learningRate).toBe(methods.prefix.learningRate);
    expect(record.cost.trainedParameters).toBe(result.best.counts.parameters);
    expect(adapter.mask).not.toBeNull();
    const loaded = loadAdapter(output);
    expect(loaded.mask).toEqual(adapter.mask);
    expect(loaded.applied).toEqual(adapter.applied);
    await checkBase(loaded, model.checkpoint);
    const { method, parameters } = runnable(loaded, model.checkpoint.config);
    expect(method.key).toBe(plain.key);
    expect(applyMask(form.join(parameters), loaded.mask!)).toEqual(form.join(parameters));
    expect(form.join(parameters).data.filter((v) => v !== 0).length).toBe(result.best.counts.parameters);
    const full = fullModel(model.checkpoint.config);
    const found = await evaluate(whole, full, tokenizer, task, validation, parameters, { batchSize: 32 });
    expect(found.predictions).toEqual(predictions);
    const report = await inspectAdapter(loaded);
    expect(report.live).toEqual(result.best.counts);
    expect(adapterReportText(report)).toMatch(/alive {8}2 tokens/);
    expect(readFileSync(join(output, "report.html"), "utf8")).toContain("prefix tuning");
    expect(readFileSync(join(output, "adapter/README.md"), "utf8")).toMatch(/2 tokens and \d+ pieces survive/);
  });

  test.each([0, 5])("the prefix of a finished run is pruned (hidden width %i)", async (prefixHidden) => {
    const run = join(root, `${name}-run-${prefixHidden}`);
    const { pieces, tokensPruned, piecesPruned, workers, ...tuning } = { ...asked, prefixHidden };
    const tuned = await tune(model, data, { ...tuning, output: run });
    const { result } = await prune(model, data, { ...asked, prefixHidden, from: run });
    expect(result.tuned.prompt).toEqual(form.join(tuned.adapter.applied!.parameters));
    expect(result.tuned.score).toBe(tuned.result.scores.accuracy);
    expect(result.best.counts.tokens).toBe(N - 1);
  });

  test("what cannot be pruned is refused, with what can", async () => {
    await expect(prune(model, data, { ...asked, prunedTokens: "drop" })).rejects.toThrow(/prefix cannot be dropped/);
    await expect(prune(model, data, { ...asked, prefixHidden: 5 })).rejects.toThrow(/once it is tuned/);
    await expect(prune(model, data, { ...asked, pieces: 5 })).rejects.toThrow(/equal pieces/);
    await expect(prune(model, data, { ...asked, method: "lora" })).rejects.toMatchObject({
      parts: { expected: "prompt, prefix" },
    });
    await expect(tune(model, data, { method: "prefix", mask: fullMask(N, K) })).rejects.toMatchObject({
      parts: { expected: "prompt" },
    });
  });

  test("an adapter with a mask that is not its own is refused", async () => {
    const parameters = form.part(prompt);
    const mask = maskFromScores(await score(), { tokensPruned: 1, piecesPruned: 3 });
    const adapter: Adapter = {
      prompt: { shape: [0, model.checkpoint.config.width], data: new Float32Array(0) },
      applied: {
        method: "prefix",
        settings: appliedSettings("prefix", choice),
        parameters,
        model: appliedModel(model.checkpoint.config),
      },
      mask,
      base: await adapterBase(model.checkpoint),
      ...{ tokenizer: null, task: null, training: null, scores: null },
      kept: { config: {}, extras: {} },
    };
    const folder = join(root, `${name}-adapter`);
    // pruned entries are written as zeros, and not used where a program hands them in
    saveAdapter(folder, adapter);
    const living = maskRows(parameters, mask);
    expect(runnable(adapter, model.checkpoint.config).parameters).toEqual(living);
    expect(loadAdapter(folder).applied!.parameters).toEqual(living);
    const file = join(folder, "softprompt.json");
    const json = JSON.parse(readFileSync(file, "utf8")) as { mask: object; applied: { sha256: string } };
    const put = (more: object) => writeFileSync(file, JSON.stringify({ ...json, ...more }));
    const as = (tokens: number) => ({ ...json.mask, count: tokens, bits: bitsOf(tokens) });
    put({ mask: as(N + 1) });
    expect(() => loadAdapter(folder)).toThrow(/mask does not fit/);
    put({ mask: { pieces: 5, layout: "contiguous", tokens: "111", piecesKept: ["11111", "11111", "11110"] } });
    expect(() => loadAdapter(folder)).toThrow(/mask does not fit/);
    put({
      mask: { pieces: K, layout: "contiguous", tokens: "000", piecesKept: ["1", "1", "1"].map((v) => v.repeat(K)) },
    });
    expect(() => loadAdapter(folder)).toThrow(/prunes are not zero/);
    expect(() => saveAdapter(folder, adapter, "compact")).toThrow(/no such form/);
  });
  /** Of a mask of ones. */
  const bitsOf = (tokens: number) => {
    const bits = tokens * (1 + K);
    const bytes = new Uint8Array(Math.ceil(bits / 8)).fill(255);
    if (bits % 8 > 0) bytes[bytes.length - 1] = 256 - 2 ** (8 - (bits % 8));
    return Buffer.from(bytes).toString("base64");
  };
});
