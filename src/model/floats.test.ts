import { describe, expect, test } from "vitest";
import { narrow, widen } from "./floats.js";

const bits = (x: Float32Array) => [...new Uint32Array(x.buffer, x.byteOffset, x.length)];
const halves = (values: number[], dtype: "float16" | "bfloat16") => {
  const b = narrow(Float32Array.from(values), dtype);
  return [...new Uint16Array(b.buffer, b.byteOffset, b.length / 2)];
};

describe("float16", () => {
  test("known values (IEEE 754 binary16)", () => {
    const known: [number, number][] = [
      [0, 0x0000],
      [-0, 0x8000],
      [1, 0x3c00],
      [-2, 0xc000],
      [65504, 0x7bff],
      [2 ** -14, 0x0400],
      [2 ** -24, 0x0001],
      [-1023 * 2 ** -24, 0x83ff],
      [Number.POSITIVE_INFINITY, 0x7c00],
      [1 / 3, 0x3555],
    ];
    expect(
      halves(
        known.map(([x]) => x),
        "float16",
      ),
    ).toEqual(known.map(([, h]) => h));
    const back = widen(new Uint8Array(Uint16Array.from(known.map(([, h]) => h)).buffer), "float16");
    for (const [i, [x]] of known.entries()) if (x !== 1 / 3) expect(Object.is(back[i], x)).toBe(true);
  });
  test("rounds to nearest, ties to even, over to infinity and under to zero", () => {
    expect(halves([65519.99, 65520, 2 ** -25, 2 ** -25 * 1.0001, 1 + 2 ** -11, 1 + 3 * 2 ** -11], "float16")).toEqual([
      0x7bff, 0x7c00, 0x0000, 0x0001, 0x3c00, 0x3c02,
    ]);
  });
});

test.each(["float16", "bfloat16"] as const)(
  "%s: every one of the 65,536 values survives widening and narrowing",
  (dtype) => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const back = new Uint16Array(narrow(widen(new Uint8Array(all.buffer), dtype), dtype).buffer);
    const quiet = dtype === "float16" ? 0x200 : 0x40;
    const isNaN16 = (h: number) => (dtype === "float16" ? (h & 0x7fff) > 0x7c00 : (h & 0x7fff) > 0x7f80);
    expect(back.findIndex((b, h) => b !== (isNaN16(h) ? h | quiet : h))).toBe(-1);
  },
);

test("bfloat16 rounds to nearest, ties to even, and never makes a NaN infinite", () => {
  const source = Uint32Array.from([0x3f808000, 0x3f818000, 0x3f808001, 0x7f7fffff, 0x7f800001, 0xffffffff]);
  const b = narrow(new Float32Array(source.buffer), "bfloat16");
  expect([...new Uint16Array(b.buffer)]).toEqual([0x3f80, 0x3f82, 0x3f81, 0x7f80, 0x7fc0, 0xffff]);
});

test("bytes may start anywhere, in a Buffer as well, and stay untouched", () => {
  const whole = Buffer.from([9, 0, 0, 0x80, 0x3f, 0x80, 0x3f]);
  expect([...widen(whole.subarray(1, 5), "float32")]).toEqual([1]);
  expect([...widen(whole.subarray(3, 7), "bfloat16")]).toEqual([1, 1]);
  expect(bits(widen(whole.subarray(1, 5), "float32"))).toEqual([0x3f800000]);
  expect(whole[0]).toBe(9);
});
