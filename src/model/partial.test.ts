import { expect, test } from "vitest";
import { SoftpromptError } from "../base/errors.js";
import { fullModel, isFull, layerChoices, parsePartial, partialModel, topK } from "./partial.js";
import { t5Shape } from "./t5/shapes.js";

const large = t5Shape("large");
const tiny = { ...large, encoderLayers: 4, decoderLayers: 3, feedForwardWidth: 8 };
const scores = {
  encoder: [0, 1, 2, 3].map((l) => Float32Array.from([5, 1, 5, 0, 9, 5, 2, 3], (x) => x + l)),
  decoder: [0, 1, 2].map((l) => Float32Array.from([0, 1, 2, 3, 4, 5, 6, 7], (x) => x * (l + 1))),
};

// fpt.md §3.1 lists every one of these sets.
test.each([
  [24, 6, [0, 4, 8, 13, 18, 23]],
  [24, 12, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 23]],
  [24, 18, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 21, 23]],
  [8, 2, [0, 7]],
  [8, 4, [0, 2, 4, 7]],
  [8, 6, [0, 1, 2, 3, 5, 7]],
  [12, 3, [0, 5, 11]],
  [12, 6, [0, 2, 4, 6, 8, 11]],
  [12, 9, [0, 1, 2, 3, 4, 5, 7, 9, 11]],
  [24, 24, Array.from({ length: 24 }, (_, i) => i)],
])("even choice of %i layers: %i stay", (L, n, expected) => {
  expect(layerChoices.even(n, L)).toEqual(expected);
});

test("even choice keeps first and last, exactly n, ascending, gaps that differ by at most one", () => {
  for (let L = 2; L <= 32; L++)
    for (let n = 2; n <= L; n++) {
      const layers = layerChoices.even(n, L);
      const gaps = layers.slice(1).map((layer, i) => layer - layers[i]!);
      expect([layers.length, layers[0], layers.at(-1)]).toEqual([n, 0, L - 1]);
      expect(Math.max(...gaps) - Math.min(...gaps)).toBeLessThanOrEqual(1);
      expect(gaps).toEqual([...gaps].sort((a, b) => a - b));
    }
});

test("first and score layer choices keep layer 0; ties go to the lower layer", () => {
  expect(partialModel(tiny, { depth: 2, layerChoice: "first" }).stacks.encoder!.layers).toEqual([0, 1]);
  expect(layerChoices.score(3, 5, { score: [0, 7, 7, 9, 7], dropped: null })).toEqual([0, 1, 3]);
  expect(partialModel(tiny, { depth: 2, layerChoice: "score" }, scores).stacks.encoder!.layers).toEqual([0, 3]);
});

test("neurons: the k largest, ties by lowest index, ascending, nested as k grows", () => {
  expect(Array.from(topK([5, 1, 5, 0, 9, 5, 2, 3], 3))).toEqual([0, 2, 4]);
  let smaller: number[] = [];
  for (let k = 1; k <= 8; k++) {
    const kept = Array.from(topK([5, 1, 5, 0, 9, 5, 2, 3], k));
    expect(kept).toEqual([...kept].sort((a, b) => a - b));
    expect(smaller.every((j) => kept.includes(j))).toBe(true);
    smaller = kept;
  }
});

test("ratios of the papers give the papers' sizes", () => {
  const kept = (model: "large" | "xl", ratio: number) => {
    const encoder = partialModel(t5Shape(model), { depth: ratio, width: ratio, neuronChoice: "first" }).stacks.encoder!;
    return [encoder.layers.length, encoder.neurons![0]!.length];
  };
  expect([0.25, 0.5, 0.75].map((r) => kept("large", r))).toEqual([
    [6, 704],
    [12, 1408],
    [18, 2112],
  ]);
  expect([0.25, 0.5, 0.75].map((r) => kept("xl", r))).toEqual([
    [6, 1280],
    [12, 2560],
    [18, 3840],
  ]);
});

test("a share rounds to the nearest whole number, never below two layers", () => {
  const layers = (depth: number) => partialModel(tiny, { depth }).stacks.encoder!.layers.length;
  expect([0.01, 0.25, 0.6, 0.65, 1].map(layers)).toEqual([2, 2, 2, 3, 4]);
});

test("the decoder stays whole unless asked, and scores are read by original layer number", () => {
  const spec = { depth: 2, width: 0.5 };
  const encoderOnly = partialModel(tiny, spec, scores);
  expect(encoderOnly.stacks.decoder).toEqual(fullModel(tiny).stacks.decoder);
  expect(encoderOnly.stacks.encoder!.layers).toEqual([0, 3]);
  const both = partialModel(tiny, { ...spec, reduceDecoder: true }, scores);
  expect(both.stacks.decoder!.layers).toEqual([0, 2]);
  expect(Array.from(both.stacks.decoder!.neurons![1]!)).toEqual([4, 5, 6, 7]);
});

test("keeping everything is the full model, whichever way it is written", () => {
  for (const spec of [{}, { depth: 1, width: 1, reduceDecoder: true }, { depth: 4, width: 8 }])
    expect(partialModel(tiny, spec)).toEqual(fullModel(tiny));
  const every = {
    encoder: {
      layers: [0, 1, 2, 3],
      neurons: Array.from({ length: 4 }, () => Int32Array.from({ length: 8 }, (_, i) => i)),
    },
    decoder: fullModel(tiny).stacks.decoder!,
  };
  expect(isFull(tiny, { stacks: every })).toBe(true);
});

test("names say the counts, and tell two choices of equal counts apart", () => {
  expect(partialModel(large, { depth: 6 }).name).toBe("e6d24");
  expect(partialModel(large, { depth: 6, reduceDecoder: true }).name).toBe("e6d6");
  const byScore = partialModel(tiny, { width: 0.5 }, scores).name;
  const byOrder = partialModel(tiny, { width: 0.5, neuronChoice: "first" }).name;
  expect(byScore).toMatch(/^e4w4d3-[0-9a-f]{8}$/);
  expect(byOrder).toMatch(/^e4w4d3-[0-9a-f]{8}$/);
  expect(byScore).not.toBe(byOrder);
  expect(partialModel(tiny, { depth: 2 }).name).not.toBe(partialModel(tiny, { depth: 2, layerChoice: "first" }).name);
});

test("the command line's text", () => {
  expect(parsePartial("depth=6,width=0.25")).toEqual({ depth: 6, width: 0.25 });
  expect(parsePartial(" depth = 0.5 , layers=first, neurons=first, decoder=true")).toEqual({
    depth: 0.5,
    layerChoice: "first",
    neuronChoice: "first",
    reduceDecoder: true,
  });
  expect(parsePartial("full")).toEqual({});
});

test.each([
  ["dpeth=6", /did you mean "depth"/],
  ["depth", /a share in \(0, 1\]/],
  ["depth=0", /a share/],
  ["depth=-3", /a share/],
  ["depth=1.5", /a share/],
  ["depth=NaN", /a share/],
  ["depth=6,depth=7", /given twice/],
  ["layers=evne", /did you mean "even"/],
  ["__proto__=1", /unknown key/],
])("refuses %s", (text, message) => {
  expect(() => parsePartial(text)).toThrow(SoftpromptError);
  expect(() => parsePartial(text)).toThrow(message);
});

test("refuses sizes the model cannot have, missing scores, foreign scores", () => {
  expect(() => partialModel(tiny, { depth: 5 })).toThrow(/cannot keep 5 of 4 layers/);
  expect(() => partialModel(tiny, { width: 9, neuronChoice: "first" })).toThrow(/cannot keep 9 of 8/);
  expect(() => partialModel(tiny, { width: 0.5 })).toThrow(/needs neuron scores/);
  expect(() => partialModel(large, { width: 0.5 }, scores)).toThrow(/do not belong to this model/);
});
