import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { crc32c, eventFileHeader, scalarRecord } from "./tensorboard.js";

const fixture = new URL("../../test/fixtures/tensorboard/scalars.tfevents", import.meta.url);
const hex = (data: Uint8Array) => Buffer.from(data).toString("hex");

test("CRC-32C gives the check values of RFC 3720 B.4", () => {
  expect(crc32c(new TextEncoder().encode("123456789"))).toBe(0xe3069283);
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
  expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
});

test("the header record begins as every file TensorFlow writes: length 24, its masked crc a37f4b22, field 1", () => {
  // 0x18 = 24 bytes: 9 of wall_time, 15 of file_version
  const header = eventFileHeader(1);
  expect(hex(header.subarray(0, 13))).toBe("1800000000000000a37f4b2209");
  expect(header.length).toBe(8 + 4 + 24 + 4);
  expect(Buffer.from(header.subarray(23, 36)).toString()).toBe("brain.Event:2");
});

test("a scalar record holds the fields of event.proto, worked by hand", () => {
  const data = scalarRecord({ tag: "loss", step: 300, value: 0.5, wallTime: 2 });
  // wall_time: 09 + double 2.0 · step: 10 + varint 300 = ac 02 · summary: 2a 0d, value: 0a 0b, tag: 0a 04 "loss", simple_value: 15 + float 0.5
  expect(hex(data.subarray(12, -4))).toBe(
    "09" + "0000000000000040" + "10ac02" + "2a0d" + "0a0b" + "0a046c6f7373" + "150000003f",
  );
});

test("a file has the very bytes that TensorBoard's own writer gives (test/oracles/tensorboard.py)", () => {
  const scalars = [
    { tag: "train/loss", step: 0, value: 2.5, wallTime: 1763722800.125 },
    { tag: "train/loss", step: 127, value: -0, wallTime: 1763722801 },
    { tag: "é/√", step: 128, value: 1e-30, wallTime: 1763722802.5 },
    { tag: "validation/accuracy", step: 300, value: Number.NaN, wallTime: 1763722803 },
    { tag: "x", step: 2 ** 40, value: Number.POSITIVE_INFINITY, wallTime: 1763722804 },
    { tag: "x", step: 2 ** 40 + 1, value: 0.1, wallTime: 1763722805 },
  ];
  const written = [eventFileHeader(scalars[0]!.wallTime), ...scalars.map(scalarRecord)];
  expect(Buffer.concat(written).toString("hex")).toBe(readFileSync(fixture, "hex"));
});
