/**
 * @file Untrusted files, the quick form: some mutated inputs of every format; `npm run fuzz-test` is the long one
 * (docs/reliability.md has its figures). What was once found and mended stands by name beside the reader, or below.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { SoftpromptError } from "../src/base/errors.js";
import { parseTable } from "../src/data/table.js";
import { formats } from "./fuzz/formats.js";
import { fuzz } from "./fuzz/harness.js";
import { bytesOf } from "./fuzz/mutate.js";
import { bundle } from "./helpers/bundle.js";

const fixtures = fileURLToPath(new URL("fixtures", import.meta.url));
let program: string;
let findings: string;
beforeAll(async () => {
  program = await bundle("test/fuzz/worker.ts");
  findings = mkdtempSync(join(tmpdir(), "softprompt-fuzz-test-"));
});
afterAll(() => {
  rmSync(dirname(program), { recursive: true });
  rmSync(findings, { recursive: true });
});

test("300 mutated inputs of every format: each is read or refused by SoftpromptError, in bounds, and touches nothing else", async () => {
  const names = Object.keys(formats(fixtures));
  const summaries = await fuzz({ program, fixtures, formats: names, runs: 300, seed: 2, findings });
  for (const { format, findings, read, refused, reasons } of summaries) {
    expect(findings, format).toEqual([]);
    expect(read + refused, format).toBe(300);
    // else the changes are too coarse, or too fine, to try anything
    expect(read, format).toBeGreaterThan(0);
    expect(refused, format).toBeGreaterThan(0);
    expect(reasons.length, format).toBeGreaterThan(0);
  }
});

test("the fuzzer sees a reader that escapes the typed error, hangs, dies, is slow, takes memory, writes elsewhere, pollutes", async () => {
  const faults = {
    throws: /RangeError: a bug/,
    hangs: /hangs/,
    dies: /the process died \(SIGABRT\)/,
    slow: /ms of processor time/,
    "takes memory": /MB of memory/,
    writes: /a write outside the scratch folder: openSync/,
    pollutes: /a prototype was changed: polluted of Object/,
  };
  const names = Object.keys(faults).map((name) => `broken: ${name}`);
  const summaries = await fuzz({ program, fixtures, formats: names, runs: 1, seed: 1, findings });
  for (const [n, problem] of Object.values(faults).entries()) {
    expect(summaries[n]!.findings.map((finding) => finding.problem).join(), names[n]).toMatch(problem);
    const kept = join(findings, `broken-${Object.keys(faults)[n]!.replace(" ", "-")}-seed1-0`, "file");
    expect(readFileSync(kept)).toEqual(Buffer.of(2));
  }
});

test("small files that ask for much: all refused at once", async () => {
  const spent = () => process.cpuUsage().user / 1_000;
  const huge = [
    ["jsonl", "[".repeat(1_000_000)],
    ["jsonl", `{"a": ${"[".repeat(1_000_000)}`],
    ["jsonl", `{"a": [${"[],".repeat(500_000)}[]]}`],
    ["csv", `${"a,".repeat(100_000)}b`],
    ["csv", `a\n"${"x".repeat(17 * 1024 * 1024)}`],
  ] as const;
  for (const [format, text] of huge) {
    const start = spent();
    await expect(parseTable(bytesOf(text), format, "f")).rejects.toBeInstanceOf(SoftpromptError);
    expect(spent() - start).toBeLessThan(10_000);
  }
  // A varint of a megabyte takes hyparquet's own reader hours; a page that claims 2 GB takes it 2 GB.
  const footer = Buffer.concat([Buffer.from([0x16]), Buffer.alloc(1_000_000, 0x80), Buffer.from([0])]);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(footer.length);
  const bomb = Buffer.concat([Buffer.from("PAR1"), footer, length, Buffer.from("PAR1")]);
  await expect(parseTable(bomb, "parquet", "f")).rejects.toThrow(/longer than ten bytes/);
});
