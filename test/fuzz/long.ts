/**
 * @file The long fuzz run: so many mutated inputs of every format, in two processes side by side.
 *
 * node test/fuzz/main.mjs [--runs 100000] [--formats a,b] [--seed 1] [--from 0] [--jobs 2] [--minutes M] [--out bench/results/fuzz.json]
 * Exits with 1 if any input escaped the typed error, took more than 2 s of processor time or 500 MB, wrote outside its folder or
 * changed a prototype. Such inputs are kept in a folder of the system's temporary one, which is named.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { formats } from "./formats.js";
import { type FormatSummary, fuzz } from "./harness.js";

export async function main(program: string, fixtures: string, args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      runs: { type: "string", default: "100000" },
      formats: { type: "string" },
      seed: { type: "string", default: "1" },
      from: { type: "string", default: "0" },
      minutes: { type: "string" },
      jobs: { type: "string", default: "2" },
      out: { type: "string" },
    },
  });
  const all = Object.keys(formats(fixtures));
  const chosen = values.formats?.split(",") ?? all;
  const unknown = chosen.filter((name) => !all.includes(name));
  if (unknown.length > 0) throw new Error(`no such formats: ${unknown.join(", ")}; there are ${all.join(", ")}`);
  const findings = mkdtempSync(join(tmpdir(), "softprompt-fuzz-findings-"));
  const [runs, seed] = [Number(values.runs), Number(values.seed)];
  const summaries = await fuzz({
    ...{ program, fixtures, formats: chosen, runs, seed, findings },
    from: Number(values.from),
    jobs: Number(values.jobs),
    ...(values.minutes === undefined ? {} : { minutes: Number(values.minutes) }),
    progress: (line) => console.log(line),
    soFar: (summaries) => {
      if (values.out !== undefined) write(values.out, seed, summaries);
    },
  });
  const bad = summaries.flatMap(({ findings }) => findings);
  console.log(
    `${summaries.reduce((sum, s) => sum + s.inputs, 0)} inputs of ${chosen.length} formats, ${bad.length} findings`,
  );
  if (bad.length === 0) rmSync(findings, { recursive: true });
  else
    console.log(
      `the inputs lie in ${findings}; again: npm run fuzz-test -- --formats F --seed ${seed} --from N --runs 1`,
    );
  return bad.length === 0 ? 0 : 1;
}

function write(path: string, seed: number, summaries: readonly FormatSummary[]): void {
  const result = {
    what: "mutated files of every format that may be untrusted, read by the product's own readers; a finding is an input that did not end in a value or a SoftpromptError within 2 s of processor time and 500 MB, wrote outside its folder, or changed a prototype",
    inputs: summaries.reduce((sum, s) => sum + s.inputs, 0),
    findings: summaries.reduce((sum, s) => sum + s.findings.length, 0),
    seed,
    formats: summaries.map(({ reasons, ...rest }) => ({ ...rest, reasons: reasons.length })),
    where: { node: process.version, platform: `${process.platform} ${process.arch}`, cores: cpus().length },
  };
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(result, null, 2)}\n`);
}
