import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SoftpromptError } from "../base/errors.js";
import { parseSafetensors, parseSafetensorsHeader, safetensorsLimits, writeSafetensors } from "./safetensors.js";

const fixture = (name: string) => new URL(`../../test/fixtures/${name}`, import.meta.url);

/** A file from a header as text and a number of data bytes. */
const file = (header: string, dataBytes: number, claimed = Buffer.byteLength(header)) => {
  const bytes = new Uint8Array(8 + Buffer.byteLength(header) + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(claimed), true);
  bytes.set(Buffer.from(header), 8);
  return bytes;
};
const one = (dtype: unknown, shape: unknown, offsets: unknown) =>
  JSON.stringify({ a: { dtype, shape, data_offsets: offsets } });

describe("writer", () => {
  test("the bytes, worked by hand: widest type first, then by name, header blank-padded to 8", () => {
    const bytes = writeSafetensors(
      {
        b: { shape: [2], data: Float32Array.of(1, -2) },
        a: { shape: [1], data: Float32Array.of(1), dtype: "bfloat16" },
        c: { shape: [3], data: Uint8Array.of(1, 0, 1), dtype: "bool" },
      },
      { z: "1", format: "pt" },
    );
    const header =
      '{"__metadata__":{"format":"pt","z":"1"},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},' +
      '"a":{"dtype":"BF16","shape":[1],"data_offsets":[8,10]},"c":{"dtype":"BOOL","shape":[3],"data_offsets":[10,13]}}';
    const padded = header.padEnd(Math.ceil(header.length / 8) * 8);
    const expected = file(padded, 13);
    expected.set([0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0, 0x80, 0x3f, 1, 0, 1], 8 + padded.length);
    expect(Buffer.from(bytes).equals(expected)).toBe(true);
  });

  test("the reference writer's own file comes back byte for byte (torch, safetensors 0.8)", () => {
    const original = readFileSync(fixture("tiny-t5-v10/model.safetensors"));
    const read = parseSafetensors(original, "v10");
    const tensors = Object.fromEntries([...read.entries.keys()].map((name) => [name, read.tensor(name)]));
    const again = writeSafetensors(tensors, Object.fromEntries(read.metadata));
    expect(Buffer.from(again).equals(original)).toBe(true);
  });

  test("what is written is read again, whatever it is", () => {
    const kinds = {
      float32: (v: number[]) => Float32Array.from(v),
      int32: (v: number[]) => Int32Array.from(v),
      bool: (v: number[]) => Uint8Array.from(v, Math.abs),
    };
    const tensor = fc
      .tuple(fc.array(fc.nat(4), { maxLength: 3 }), fc.constantFrom("float32", "int32", "bool"))
      .chain(([shape, dtype]) => {
        const n = shape.reduce((a, b) => a * b, 1);
        return fc
          .array(fc.integer({ min: -128, max: 127 }), { minLength: n, maxLength: n })
          .map((v) => ({ shape, dtype, data: kinds[dtype as keyof typeof kinds](v) }));
      });
    const name = fc.string({ minLength: 1, maxLength: 20, unit: "binary" }).filter((s) => s !== "__metadata__");
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(name, tensor), { selector: ([n]) => n, maxLength: 5 }), (list) => {
        const read = parseSafetensors(writeSafetensors(new Map(list) as never), "round trip");
        expect(read.entries.size).toBe(list.length);
        for (const [n, t] of list) {
          expect(read.entries.get(n)).toMatchObject({ dtype: t.dtype, shape: t.shape });
          expect(Buffer.from(read.bytesOf(n)!).equals(Buffer.from(t.data.buffer))).toBe(true);
        }
      }),
      { numRuns: 100 },
    );
  });

  test("data that does not fill its shape is a bug of the caller", () => {
    expect(() => writeSafetensors({ a: { shape: [3], data: new Float32Array(2) } })).toThrow(TypeError);
  });
});

test("a type newer than this code is skipped, and refused where it is asked for", () => {
  const read = parseSafetensors(file(one("F4", [16], [0, 8]), 8), "x.safetensors");
  expect(read.entries.get("a")).toMatchObject({ dtype: null, storedType: "F4", length: 8 });
  expect(() => read.tensor("a")).toThrow(/unsupported type[\s\S]*F4/);
});

describe("reader refuses", () => {
  const good = { dtype: "F32", shape: [2], data_offsets: [0, 8] };
  const cases: [string, Uint8Array, RegExp][] = [
    ["an empty file", new Uint8Array(0), /too short/],
    ["a header longer than the file", file("{}", 0, 400), /ends inside its header/],
    ["a header length of 2^63", file("{}", 0).map((b, i) => (i === 7 ? 0x80 : b)), /header is too long/],
    [
      "a pickle",
      Uint8Array.from(Buffer.from("\x80\x02}q\x00(X\x00\x00\x00\x00", "latin1")),
      /not a safetensors file[\s\S]*pickle/,
    ],
    ...Object.entries({
      "version https://git-lfs.github.com/spec/v1\n": /Git LFS pointer[\s\S]*git lfs pull/,
      "<!DOCTYPE html><html>": /a web page[\s\S]*download it again/,
      "<html><body>": /a web page/,
      "\n<html><body>": /a web page/,
      "GGUF\x03\0\0\0\0\0\0\0": /a GGUF file[\s\S]*\.gguf/,
      "PK\x03\x04\0\0\0\0\x08\x08\0\0": /zip archive/,
      '{"error":"Invalid username"}': /JSON[\s\S]*message of a server/,
    }).map(
      ([text, pattern]) =>
        [text.slice(0, 20).trim(), Uint8Array.from(Buffer.from(text, "latin1")), pattern] as [
          string,
          Uint8Array,
          RegExp,
        ],
    ),
    ["a header that is no object", file("[]", 0), /must start with \{/],
    ["a byte order mark", file("\ufeff{}", 0), /must start with \{/],
    ["broken UTF-8", file('{"\u00e9":1}', 0).map((b) => (b === 0xc3 ? 0xff : b)), /not valid UTF-8/],
    ["broken JSON", file('{"a":}', 0), /not valid JSON/],
    [
      "a name twice",
      file(`{"a":${JSON.stringify(good)},"\\u0061":${JSON.stringify(good)}}`, 8),
      /same key stands twice/,
    ],
    ["a dtype twice", file('{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8), /same key/],
    ["deep nesting", file(`{"a":${"[".repeat(2000)}`, 0), /nested too deeply/],
    ["a type named constructor", file(one("constructor", [2], [0, 8]), 8), /impossible dtype/],
    ["an unknown field", file(JSON.stringify({ a: { ...good, x: 1 } }), 8), /unknown field/],
    ["a negative size", file(one("F32", [-2], [0, 8]), 8), /impossible shape/],
    ["a fractional size", file(one("F32", [1.5], [0, 6]), 6), /impossible shape/],
    ["a size beyond 2^53", file(one("F32", [2 ** 60], [0, 8]), 8), /impossible shape/],
    ["sizes whose product wraps", file(one("F32", [2 ** 32, 2 ** 32], [0, 0]), 0), /wrong number of bytes/],
    ["rank 9", file(one("F32", [1, 1, 1, 1, 1, 1, 1, 1, 1], [0, 4]), 4), /impossible shape/],
    ["offsets the wrong way", file(one("F32", [2], [8, 0]), 8), /impossible data_offsets/],
    ["offsets beyond 2^53", file(one("F32", [2], [0, 1e300]), 8), /impossible data_offsets/],
    ["offsets beyond the file", file(one("F32", [2], [8, 16]), 8), /outside the file/],
    ["the wrong number of bytes", file(one("F32", [2], [0, 4]), 4), /wrong number of bytes/],
    ["a gap", file(one("F32", [2], [4, 12]), 12), /leaves a gap/],
    ["an overlap", file(JSON.stringify({ a: good, b: { ...good, data_offsets: [4, 12] } }), 12), /overlaps/],
    ["one span for two tensors", file(JSON.stringify({ a: good, b: good }), 8), /overlaps/],
    ["bytes behind the last tensor", file(one("F32", [2], [0, 8]), 9), /does not end where the file ends/],
    ["metadata that is no text", file('{"__metadata__":{"a":1}}', 0), /must be a string/],
    ["an endless name", file(JSON.stringify({ ["a".repeat(600)]: good }), 8), /empty or too long/],
    [
      "a value whose toString is no function",
      file('{"a":{"dtype":{"toString":1,"valueOf":1},"shape":[2],"data_offsets":[0,8]}}', 8),
      /impossible dtype/,
    ],
  ];
  test.each(cases)("%s", (_, bytes, pattern) => {
    expect(() => parseSafetensors(bytes, "x.safetensors", "adapter")).toThrow(pattern);
    expect(() => parseSafetensors(bytes, "x.safetensors", "adapter")).toThrow(SoftpromptError);
  });

  test("but reads zero sizes, scalars, types it only skips, and names like __proto__", () => {
    const header = JSON.stringify({
      z: { dtype: "F64", shape: [0, 2 ** 40], data_offsets: [0, 0] },
      s: { dtype: "I8", shape: [], data_offsets: [0, 1] },
    });
    const bytes = file(header.replace('{"z"', '{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"z"'), 2);
    const { entries } = parseSafetensorsHeader(bytes, bytes.length, "x");
    expect([...entries.keys()].sort()).toEqual(["__proto__", "s", "z"]);
    expect(entries.get("z")).toMatchObject({ dtype: null, storedType: "F64", length: 0 });
    expect(() => parseSafetensors(bytes, "x").tensor("s")).toThrow(/unsupported type/);
  });

  test("a header at the limit is parsed within a second, one byte more is refused", () => {
    expect(safetensorsLimits.headerBytes).toBe(25_000_000);
    const bomb = `{"a":[${"[],".repeat(500_000)}[]]}`;
    expect(() => parseSafetensors(file(bomb, 0), "x")).toThrow(/too many objects/);
  });
});
