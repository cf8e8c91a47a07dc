/** @file Initialisers on a small embedding whose rows say who they are. */
import { expect, test } from "vitest";
import type { T5Config } from "../model/t5/config.js";
import { type InitInput, type InitSpec, initPrompt } from "./init.js";

const D = 4;
const V = 60;
/** Row i of the embedding is i, i + .25, i + .5, i + .75. */
const row = (id: number) => Array.from({ length: D }, (_, c) => id + c / 4);
const checkpoint: InitInput["checkpoint"] = {
  name: "rows",
  config: { family: "t5", width: D, vocabulary: V } as T5Config,
  readRows: async (name, ids) => {
    expect(name).toBe("shared.weight");
    return { shape: [ids.length, D], data: Float32Array.from(ids.flatMap(row)) };
  },
};
const tokenizer = { size: 50, encode: (text: string) => [...text].map((c) => c.charCodeAt(0) - 96) };
const input = (virtualTokens: number, seed = 1): InitInput => ({ checkpoint, tokenizer, virtualTokens, seed });
const ids = (data: Float32Array) => Array.from({ length: data.length / D }, (_, i) => data[i * D]!);

test("sampled vocabulary: whole rows, distinct, among the first ids; the seed decides", async () => {
  const prompt = await initPrompt({ kind: "sampledVocab", from: 20 }, input(20));
  expect([...prompt.data]).toEqual(ids(prompt.data).flatMap(row));
  expect([...ids(prompt.data)].sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i));
  expect(await initPrompt({ kind: "sampledVocab", from: 20 }, input(20))).toEqual(prompt);
  expect(await initPrompt({ kind: "sampledVocab", from: 20 }, input(20, 2))).not.toEqual(prompt);
  // the tokenizer has 50 ids though the embedding is padded to 60
  expect(Math.max(...ids((await initPrompt({ kind: "sampledVocab" }, input(50))).data))).toBe(49);
  await expect(initPrompt({ kind: "sampledVocab" }, input(51))).rejects.toMatchObject({ kind: "usage" });
  // 12.5 drew the first id again and again, NaN gave a prompt of no tokens
  for (const from of [12.5, Number.NaN, 0, -3])
    await expect(initPrompt({ kind: "sampledVocab", from }, input(10))).rejects.toMatchObject({ kind: "usage" });
});

test("uniform: ±1/√D by default, any range on request, mean near zero", async () => {
  const small = (await initPrompt({ kind: "uniform" }, input(2000))).data;
  expect(Math.max(...small)).toBeLessThan(0.5);
  expect(Math.max(...small)).toBeGreaterThan(0.499);
  expect(Math.min(...small)).toBeLessThan(-0.499);
  // 8000 draws of U(±0.5): the mean's standard deviation is 0.0032
  expect(Math.abs(small.reduce((a, b) => a + b, 0) / small.length)).toBeLessThan(0.015);
  expect(Math.max(...(await initPrompt({ kind: "uniform", range: 3 }, input(2000))).data)).toBeGreaterThan(2.99);
  // 1e39 is infinite as float32
  for (const range of [0, -1, Number.NaN, 1e39])
    await expect(initPrompt({ kind: "uniform", range }, input(1))).rejects.toMatchObject({ kind: "usage" });
});

test("class labels: the mean of each label's pieces, then sampled rows; more labels than tokens are cut", async () => {
  const prompt = await initPrompt({ kind: "classLabels", labels: ["ac", "e"] }, input(6));
  expect([...prompt.data.slice(0, 2 * D)]).toEqual([...row(2), ...row(5)]);
  const rest = ids(prompt.data).slice(2);
  expect([...prompt.data.slice(2 * D)]).toEqual(rest.flatMap(row));
  expect(new Set(rest).size).toBe(4);
  expect(ids((await initPrompt({ kind: "classLabels", labels: ["a", "b", "c"] }, input(2))).data)).toEqual([1, 2]);
  await expect(initPrompt({ kind: "classLabels", labels: ["a", ""] }, input(2))).rejects.toMatchObject({
    kind: "usage",
  });
});

test("text: cut or repeated to length", async () => {
  const of = async (text: string, length: number) =>
    ids((await initPrompt({ kind: "text", text }, input(length))).data);
  expect(await of("abc", 2)).toEqual([1, 2]);
  expect(await of("abc", 7)).toEqual([1, 2, 3, 1, 2, 3, 1]);
  await expect(of("", 2)).rejects.toMatchObject({ kind: "usage" });
});

test("an earlier prompt: copied, its shape and numbers checked", async () => {
  const earlier = { shape: [2, D], data: Float32Array.from({ length: 2 * D }, (_, n) => n) };
  const spec: InitSpec = { kind: "fromPrompt", prompt: earlier };
  const prompt = await initPrompt(spec, input(2));
  expect(prompt).toEqual(earlier);
  expect(prompt.data).not.toBe(earlier.data);
  await expect(initPrompt(spec, input(3))).rejects.toThrow(/\[3, 4\][\s\S]*\[2, 4\]/);
  const wide = { shape: [2, 2 * D], data: new Float32Array(4 * D) };
  await expect(initPrompt({ ...spec, prompt: wide }, input(2))).rejects.toMatchObject({ kind: "usage" });
  earlier.data[3] = Number.NaN;
  await expect(initPrompt(spec, input(2))).rejects.toMatchObject({ kind: "numeric" });
});

test("a length that is no length is refused", async () => {
  for (const length of [0, -1, 1.5])
    await expect(initPrompt({ kind: "uniform" }, input(length))).rejects.toThrow(/number of virtual tokens/);
});
