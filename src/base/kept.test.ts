/** @file Kept work: the form of its files is that of earlier versions' snapshots and candidates; what does not verify is done again. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { sha256 } from "./files.js";
import { kept, sealed, unsealed } from "./kept.js";

const root = mkdtempSync(join(tmpdir(), "softprompt-kept-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

test("the form is the one in which snapshots and candidates have always been", () => {
  const body = '{"step":3}';
  const check = sha256(body);
  expect(sealed(body)).toBe(`{"sha256":"${check}","body":{"step":3}}\n`);
  expect(sealed(body, "ab")).toBe(`{"key":"ab","sha256":"${check}","body":{"step":3}}\n`);
  for (const key of [undefined, "ab"]) expect(unsealed(sealed(body, key))).toEqual({ key, body });
});

test("a value is read back only where its key, its checksum and its form are right", async () => {
  const path = join(root, "value.json");
  const form = { read: (body: unknown) => ((body as { n?: unknown }).n === 1 ? (body as object) : null) };
  const value = { n: 1, floats: Float32Array.of(0.1, -0) };
  let times = 0;
  const get = async (key = "a") =>
    (
      await kept(path, key, form, async () => {
        times++;
        return value;
      })
    ).value;
  expect([await get(), await get(), times]).toEqual([value, value, 1]);
  await get("b");
  expect(times).toBe(2);
  const good = readFileSync(path, "utf8");
  const damaged = [
    good.slice(0, -1),
    good.replace('"n":1', '"n":2'),
    sealed('{"n":2}', "b"),
    sealed("{", "b"),
    sealed('{"n":1,"floats":{"float32":"AA"}}', "b"),
    '{"prompt":"b","check":"","scores":{}}',
  ];
  for (const text of damaged) {
    const before = times;
    writeFileSync(path, text);
    expect(await get("b")).toEqual(value);
    expect(times).toBe(before + 1);
  }
});
