/**
 * @file Every method of tuning against an authority: twenty SGD steps as PEFT and PyTorch make them from the same start, gradients on full
 * and partial models against central differences, that nothing else moves, that what is left behind computes the same.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { hashFile } from "../src/base/digest.js";
import { defaults } from "../src/base/options.js";
import { random } from "../src/base/random.js";
import type { Parameters, Tensor } from "../src/base/tensor.js";
import { type Engine, openEngine } from "../src/engine/engine.js";
import { stepFlops } from "../src/engine/flops.js";
import type { Method } from "../src/method/method.js";
import { methods, openMethod } from "../src/method/methods.js";
import { type MethodName, methodOptions } from "../src/method/options.js";
import { promptTuning } from "../src/method/prompt.js";
import { type Checkpoint, openCheckpoint } from "../src/model/checkpoint.js";
import { fullModel, type PartialModel, partialModel } from "../src/model/partial.js";
import { parseSafetensors } from "../src/model/safetensors.js";
import { initParameters, updateParameters } from "../src/optim/parameters.js";
import { sgd } from "../src/optim/sgd.js";
import { type EncodedRow, makeBatch } from "../src/text/batch.js";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
interface Case {
  readonly method: MethodName;
  readonly settings: object;
  readonly rate: number;
  readonly losses: readonly number[];
  readonly norms?: Readonly<Record<"gradient" | "end", Readonly<Record<string, number>>>>;
}
const fixture = JSON.parse(readFileSync(here("fixtures/methods.json"), "utf8")) as {
  readonly input: readonly number[][];
  readonly target: readonly number[][];
  readonly virtualTokens: number;
  readonly cases: Readonly<Record<string, Case>>;
};
const file = parseSafetensors(readFileSync(here("fixtures/methods.safetensors")), "methods.safetensors");
const group = (prefix: string): Parameters =>
  Object.fromEntries(
    [...file.entries.keys()]
      .filter((name) => name.startsWith(prefix))
      .map((name) => [name.slice(prefix.length), file.tensor(name)]),
  );

const rows = fixture.input.map((input, i): EncodedRow => {
  const target = Int32Array.from(fixture.target[i]!);
  return { id: String(i), input: Int32Array.from(input), target, choices: [target], gold: 0, truncated: false };
});
const batch = makeBatch(rows);
const targetTokens = rows.reduce((sum, { target }) => sum + target.length, 0);
const weights = new Float32Array(rows.length).fill(1 / targetTokens);

const open = (method: MethodName, settings: object = {}): Method =>
  openMethod({ ...defaults(methodOptions), virtualTokens: fixture.virtualTokens, seed: 0, ...settings, method });

let checkpoint: Checkpoint;
let hash: string;
const engines: Engine[] = [];
const engineOf = (method: Method, of = checkpoint): Engine => {
  const engine = openEngine(of, { threads: 1 }, method);
  engines.push(engine);
  return engine;
};
beforeAll(async () => {
  checkpoint = await openCheckpoint(here("fixtures/tiny-t5-v11"));
  hash = await hashFile(here("fixtures/tiny-t5-v11/model.safetensors"));
});
afterAll(async () => {
  for (const engine of engines) await engine.dispose();
  expect(await hashFile(here("fixtures/tiny-t5-v11/model.safetensors"))).toBe(hash);
});

/** Start values that leave nothing at zero, so that every gradient is one. */
async function startOf(method: Method, of = checkpoint): Promise<Parameters> {
  const draw = random(4, "start");
  const { width } = of.config;
  const noise = (shape: readonly number[], range: number): Tensor => ({
    shape,
    data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => draw.uniform(-range, range)),
  });
  const prompt = async () => noise([fixture.virtualTokens, width], 0.5);
  const start = await method.start({ checkpoint: of, random: random(1, "methods"), prompt });
  return Object.fromEntries(
    Object.entries(start).map(([name, { shape, data }]) => {
      const more = noise(shape, 0.05).data;
      return [name, { shape, data: data.map((v, i) => v + more[i]!) }];
    }),
  );
}

async function gradientsOf(engine: Engine, parameters: Parameters, partial?: PartialModel) {
  const step = await (await engine.train(partial)).run(parameters, batch, weights);
  const loss = step.loss.reduce((sum, l) => sum + l, 0) / targetTokens;
  const specs = engine.method.parameters(engine.checkpoint.config);
  const gradients: Record<string, Tensor> = {};
  for (const { name, perRow } of specs) {
    const { shape, data } = step.gradients[name]!;
    const own = parameters[name]!.shape;
    const sum = new Float32Array(parameters[name]!.data.length);
    for (const [i, v] of data.entries()) sum[i % sum.length]! += v;
    expect(shape).toEqual(perRow ? [rows.length, ...own] : own);
    gradients[name] = { shape: own, data: sum };
  }
  return { loss, gradients };
}

const norm = (data: ArrayLike<number>) => Math.sqrt(Array.from(data).reduce((sum, v) => sum + v * v, 0));
const apart = (a: Tensor, b: Tensor) => norm(a.data.map((v, i) => v - b.data[i]!));

describe.each(Object.entries(fixture.cases))("%s: twenty steps as PEFT and PyTorch make them", (name, known) => {
  test("losses, gradients and the end", async () => {
    const method = open(known.method, known.settings);
    const engine = engineOf(method);
    let parameters =
      known.norms === undefined
        ? group(`${name}/start/`)
        : await method.start({
            checkpoint,
            random: random(0, "unused"),
            prompt: () => Promise.reject(new Error("no prompt is asked for")),
          });
    const optimizer = sgd({ weightDecay: 0, momentum: 0 });
    let state = initParameters(optimizer, parameters);
    const losses: number[] = [];
    for (const [step] of known.losses.entries()) {
      const found = await gradientsOf(engine, parameters);
      losses.push(found.loss);
      if (step === 0) {
        const all = norm(Object.values(found.gradients).map(({ data }) => norm(data)));
        if (known.norms === undefined)
          for (const [part, wanted] of Object.entries(group(`${name}/gradient/`)))
            expect(apart(found.gradients[part]!, wanted) / all, part).toBeLessThan(2e-5);
        else {
          expect(Object.keys(found.gradients).sort()).toEqual(Object.keys(known.norms.gradient).sort());
          for (const [part, wanted] of Object.entries(known.norms.gradient))
            expect(Math.abs(norm(found.gradients[part]!.data) - wanted) / all, part).toBeLessThan(2e-5);
        }
      }
      ({ parameters, state } = updateParameters(optimizer, parameters, found.gradients, state, known.rate));
    }
    for (const [step, wanted] of known.losses.entries())
      expect(Math.abs(losses[step]! - wanted) / wanted, `step ${step + 1}`).toBeLessThan(1e-4);
    if (known.norms === undefined)
      for (const [part, wanted] of Object.entries(group(`${name}/end/`)))
        expect(apart(parameters[part]!, wanted) / norm(wanted.data), part).toBeLessThan(1e-4);
    else
      for (const [part, wanted] of Object.entries(known.norms.end))
        expect(Math.abs(norm(parameters[part]!.data) - wanted) / wanted, part).toBeLessThan(1e-4);
  });
});

const settingsOf: Partial<Record<MethodName, object>> = {
  lora: { loraRank: 3, loraTargets: ["q", "k", "wi_0", "wi_1", "wo"] },
  prefix: { prefixHidden: 5 },
  superpos: { superposBasis: 6, superposTuneBasis: true },
  ulpt: { ulptRank: 5 },
};

describe.each(Object.keys(methods) as MethodName[])("%s", (name) => {
  const models = () => ({
    full: fullModel(checkpoint.config),
    "two layers, half the neurons": partialModel(checkpoint.config, { depth: 2, width: 0.5, neuronChoice: "first" }),
  });

  test.each(["full", "two layers, half the neurons"] as const)(
    "%s: the gradient agrees with central differences along itself",
    async (which) => {
      const partial = models()[which];
      const engine = engineOf(open(name, settingsOf[name]));
      const parameters = await startOf(engine.method);
      const { gradients } = await gradientsOf(engine, parameters, partial);
      const length = norm(Object.values(gradients).map(({ data }) => norm(data)));
      const at = async (step: number) => {
        const moved = Object.fromEntries(
          Object.entries(parameters).map(([key, { shape, data }]) => [
            key,
            { shape, data: data.map((v, i) => v + (step * gradients[key]!.data[i]!) / length) },
          ]),
        );
        return (await gradientsOf(engine, moved, partial)).loss;
      };
      const h = 3e-4;
      const slope = ((await at(h)) - (await at(-h))) / (2 * h);
      expect(Math.abs(slope - length) / length).toBeLessThan(1e-2);
    },
  );

  test("what it leaves behind computes the same, alone and for several choices of a row", async () => {
    const method = open(name, settingsOf[name]);
    const engine = engineOf(method);
    const parameters = await startOf(method);
    const left = method.leaves === undefined ? parameters : await (await engine.left()).run(parameters);
    const after = engineOf(method.leaves?.method ?? method);
    const mine = await (await engine.forward()).run(parameters, batch);
    const theirs = await (await after.forward()).run(left, batch);
    expect(apart(mine.logits, theirs.logits) / norm(mine.logits.data)).toBeLessThan(1e-6);
    const choices = rows.map((row) => ({ ...row, choices: [Int32Array.of(9, 1), row.target], gold: 1 }));
    const scores = await (await after.score()).run(left, choices);
    const { loss } = await gradientsOf(engine, parameters);
    const nll = -scores.reduce((sum, of) => sum + of[1]!, 0) / targetTokens;
    expect(Math.abs(nll - loss) / loss).toBeLessThan(1e-5);
  });

  test("generation goes on as the teacher-forced pass says", async () => {
    const method = open(name, settingsOf[name]);
    const engine = engineOf(method);
    const parameters = await startOf(method);
    const written = await (await engine.generate()).run(parameters, rows, 3);
    const forced = makeBatch(rows.map((row, i) => ({ ...row, target: Int32Array.from([...written[i]!, 1]) })));
    const { logits } = await (await engine.forward()).run(parameters, forced);
    const [, U, V] = logits.shape as [number, number, number];
    for (const [b, ids] of written.entries())
      for (const [u, id] of ids.entries()) {
        const at = logits.data.subarray((b * U + u) * V, (b * U + u + 1) * V);
        expect(at.indexOf(Math.max(...at))).toBe(id);
      }
  });

  test("training costs at least what a forward and a backward pass to its first parameter cost", () => {
    const shape = { batch: 2, prompt: fixture.virtualTokens, input: 7, target: 3 };
    const method = open(name, settingsOf[name]);
    const { paper, total } = stepFlops(checkpoint.config, fullModel(checkpoint.config), shape, method);
    expect(paper).toBeGreaterThan(0);
    expect(total).toBeGreaterThan(1.5 * paper);
  });
});

test("LoRA starts as the identity, and a layer that is left out has no gradient", async () => {
  const method = open("lora", { loraRank: 3, loraTargets: ["wo"] });
  const engine = engineOf(method);
  const start = await method.start({
    checkpoint,
    random: random(1, "lora"),
    prompt: async () => ({ shape: [0, 32], data: new Float32Array() }),
  });
  const bare = engineOf(promptTuning);
  const none = { prompt: { shape: [0, 32], data: new Float32Array() } };
  const [mine, frozen] = [
    await (await engine.forward()).run(start, batch),
    await (await bare.forward()).run(none, batch),
  ];
  expect(mine.logits.data).toEqual(frozen.logits.data);
  const partial = partialModel(checkpoint.config, { depth: 2 });
  const { gradients } = await gradientsOf(engine, await startOf(method), partial);
  const rests = Object.keys(gradients).filter((key) => key.startsWith("encoder.block.1."));
  expect(rests).toHaveLength(2);
  for (const [key, { data }] of Object.entries(gradients))
    expect(
      data.some((v) => v !== 0),
      key,
    ).toBe(!rests.includes(key));
});

test("training all weights from the checkpoint's own is the frozen model at first", async () => {
  const method = open("full");
  const start = await method.start({
    checkpoint,
    random: random(1, "full"),
    prompt: () => Promise.reject(new Error()),
  });
  const mine = await (await engineOf(method).forward()).run(start, batch);
  const none = { prompt: { shape: [0, 32], data: new Float32Array() } };
  const frozen = await (await engineOf(promptTuning).forward()).run(none, batch);
  expect(apart(mine.logits, frozen.logits) / norm(frozen.logits.data)).toBeLessThan(1e-6);
});

test("superpos starts as sampled words, shift as the start prompt, low rank and ulpt near it in expectation", async () => {
  const draw = random(2, "prompt");
  const prompt: Tensor = { shape: [4, 32], data: Float32Array.from({ length: 128 }, () => draw.uniform(-1, 1)) };
  const leftBy = async (name: MethodName, settings: object = {}) => {
    const method = open(name, settings);
    const start = await method.start({ checkpoint, random: random(1, name), prompt: async () => prompt });
    return (await (await engineOf(method).left()).run(start)).prompt!;
  };
  expect((await leftBy("shift")).data).toEqual(prompt.data);
  const words = await checkpoint.read("shared.weight");
  const mixed = await leftBy("superpos", { superposBasis: 6 });
  for (let i = 0; i < 4; i++) {
    const row = Array.from(mixed.data.subarray(i * 32, (i + 1) * 32));
    const found = Array.from({ length: 96 }, (_, id) => id).some((id) =>
      row.every((v, c) => Math.abs(v - words.data[id * 32 + c]!) < 1e-6),
    );
    expect(found).toBe(true);
  }
  for (const near of [await leftBy("low-rank", { lowRank: 4096 }), await leftBy("ulpt", { ulptRank: 4096 })])
    expect(apart(near, { ...prompt, data: near.data.map((v, i) => v && prompt.data[i]!) })).toBeGreaterThan(0);
});

test.each<[MethodName, object, RegExp]>([
  ["lora", { loraTargets: ["query"] }, /no linear layer[\s\S]*one or more of q, k, v, o[\s\S]*query/],
  [
    "prefix",
    { prefixAttentions: ["encoder.cross"] },
    /no such attention[\s\S]*encoder.self, decoder.self, decoder.cross/,
  ],
  ["full", { fullParts: ["layer_nom"] }, /no tensor of the model[\s\S]*layer_nom/],
])("%s refuses what the model does not have", (name, settings, message) => {
  expect(() => open(name, settings).parameters(checkpoint.config)).toThrow(message);
});

describe.each(["llama", "gpt2", "qwen2-window"])("decoder-only, %s", (family) => {
  test.each<[MethodName, object]>([
    ["lora", { loraRank: 3 }],
    ["prefix", {}],
    ["full", {}],
    ["p-tuning", { pTuningHidden: 6 }],
  ])("%s: central differences, and generation goes on as the teacher-forced pass says", async (name, settings) => {
    const causal = await openCheckpoint(here(`fixtures/tiny-causal-${family}`));
    const method = open(name, settings);
    const engine = engineOf(method, causal);
    const parameters = await startOf(method, causal);
    const led = rows.map((row) => ({ ...row, input: row.input.slice(0, -1), first: row.input.at(-1)! }));
    const own = makeBatch(led);
    const at = async (of: Parameters) => {
      const step = await (await engine.train()).run(of, own, weights);
      return { loss: step.loss.reduce((sum, l) => sum + l, 0) / targetTokens, gradients: step.gradients };
    };
    const { gradients } = await at(parameters);
    const length = norm(Object.values(gradients).map(({ data }) => norm(data)));
    const moved = (step: number) =>
      Object.fromEntries(
        Object.entries(parameters).map(([key, { shape, data }]) => [
          key,
          { shape, data: data.map((v, i) => v + (step * gradients[key]!.data[i]!) / length) },
        ]),
      );
    const h = 3e-4;
    const slope = ((await at(moved(h))).loss - (await at(moved(-h))).loss) / (2 * h);
    expect(Math.abs(slope - length) / length).toBeLessThan(1e-2);
    const written = await (await engine.generate()).run(parameters, led, 3);
    const forced = makeBatch(led.map((row, i) => ({ ...row, target: Int32Array.from([...written[i]!, 1]) })));
    const { logits } = await (await engine.forward()).run(parameters, forced);
    const [, U, V] = logits.shape as [number, number, number];
    for (const [b, ids] of written.entries())
      for (const [u, id] of ids.entries()) {
        const row = logits.data.subarray((b * U + u) * V, (b * U + u + 1) * V);
        expect(row.indexOf(Math.max(...row))).toBe(id);
      }
  });
});
