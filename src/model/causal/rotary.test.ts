/** Frequencies and tables against transformers' own (test/oracles/tiny_causal.py), at positions of several thousand. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { readFixture } from "../../../test/helpers/safetensors.js";
import { readConfig } from "../architectures.js";
import type { CausalConfig } from "./config.js";
import { frequencies, rotaryTable } from "./rotary.js";

const fixtures = new URL("../../../test/fixtures/", import.meta.url);
const text = (path: string) => readFileSync(new URL(path, fixtures), "utf8");

interface Case {
  config: { head_dim: number; rope_theta: number };
  frequencies: number[];
  dividedBy: number[];
}

const cases = JSON.parse(text("rope-frequencies.json")) as Record<string, Case>;

test.each(Object.entries(cases))("%s", (_, { config, frequencies: wanted, dividedBy }) => {
  const { head_dim } = config;
  const llama = {
    ...{ model_type: "llama", hidden_size: 2 * head_dim, num_attention_heads: 2, num_hidden_layers: 1 },
    ...{ intermediate_size: 8, vocab_size: 8, eos_token_id: 1 },
  };
  const { rotary } = readConfig(JSON.stringify({ ...llama, ...config }), "c") as CausalConfig;
  const got = frequencies(rotary!);
  expect(got.length).toBe(wanted.length);
  const plain = frequencies({ ...rotary!, scaling: { kind: "none" } });
  for (const [i, w] of wanted.entries()) {
    expect(got[i]! / w).toBeCloseTo(1, 6);
    expect(plain[i]! / got[i]! / dividedBy[i]!).toBeCloseTo(1, 5);
  }
});

describe("tables at far positions", () => {
  test.each(["llama", "llama-bias", "mistral", "qwen2", "qwen3", "neox", "neox-sequential"])("%s", (name) => {
    const wanted = readFixture(new URL(`tiny-causal-${name}/oracle.safetensors`, fixtures));
    const { ropePositions } = JSON.parse(text(`tiny-causal-${name}/oracle.json`)) as { ropePositions: number[] };
    const { rotary } = readConfig(text(`tiny-causal-${name}/config.json`), name) as CausalConfig;
    const table = rotaryTable(rotary!, 8192);
    for (const [part, rows] of Object.entries({ cos: table.cos, sin: table.sin }))
      for (const [n, position] of ropePositions.entries())
        for (let i = 0; i < table.half; i++) {
          const theirs = wanted[`rope.${part}`]!.data[n * table.half + i]!;
          expect(Math.abs(rows[position * table.half + i]! - theirs)).toBeLessThan(2e-7);
        }
  });
  test("a table that grows keeps its rows", () => {
    const rotary = { width: 8, base: 100, scaling: { kind: "none" } } as const;
    const short = rotaryTable(rotary, 3);
    const long = rotaryTable(rotary, 5000);
    expect(long.rows).toBeGreaterThanOrEqual(5000);
    expect(long.cos.subarray(0, short.cos.length)).toEqual(short.cos);
    expect(rotaryTable(rotary, 10)).toBe(long);
  });
});
