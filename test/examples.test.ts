/**
 * @file The bundled examples keep their promises: balanced, varied, no sentence twice, nothing of validation in training.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { loadDataset } from "../src/data/dataset.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const rows = (split: string) =>
  readFileSync(join(root, `examples/quickstart/${split}.jsonl`), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { text: string; label: string });
const [train, validation] = [rows("train"), rows("validation")];
const words = (text: string) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
const key = (text: string) => words(text).join("");

test("320 and 160 rows, half of each label, in mixed order", () => {
  for (const [split, count] of [
    [train, 320],
    [validation, 160],
  ] as const) {
    expect(split.length).toBe(count);
    expect(split.filter((r) => r.label === "positive").length).toBe(count / 2);
    expect(split.filter((r) => r.label === "negative").length).toBe(count / 2);
    expect(split.slice(0, 40).filter((r) => r.label === "positive").length).toBeGreaterThan(8);
  }
});

test("no sentence stands twice, none nearly", () => {
  const all = [...train, ...validation].map((r) => ({ text: r.text, set: new Set(words(r.text)) }));
  expect(new Set(all.map((r) => key(r.text))).size).toBe(480);
  const near: string[] = [];
  for (let i = 0; i < all.length; i++)
    for (let j = 0; j < i; j++) {
      const common = [...all[i]!.set].filter((w) => all[j]!.set.has(w)).length;
      // Jaccard similarity of the words; two sentences written independently share "the" and a few others.
      const similarity = common / (all[i]!.set.size + all[j]!.set.size - common);
      if (similarity > 0.5) near.push(`${similarity.toFixed(2)}: ${all[i]!.text} | ${all[j]!.text}`);
    }
  expect(near).toEqual([]);
});

test("the sentences do not look generated: lengths, openings and vocabulary vary", () => {
  const all = [...train, ...validation];
  const lengths = all.map((r) => words(r.text).length);
  expect([Math.min(...lengths) <= 5, Math.max(...lengths) >= 18]).toEqual([true, true]);
  expect(new Set(all.flatMap((r) => words(r.text))).size).toBeGreaterThan(1500);
  const openings = new Map<string, number>();
  for (const r of all) {
    const opening = words(r.text).slice(0, 3).join(" ");
    openings.set(opening, (openings.get(opening) ?? 0) + 1);
  }
  expect(Math.max(...openings.values())).toBeLessThanOrEqual(5);
  const both = (pattern: RegExp) =>
    ["positive", "negative"].map((l) => all.filter((r) => r.label === l && pattern.test(r.text)).length);
  // Negation and contrast stand in both labels, so that no single word gives the answer away.
  for (const count of both(/\b(not?|never|nobody|nothing|n't)\b/i)) expect(count).toBeGreaterThan(20);
  for (const count of both(/\b(but|yet|although|instead)\b/i)) expect(count).toBeGreaterThan(4);
});

const sst2 = join(root, "../shared/datasets/SST-2");
test.skipIf(!existsSync(sst2))("no sentence is taken from SST-2", () => {
  const mine = new Set([...train, ...validation].map((r) => key(r.text)));
  for (const split of ["train", "validation"])
    for (const line of readFileSync(join(sst2, `${split}.jsonl`), "utf8")
      .trim()
      .split("\n"))
      if (mine.has(key((JSON.parse(line) as { sentence: string }).sentence))) throw new Error(line);
});

test("the quickstart loads as a task", async () => {
  const found = await loadDataset({
    files: { train: "train.jsonl", validation: "validation.jsonl" },
    base: join(root, "examples/quickstart"),
    name: "quickstart",
    template: "sentence: {text}",
    label: "label",
  });
  expect(found.task.verbalizer).toEqual({ negative: "negative", positive: "positive" });
  expect([found.train.length, found.validation.length, found.notices]).toEqual([320, 160, []]);
});

test("the own-task example is what its config says", async () => {
  const config = parse(readFileSync(join(root, "examples/own-task/config.yaml"), "utf8")) as Record<string, never>;
  const found = await loadDataset({
    files: { train: config.train! },
    base: root,
    name: config.task,
    template: config.template!,
    label: config.labelColumn,
    verbalizer: config.verbalizer,
    metrics: config.metrics,
    validationShare: config.validationShare,
    seed: config.dataSeed,
  });
  expect([found.train.length, found.validation.length]).toEqual([18, 6]);
  expect(new Set(found.train.map((r) => r.target))).toEqual(new Set(["money", "computer", "person"]));
});
