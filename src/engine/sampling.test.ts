/** Sampling: the order and the borders that transformers has, seeds, and what is no number. */
import { describe, expect, test } from "vitest";
import { random } from "../base/random.js";
import { candidates, logProbabilities, picker } from "./sampling.js";

const ids = (logits: number[], how: { temperature?: number; topK?: number; topP?: number }) =>
  candidates(Float32Array.from(logits), { temperature: 1, topK: 0, topP: 1, ...how }).map(({ id }) => id);

describe("which tokens may come next", () => {
  test("temperature comes before top-p: at 0.5 the first of 3, 2, 1 has 0.867 alone", () => {
    expect(ids([3, 2, 1], { temperature: 0.5, topP: 0.8 })).toEqual([0]);
    // top-p before temperature, as llama.cpp has it, would keep two here
    expect(ids([3, 2, 1], { temperature: 1, topP: 0.8 })).toEqual([0, 1]);
  });
  test("the token that crosses p stays", () => {
    // probabilities 0.5, 0.3, 0.2
    const logits = [0.5, 0.3, 0.2].map(Math.log);
    expect(ids(logits, { topP: 0.49 })).toEqual([0]);
    expect(ids(logits, { topP: 0.51 })).toEqual([0, 1]);
    expect(ids(logits, { topP: 0.81 })).toEqual([0, 1, 2]);
    expect(ids(logits, { topP: 1e-9 })).toEqual([0]);
  });
  test("top-k comes before top-p, whose probabilities are those of what is left", () => {
    const logits = [0.4, 0.3, 0.2, 0.1].map(Math.log);
    // of two tokens 0.571 and 0.429
    expect(ids(logits, { topK: 2, topP: 0.55 })).toEqual([0]);
    expect(ids(logits, { topP: 0.55 })).toEqual([0, 1]);
  });
  test("ties with the k-th stay", () => expect(ids([1, 5, 1, 0], { topK: 2 })).toEqual([1, 0, 2]));
  test("probabilities are the softmax at that temperature", () => {
    const [a, b] = candidates(Float32Array.of(0, 2), { temperature: 2, topK: 0, topP: 1 });
    expect([a!.id, b!.id]).toEqual([1, 0]);
    expect(a!.probability).toBeCloseTo(Math.E / (1 + Math.E), 12);
  });
  test("leaving out rare tokens before sorting changes nothing", () => {
    const draw = random(4, "logits");
    for (let n = 0; n < 50; n++) {
      const logits = Array.from({ length: 40 }, () => 6 * draw.next());
      const topP = draw.next();
      const weights = logits.map(Math.exp);
      const sum = weights.reduce((a, b) => a + b, 0);
      const order = weights.map((weight, id) => ({ weight, id })).sort((a, b) => b.weight - a.weight);
      let before = 0;
      const wanted = order.filter(({ weight }, i) => {
        const stays = i === 0 || before < topP * sum;
        before += weight;
        return stays;
      });
      expect(ids(logits, { topP })).toEqual(wanted.map(({ id }) => id));
    }
  });
});

test("a large vocabulary is drawn from as a whole sorted list is", () => {
  const draw = random(9, "vocabulary");
  // from equal logits to some that are below every band
  const logits = Float32Array.from({ length: 5000 }, () => Math.round(400 * draw.next() ** 2) / 8);
  logits[7] = Number.NEGATIVE_INFINITY;
  for (const how of [
    { temperature: 1, topK: 0, topP: 1 },
    { temperature: 30, topK: 0, topP: 1 },
    { temperature: 2, topK: 40, topP: 0.9 },
    { temperature: 30, topK: 0, topP: 0.97 },
  ]) {
    const list = candidates(logits, how);
    expect(list.map(({ id }) => id)).toEqual(list.map(({ id }) => id).sort((a, b) => logits[b]! - logits[a]! || a - b));
    expect(list.reduce((sum, { probability }) => sum + probability, 0)).toBeCloseTo(1, 9);
    const [pick, chances] = [picker({ ...how, seed: 4 }), random(4, "generate/0")];
    for (let n = 0; n < 200; n++) {
      let left = chances.next();
      const wanted = list.find(({ probability }) => {
        left -= probability;
        return left < 0;
      })!.id;
      expect(pick(0, logits)).toBe(wanted);
    }
  }
});

test("log-probabilities of odds that are known by hand; ties by id, and more than there are", () => {
  // odds 1 : 2 : 4 : 1, so eighths
  const logits = Float32Array.of(0, Math.log(2), Math.log(4), 0);
  const { chosen, likeliest } = logProbabilities(logits, 1, 3);
  expect(chosen).toBeCloseTo(Math.log(2 / 8), 6);
  expect(likeliest.map(({ id }) => id)).toEqual([2, 1, 0]);
  for (const [i, p] of [4 / 8, 2 / 8, 1 / 8].entries())
    expect(likeliest[i]!.logProbability).toBeCloseTo(Math.log(p), 6);
  expect(logProbabilities(logits, 3, 0)).toMatchObject({ chosen: expect.closeTo(Math.log(1 / 8), 6), likeliest: [] });
  expect(logProbabilities(logits, 0, 9).likeliest.map(({ id }) => id)).toEqual([2, 1, 0, 3]);
  expect(() => logProbabilities(Float32Array.of(0, Number.NaN), 0, 1)).toThrow("no number");
});

describe("picking", () => {
  const logits = Float32Array.of(1, 1.5, 0.5, 1.2);
  const many = (how: { temperature: number; seed: number }, row = 0) => {
    const pick = picker({ topK: 0, topP: 1, ...how });
    return Array.from({ length: 4000 }, () => pick(row, logits));
  };
  test("temperature 0 is greedy, the first of equals", () => {
    expect(new Set(many({ temperature: 0, seed: 1 }))).toEqual(new Set([1]));
    expect(picker({ temperature: 0, topK: 0, topP: 1, seed: 0 })(0, Float32Array.of(2, 7, 7))).toBe(1);
  });
  test("equal seeds draw equal ids, another seed or row others", () => {
    const one = many({ temperature: 1, seed: 1 });
    expect(many({ temperature: 1, seed: 1 })).toEqual(one);
    expect(many({ temperature: 1, seed: 2 })).not.toEqual(one);
    expect(many({ temperature: 1, seed: 1 }, 1)).not.toEqual(one);
  });
  test("ids come as often as their probabilities say", () => {
    const drawn = many({ temperature: 1, seed: 3 });
    for (const { id, probability } of candidates(logits, { temperature: 1, topK: 0, topP: 1 })) {
      const share = drawn.filter((other) => other === id).length / drawn.length;
      // four standard errors
      expect(Math.abs(share - probability)).toBeLessThan(4 * Math.sqrt((probability * (1 - probability)) / 4000));
    }
  });
  test.each([[[Number.NaN, 1]], [[1, Number.POSITIVE_INFINITY]], [[Number.NEGATIVE_INFINITY]]])(
    "%j is no answer",
    (bad) => {
      for (const temperature of [0, 1])
        expect(() => picker({ temperature, topK: 0, topP: 1, seed: 0 })(0, Float32Array.from(bad))).toThrow(
          /no number for the next token/,
        );
    },
  );
});

test.each([
  [{ temperature: Number.NaN }, /temperature[\s\S]*a finite number, 0 or more/],
  [{ temperature: -1 }, /temperature/],
  [{ temperature: Number.POSITIVE_INFINITY }, /temperature/],
  [{ temperature: "1" as unknown as number }, /temperature/],
  [{ topK: -1 }, /topK[\s\S]*a whole number/],
  [{ topK: 2.5 }, /topK/],
  [{ topP: Number.NaN }, /topP[\s\S]*from 0 to 1/],
  [{ topP: 1.5 }, /topP/],
  [{ seed: Number.NaN }, /seed/],
])("a sampling of %o is refused, and not taken for another", (wrong, message) => {
  const usual = { temperature: 1, topK: 0, topP: 1, seed: 0 };
  expect(() => picker({ ...usual, ...wrong })).toThrow(message);
  expect(() => picker({ ...usual, topP: 0 })).not.toThrow();
});
