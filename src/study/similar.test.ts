import { expect, test } from "vitest";
import { random } from "../base/random.js";
import { measures, moveCosine, neuronOverlap, similarityMatrix } from "./similar.js";

const prompt = (...rows: number[][]) => ({
  shape: [rows.length, rows[0]!.length],
  data: Float32Array.from(rows.flat()),
});

// By hand: a = [[3,4],[0,1]], b = [[4,3],[1,0]]
// flattened: 24 / (√26·√26) = 24/26; pairs: 24/25, 3/5, 3/5, 0 → mean 0.54
// distances: flattened √(1+1+1+1) = 2; pairs √2, √(4+16)=√20, √(16+4)=√20, √2
test("measures of a worked example", () => {
  const [a, b] = [prompt([3, 4], [0, 1]), prompt([4, 3], [1, 0])];
  expect(measures.cosine.of(a, b)).toBeCloseTo(24 / 26, 12);
  expect(measures.tokenCosine.of(a, b)).toBeCloseTo(0.54, 12);
  expect(measures.euclidean.of(a, b)).toBeCloseTo(1 / 3, 12);
  expect(measures.tokenEuclidean.of(a, b)).toBeCloseTo(1 / (1 + (2 * Math.SQRT2 + 2 * Math.sqrt(20)) / 4), 12);
});

test("a prompt is most like itself, the matrix is symmetric, a zero prompt gives 0 and not NaN", () => {
  const rng = random(1, "similar");
  const prompts = Array.from({ length: 4 }, () => prompt([rng.next(), rng.next()], [rng.next(), rng.next()]));
  const matrix = similarityMatrix(prompts, "cosine");
  matrix.forEach((row, i) => {
    expect(row[i]).toBeCloseTo(1, 12);
    row.forEach((value, j) => {
      expect(value).toBe(matrix[j]![i]);
    });
  });
  expect(measures.cosine.of(prompt([0, 0]), prompt([1, 2]))).toBe(0);
  expect(() => similarityMatrix([prompt([1, 2]), prompt([1, 2, 3])], "cosine")).toThrow(/different shapes/);
});

test("the move's cosine forgets a common start", () => {
  const start = prompt([10, 10]);
  expect(moveCosine(prompt([11, 10]), start, prompt([10, 11]), start)).toBe(0);
  expect(measures.cosine.of(prompt([11, 10]), prompt([10, 11]))).toBeGreaterThan(0.99);
});

test("overlap of the most active neurons, mean over layers", () => {
  const a = [Float32Array.of(4, 3, 2, 1), Float32Array.of(1, 2, 3, 4)];
  const b = [Float32Array.of(4, 3, 1, 2), Float32Array.of(4, 3, 2, 1)];
  expect(neuronOverlap(a, b, 0.5)).toBe(0.5);
  expect(neuronOverlap(a, a, 0.5)).toBe(1);
});
