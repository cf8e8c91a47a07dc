/**
 * @file Untrusted candidate.json, search.json and scores.json, with right checksums too: read, made again, or refused.
 *
 * Each case was found by `npm run fuzz-test`.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { scratch } from "../../test/helpers/job.js";
import { sha256 } from "../base/files.js";
import { sealed } from "../base/kept.js";
import { type Kept, readCandidate, writeCandidate } from "./candidate-file.js";
import type { Importance } from "./importance.js";
import { claimFolder, keptScores } from "./search-files.js";

const root = scratch("search-files");
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folder = "";
let folders = 0;
beforeEach(() => {
  folder = join(root, String(folders++));
  mkdirSync(folder);
});

describe("candidate.json", () => {
  const key = "ab".repeat(32);
  const entry = { step: 2, score: 0.5, loss: 1, flops: 10 };
  const candidate: Kept = {
    ...{
      name: "t01-p00",
      tokensPruned: 1,
      piecesPruned: 0,
      score: 0.5,
      loss: 1,
      bestStep: 2,
      steps: 4,
      finished: true,
    },
    mask: { tokens: Uint8Array.of(1, 0), piecesKept: Uint8Array.of(1, 1, 1, 1), pieces: 2, layout: "contiguous" },
    counts: { tokens: 1, pieces: 2, parameters: 4, fraction: 0.5 },
    prompt: { shape: [2, 4], data: Float32Array.of(1, 2, 3, 4, 0, 0, 0, 0) },
    scores: { accuracy: 0.5 },
    cost: { trainFlops: 1, evalFlops: 2, paperFlops: 3, seconds: 4, trainSeconds: 5, evalSeconds: 6 },
    ...{ history: [entry], rungs: [entry], rungFlops: 7, rungSeconds: 8 },
  };
  /** Changes the body and makes its checksum true. */
  const edit = (change: (body: Record<string, unknown>) => void) => {
    writeCandidate(folder, key, candidate);
    const text = readFileSync(join(folder, "candidate.json"), "utf8");
    const body = JSON.parse(text).body;
    change(body);
    const other = JSON.stringify(body);
    writeFileSync(join(folder, "candidate.json"), `{"key":"${key}","sha256":"${sha256(other)}","body":${other}}\n`);
  };

  test("what is written is read again, NaN and no score at all too", () => {
    const odd = { ...candidate, loss: Number.NaN, score: Number.NEGATIVE_INFINITY, mask: null };
    for (const whole of [candidate, odd]) {
      writeCandidate(folder, key, whole);
      expect(readCandidate(folder, key)).toEqual(whole);
    }
  });

  test.each<[string, (body: Record<string, unknown>) => void, RegExp]>([
    ["no cost", (body) => delete body.cost, /cost: /],
    ["a prompt that is a number", (body) => Object.assign(body, { prompt: 2 ** 63 }), /prompt: /],
    [
      "a prompt of another shape",
      (body) => Object.assign(body.prompt as object, { shape: [2 ** 30, 4] }),
      /not 1073741824 × 4/,
    ],
    [
      "NaN in the prompt",
      (body) => Object.assign(body.prompt as object, { data: "AADAfwAAwH8AAMB/AADAfwAAwH8AAMB/AADAfwAAwH8=" }),
      /finite/,
    ],
    ["a rung without a step", (body) => Object.assign(body, { rungs: [{ score: 1 }] }), /rungs\.0\.step/],
    ["a mask that is a text", (body) => Object.assign(body, { mask: "1010" }), /mask/],
  ])("refused: %s", (_, change, message) => {
    edit(change);
    expect(() => readCandidate(folder, key)).toThrow(message);
    expect(() => readCandidate(folder)).toThrow(expect.objectContaining({ name: "SoftpromptError" }));
  });

  test("from before costs were kept apart, or torn: trained again", () => {
    edit((body) => delete (body.cost as Record<string, unknown>).paperFlops);
    expect(readCandidate(folder, key)).toBeNull();
    writeFileSync(join(folder, "candidate.json"), readFileSync(join(folder, "candidate.json")).subarray(0, 200));
    expect(readCandidate(folder, key)).toBeNull();
  });

  test("a folder in the file's place is refused, not read", () => {
    mkdirSync(join(folder, "candidate.json"));
    expect(() => readCandidate(folder)).toThrow(/not a regular file/);
  });
});

describe("scores.json", () => {
  const scores: Importance = {
    ...{ tokens: [1, 2], pieces: [1, 2, 3, 4], piecesPerToken: 2, layout: "contiguous", mode: "perExample" },
    ...{ normalised: false, partial: "full", examples: 3, loss: 1, seconds: 2, flops: 5 },
  };
  const read = (measured: Importance[] = []) =>
    keptScores(join(folder, "scores.json"), "p", { tokens: 2, pieces: 2 }, async () => {
      measured.push(scores);
      return scores;
    });

  test.each<[string, object]>([
    ["of fewer tokens", { tokens: [1] }],
    ["of other pieces", { piecesPerToken: 4 }],
    ["that are no lists", { tokens: { length: 2 } }],
    ["that are texts", { pieces: ["1", "2", "3", "4"] }],
    ["with more than scores", { toString: 1 }],
  ])("scores %s, with a right checksum, are measured again", async (_, change) => {
    await read();
    const measured: Importance[] = [];
    expect(await read(measured)).toEqual(scores);
    expect(measured).toEqual([]);
    const other = { ...scores, ...change };
    writeFileSync(join(folder, "scores.json"), sealed(JSON.stringify(other), "p"));
    expect(await read(measured)).toEqual(scores);
    expect(measured.length).toBe(1);
  });

  test("null, and no JSON, are measured again", async () => {
    for (const text of ["null", "", "{", "[]", '{"prompt":"p"}']) {
      writeFileSync(join(folder, "scores.json"), text);
      const measured: Importance[] = [];
      await read(measured);
      expect(measured.length).toBe(1);
    }
  });
});

test("what deaths left beside a search's own files is removed when it goes on; a link is not followed, and nothing else is touched", () => {
  claimFolder(folder, { rows: "1" }, false);
  const candidate = join(folder, "candidates", "t01-p00");
  const elsewhere = join(folder, "elsewhere");
  for (const made of [candidate, elsewhere]) mkdirSync(made, { recursive: true });
  symlinkSync(elsewhere, join(folder, "candidates", "t02-p00"));
  const left = (at: string, name: string) => {
    writeFileSync(join(at, name), "half a fi");
    return join(at, name);
  };
  const temporary = [
    left(folder, ".scores.json.4194000-0123abcd.tmp"),
    left(join(folder, "candidates"), ".worker.json.4194000-0123abcd.tmp"),
    left(candidate, ".candidate.json.4194000-0123abcd.tmp"),
  ];
  const others = [
    left(elsewhere, ".candidate.json.4194000-0123abcd.tmp"),
    left(folder, "notes.tmp"),
    left(join(folder, "candidates"), "worker.json"),
  ];
  expect(() => claimFolder(folder, { rows: "2" }, true)).toThrow(/changed/);
  expect(temporary.map((path) => existsSync(path))).toEqual([true, true, true]);
  claimFolder(folder, { rows: "1" }, true);
  expect(temporary.map((path) => existsSync(path))).toEqual([false, false, false]);
  expect(others.map((path) => existsSync(path))).toEqual([true, true, true]);
});

test("search.json that says nothing, or of other inputs, is refused", () => {
  claimFolder(folder, { rows: "1" }, false);
  claimFolder(folder, { rows: "1" }, true);
  expect(() => claimFolder(folder, { rows: "1" }, false)).toThrow(/already holds a search/);
  expect(() => claimFolder(folder, { rows: "2" }, true)).toThrow(/changed since it began: rows/);
  // names and values of any length are told in part
  claimFolder(join(folder, "long"), { ["x".repeat(9000)]: "y".repeat(9000), toString: "1" }, false);
  expect(() => claimFolder(join(folder, "long"), { rows: "1" }, true)).toThrow(
    expect.objectContaining({ message: expect.stringMatching(/^[\s\S]{1,2000}$/) }),
  );
  for (const text of ["{}", "[", '{"format":2,"identity":{"__proto__":{}}}']) {
    writeFileSync(join(folder, "search.json"), text);
    expect(() => claimFolder(folder, { rows: "1" }, true)).toThrow(expect.objectContaining({ kind: "run" }));
  }
});
