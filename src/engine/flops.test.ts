import { expect, test } from "vitest";
import { fullModel, partialModel } from "../model/partial.js";
import { t5Shape } from "../model/t5/shapes.js";
import { generationFlops, paperMacs, partialParameters, rankingFlops, stepFlops } from "./flops.js";

const large = t5Shape("large");
const xl = t5Shape("xl");

/** The five tasks of FPT's tables: target length of the closed form, and whether the decoder shrinks (fpt.md §8.2). */
const tasks = [
  { target: 5, reduceDecoder: false }, // MNLI
  { target: 5, reduceDecoder: false }, // QQP
  { target: 200, reduceDecoder: true }, // SQuAD 2.0
  { target: 200, reduceDecoder: true }, // ReCoRD
  { target: 512, reduceDecoder: true }, // XSum
];

type Size = { depth?: number; width?: number };
const ratio = (config: typeof large, size: Size, task: (typeof tasks)[number]) =>
  paperMacs(
    config,
    partialModel(config, { ...size, neuronChoice: "first", reduceDecoder: task.reduceDecoder }),
    512,
    task.target,
  ) / paperMacs(config, fullModel(config), 512, task.target);
const average = (config: typeof large, size: Size) =>
  tasks.reduce((sum, task) => sum + ratio(config, size, task), 0) / tasks.length;
const total = (config: typeof large, stages: readonly [share: number, size: Size][]) =>
  100 * stages.reduce((sum, [share, size]) => sum + share * average(config, size), 0);

// fpt.md §8.2, GMac, to three decimals
test.each([
  ["large", 5, 185.567],
  ["large", 200, 261.912],
  ["large", 512, 384.064],
  ["xl", 5, 702.908],
  ["xl", 200, 980.735],
  ["xl", 512, 1425.258],
] as const)("anchor: T5-%s with %i target tokens takes %f GMac", (model, target, expected) => {
  const config = t5Shape(model);
  expect((paperMacs(config, fullModel(config), 512, target) / 1e9).toFixed(3)).toBe(expected.toFixed(3));
});

// fpt.md §8.2, per-task ratios, Large: LD, FR, CR at ¼, ½, ¾
test.each([
  [0, [0.3621, 0.5747, 0.7874], [0.5704, 0.7136, 0.8568], [0.2547, 0.4315, 0.6799]],
  [2, [0.2688, 0.5126, 0.7563], [0.5767, 0.7178, 0.8589], [0.163, 0.3715, 0.6505]],
  [4, [0.2829, 0.5219, 0.761], [0.5848, 0.7232, 0.8616], [0.1791, 0.3835, 0.6572]],
])("per-task ratios of task %i, Large", (index, depth, width, both) => {
  const ratios = (size: (r: number) => Size) =>
    [0.25, 0.5, 0.75].map((r) => Number(ratio(large, size(r), tasks[index]!).toFixed(4)));
  expect(ratios((r) => ({ depth: r }))).toEqual(depth);
  expect(ratios((r) => ({ width: r }))).toEqual(width);
  expect(ratios((r) => ({ depth: r, width: r }))).toEqual(both);
});

test("Table 1's FLOPs column, Large: eight of nine printed percentages; LD 6/6 is 31 where 30 is printed", () => {
  const percent = (size: Size) => Math.round(100 * average(large, size));
  expect([0.25, 0.5, 0.75].map((r) => percent({ depth: r }))).toEqual([31, 54, 77]);
  expect([0.25, 0.5, 0.75].map((r) => percent({ width: r }))).toEqual([58, 72, 86]);
  expect([0.25, 0.5, 0.75].map((r) => percent({ depth: r, width: r }))).toEqual([20, 40, 66]);
});

const quarters = [0.25, 0.5, 0.75] as const;
const fpt = (share: number, size: (r: number) => Size): [number, Size][] => [
  ...quarters.map((r): [number, Size] => [share, size(r)]),
  [1 - 3 * share, {}],
];

test("Table 2's FLOPs column, Large: 72, 83, 65", () => {
  const percent = [
    total(
      large,
      fpt(0.2, (depth) => ({ depth })),
    ),
    total(
      large,
      fpt(0.2, (width) => ({ width })),
    ),
    total(
      large,
      fpt(0.2, (r) => ({ depth: r, width: r })),
    ),
  ];
  expect(percent.map((p) => p.toFixed(1))).toEqual(["72.4", "83.0", "65.3"]);
});

test("Table 2's FLOPs column, XL: the scripts' schedule gives 72/84/65; variants a, b and c give the printed 86/84/74", () => {
  const layers = [6, 12, 18];
  const percent = (depths: readonly number[], shares: readonly [number, number, number]) => {
    const stages = (share: number, size: (i: number) => Size): [number, Size][] => [
      ...[0, 1, 2].map((i): [number, Size] => [share, size(i)]),
      [1 - 3 * share, {}],
    ];
    return [
      stages(shares[0], (i) => ({ depth: depths[i] })),
      stages(shares[1], (i) => ({ width: quarters[i] })),
      stages(shares[2], (i) => ({ depth: depths[i], width: quarters[i] })),
    ].map((s) => total(xl, s).toFixed(1));
  };
  expect(percent(layers, [0.2, 0.2, 0.2]).map((p) => Math.round(Number(p)))).toEqual([72, 84, 65]);
  expect(percent([18, 18, 18], [0.2, 0.2, 0.2])).toEqual(["86.1", "83.6", "73.8"]);
  expect(percent([15, 18, 21], [0.2, 0.2, 0.2])).toEqual(["86.1", "83.6", "74.5"]);
  expect(percent(layers, [0.1, 0.2, 0.15])).toEqual(["86.1", "83.6", "74.0"]);
});

test("a worked example by hand: all products of a training step of a one-layer model", () => {
  const config = {
    ...large,
    width: 4,
    heads: 2,
    headWidth: 3,
    feedForwardWidth: 5,
    encoderLayers: 1,
    decoderLayers: 1,
    vocabulary: 7,
  };
  // D=4, I=6, F=5, V=7; P=1, T=2 → S=3; U=2
  const encoder = 3 * (4 * 4 * 6) + 3 * (3 * 4 * 5); // 288 + 180
  const encoderAttention = 2 * 3 * 3 * 6; // 108
  const decoderSelf = 2 * 4 * 4 * 6; // 192
  const decoderCross = 2 * 2 * 4 * 6 + 3 * 2 * 4 * 6; // q,o 96; k,v 144
  const decoderFeedForward = 2 * 3 * 4 * 5; // 120
  const head = 2 * 4 * 7; // 56
  const selfAttention = 2 * 2 * 2 * 6; // 48
  const crossAttention = 2 * 2 * 3 * 6; // 72
  const linear = encoder + decoderSelf + decoderCross + decoderFeedForward + head;
  const forward = linear + encoderAttention + selfAttention + crossAttention;
  // Backward: no self-attention of the first decoder layer (192 linear, 48 attention), no query of its cross-attention
  // (one linear product 2·4·6, one of the four attention products 2·3·6).
  const backward = linear - decoderSelf - 48 + 2 * (encoderAttention + crossAttention) - 36;
  const shape = { batch: 3, prompt: 1, input: 2, target: 2 };
  expect(stepFlops(config, fullModel(config), shape)).toEqual({
    paper: 2 * 3 * linear,
    total: 2 * 3 * (forward + backward),
  });
});

test("a plain feed-forward costs two matrices where a gated one costs three", () => {
  const plain = { ...large, gated: false };
  const gap = paperMacs(large, fullModel(large), 512, 5) - paperMacs(plain, fullModel(plain), 512, 5);
  expect(gap).toBe(24 * (512 + 5) * 1024 * 2816);
});

test("ranking encodes once whatever the number of choices; generation attends to a growing cache", () => {
  const shape = { batch: 2, prompt: 20, input: 108, target: 4 };
  const full = fullModel(large);
  const one = rankingFlops(large, full, { ...shape, choices: 1 }).total;
  const two = rankingFlops(large, full, { ...shape, choices: 2 }).total;
  const four = rankingFlops(large, full, { ...shape, choices: 4 }).total;
  expect(four - two).toBe(2 * (two - one));
  expect(two - one).toBeLessThan(0.1 * one);
  const generated = (target: number) => generationFlops(large, full, { ...shape, target }).total;
  const third = generated(3) - generated(2);
  const second = generated(2) - generated(1);
  // one more position in the self-attention cache: 2 products × I × 24 layers, 2 rows, 2 FLOPs
  expect(third - second).toBe(2 * 2 * 24 * 2 * 1024);
});

test("parameters of the public models, to the published millions", () => {
  // google/t5-v1_1-base 247.6 M, large 783.2 M, xl 2,849.8 M
  expect(partialParameters(t5Shape("base"), fullModel(t5Shape("base")))).toBe(247577856);
  expect(partialParameters(large, fullModel(large))).toBe(783150080);
  expect(partialParameters(xl, fullModel(xl))).toBe(2849757184);
});
