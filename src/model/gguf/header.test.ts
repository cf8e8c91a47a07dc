import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Fake, fakeGguf, text, textMeta, u32, u32Meta, u64 } from "../../../test/helpers/gguf.js";
import { SoftpromptError } from "../../base/errors.js";
import { type GgufHeader, parseGgufHeader } from "./header.js";

const fixtures = new URL("../../../test/fixtures/gguf/", import.meta.url);
const parse = (bytes: Uint8Array) => parseGgufHeader(bytes, bytes.length, "m.gguf") as GgufHeader;
const problem = (bytes: Uint8Array, fileBytes = bytes.length) => {
  try {
    parseGgufHeader(bytes, fileBytes, "m.gguf");
    return "accepted";
  } catch (error) {
    if (!(error instanceof SoftpromptError)) throw error;
    expect(error.kind).toBe("checkpoint");
    return error.message;
  }
};
const array = (key: string, element: number, count: bigint | number, ...values: Uint8Array[]) => ({
  ...{ key, type: 9 },
  value: Buffer.concat([u32(element), u64(count), ...values]),
});

test("a sound file: shape slowest first, place in the file, alignment of its own", () => {
  const file = fakeGguf({ meta: [u32Meta("general.alignment", 64)], tensors: [{ dims: [2, 4] }], align: 64 });
  const { tensors, dataOffset, version } = parse(file);
  expect(version).toBe(3);
  expect(dataOffset % 64).toBe(0);
  expect(tensors.get("a")).toEqual({ name: "a", type: "F32", shape: [4, 2], offset: dataOffset, length: 32 });
});

test("offset 0 and version 2 are valid; metadata of every kind comes back", () => {
  const meta = [
    { key: "u8", type: 0, value: Uint8Array.of(200) },
    { key: "i8", type: 1, value: Uint8Array.of(200) },
    { key: "i32", type: 5, value: u32(-7) },
    { key: "yes", type: 7, value: Uint8Array.of(1) },
    { key: "u64", type: 10, value: u64(2n ** 60n) },
    textMeta("text", "naïve 🦙"),
    array("list", 8, 2, text("a"), text("")),
    { key: "__proto__", type: 4, value: u32(5) },
  ];
  const { metadata } = parse(fakeGguf({ version: u32(2), meta }));
  expect(Object.fromEntries([...metadata].filter(([k]) => k !== "__proto__"))).toEqual({
    ...{ u8: 200, i8: -56, i32: -7, yes: true, u64: 2n ** 60n, text: "naïve 🦙", list: ["a", ""] },
  });
  expect(metadata.get("__proto__")).toBe(5);
});

describe("refused, saying why, before anything large is made", () => {
  const one = (tensor: NonNullable<Fake["tensors"]>[number], more: Fake = {}) =>
    fakeGguf({ tensors: [tensor], ...more });
  const cases: Record<string, [Uint8Array, RegExp]> = {
    "another format": [fakeGguf({ magic: "GGML" }), /not a GGUF file/],
    "a Git LFS pointer": [
      Buffer.from("version https://git-lfs.github.com/spec/v1\n"),
      /Git LFS pointer[\s\S]*git lfs pull/,
    ],
    "a web page": [Buffer.from("<!DOCTYPE html>"), /a web page/],
    "version 1": [fakeGguf({ version: u32(1) }), /version of GGUF is not read/],
    "version 4": [fakeGguf({ version: u32(4) }), /version of GGUF is not read/],
    "big-endian": [fakeGguf({ version: Uint8Array.of(0, 0, 0, 3) }), /big-endian/],
    "2^63 tensors": [fakeGguf({ tensorCount: 2n ** 63n }), /number of tensors is absurd/],
    "2^63 keys": [fakeGguf({ keyCount: 2n ** 63n }), /number of metadata keys is absurd/],
    "more tensors than fit": [fakeGguf({ tensorCount: 90_000 }), /number of tensors is more than the file can hold/],
    "more keys than fit": [fakeGguf({ keyCount: 9_000 }), /metadata keys is more than the file can hold/],
    "a string of 2^63": [
      fakeGguf({ meta: [{ key: "k", type: 8, value: u64(2n ** 63n) }] }),
      /length of key "k" is absurd/,
    ],
    "a string longer than the file": [
      fakeGguf({ meta: [{ key: "k", type: 8, value: u64(5_000) }] }),
      /more than the file can hold/,
    ],
    "an array of 2^63": [fakeGguf({ meta: [array("k", 4, 2n ** 63n)] }), /absurd/],
    "an array of 999,999 in a small file": [
      fakeGguf({ meta: [array("k", 4, 999_999, u32(1))] }),
      /more than the file can hold/,
    ],
    "arrays within arrays": [fakeGguf({ meta: [array("k", 9, 1, u32(9), u64(1))] }), /arrays within an array/],
    "an unknown type of metadata": [fakeGguf({ meta: [{ key: "k", type: 13, value: u32(0) }] }), /unknown type/],
    "a truth value of 2": [fakeGguf({ meta: [{ key: "k", type: 7, value: Uint8Array.of(2) }] }), /no truth value/],
    "a key twice": [fakeGguf({ meta: [u32Meta("k", 1), u32Meta("k", 1)] }), /stands twice/],
    "the key __proto__ twice": [fakeGguf({ meta: [u32Meta("__proto__", 1), u32Meta("__proto__", 1)] }), /stands twice/],
    "bad UTF-8": [
      fakeGguf({ meta: [{ key: "k", type: 8, value: Buffer.concat([u64(2), Uint8Array.of(0xc3, 0x28)]) }] }),
      /UTF-8/,
    ],
    "a name twice": [fakeGguf({ tensors: [{}, { offset: 32 }], data: 64 }), /tensor "a" stands twice/],
    "no dimension": [one({ dims: [] }), /number of dimensions/],
    "five dimensions": [one({ dims: [1, 1, 1, 1, 8] }), /number of dimensions/],
    "a dimension of 0": [one({ dims: [0, 8] }), /impossible dimension/],
    "a dimension of 2^63": [one({ dims: [2n ** 63n] }), /impossible dimension/],
    "a product over 2^63": [one({ dims: [2n ** 40n, 2n ** 40n] }), /larger than the file/],
    "a type that is not read": [one({ type: 17, dims: [256] }), /type that is not read[\s\S]*Q4_K[\s\S]*IQ2_XS/],
    "an unknown type": [one({ type: 99 }), /type that is not read[\s\S]*type 99/],
    "a row of half a block": [one({ type: 8, dims: [16] }), /whole number of blocks/],
    "an offset out of line": [one({ offset: 4 }, { data: 64 }), /alignment/],
    "an offset past the end": [one({ offset: 1 << 20 }), /outside the file/],
    "an offset of 2^63": [one({ offset: 2n ** 63n }), /outside the file/],
    "tensors one over the other": [
      fakeGguf({ tensors: [{ dims: [16] }, { name: "b", offset: 32 }], data: 96 }),
      /overlaps/,
    ],
    "data cut": [fakeGguf({ data: 31 }), /outside the file[\s\S]*cut short/],
    "alignment 0": [fakeGguf({ meta: [u32Meta("general.alignment", 0)] }), /general.alignment/],
    "alignment 3": [fakeGguf({ meta: [u32Meta("general.alignment", 3)] }), /general.alignment/],
    "alignment 2^31": [fakeGguf({ meta: [u32Meta("general.alignment", 2 ** 31)] }), /general.alignment/],
  };
  test.each(Object.entries(cases))("%s", (_, [file, pattern]) => expect(problem(file)).toMatch(pattern));

  test("escape codes in a name do not reach the message raw", () => {
    expect(problem(one({ name: "\u001b[31mred", type: 99 }))).not.toContain("\u001b");
  });
});

describe("the fixtures", () => {
  const files = readdirSync(fixtures).filter((f) => f.endsWith(".gguf") && !f.startsWith("split"));
  test.each(files)("%s reads from any part of its start, and cut anywhere is refused or asks for more", (name) => {
    const file = new Uint8Array(readFileSync(new URL(name, fixtures)));
    const whole = parse(file);
    expect(whole.tensors.size).toBeGreaterThan(5);
    let have = 16;
    for (let tries = 0; tries < 10_000; tries++) {
      const part = parseGgufHeader(file.subarray(0, have), file.length, "m.gguf");
      if (!("more" in part)) {
        expect(part).toEqual(whole);
        break;
      }
      expect(part.more).toBeGreaterThan(have);
      expect(part.more).toBeLessThanOrEqual(whole.dataOffset);
      have = part.more + 400;
    }
    // as if the file ended there
    for (const cut of [0, 3, 4, 8, 23, 24, 100, 1000, whole.dataOffset - 40, whole.dataOffset, file.length - 40])
      expect(problem(file.subarray(0, cut)), `cut at ${cut}`).not.toBe("accepted");
  });

  test("any bytes give a header or a typed error", () => {
    const sound = new Uint8Array(readFileSync(new URL("qwen2.gguf", fixtures)));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(4_000), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 8 }),
        (edits) => {
          const bytes = sound.slice();
          for (const [at, value] of edits) bytes[at] = value;
          problem(bytes);
        },
      ),
      { numRuns: 300 },
    );
  });
});
