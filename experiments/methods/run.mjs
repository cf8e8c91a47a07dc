/**
 * @file Twelve methods beside each other on the bundled base model: SST-2 (1,000 of its training rows) and CB, three seeds, few steps.
 *
 *   node experiments/methods/run.mjs DATASETS OUT [--workers 1] [--collect RESULTS]
 *
 * In:  DATASETS holds SST-2 and CB as their owners publish them.
 * Out: OUT, the study's folder (finished runs are not run again); --collect writes RESULTS.json and RESULTS.md.
 * Seconds in them are of a machine that did other work at the same time: they are no claims. FLOPs and scores are. Needs `npm run build`.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

const methods = [
  ...["prompt", "prefix", "p-tuning", "lora", "full", "few-shot", "instruction"],
  ...["fpt-cr", "superpos", "ulpt", "residual", "xprompt"],
];
const tasks = { sst2: { folder: "SST-2", fewShot: 1000 }, cb: { folder: "CB" } };
const options = [
  ...["--methods", methods.join(","), "--seeds", "0,1,2"],
  ...["--steps", "60", "--eval-every", "20", "--score-steps", "20,40,60", "--batch-size", "8"],
  ...["--max-input-tokens", "256", "--max-eval-rows", "128", "--rate-factors", "0.3,1,3"],
  // XPrompt: five candidates of half as many steps
  ...["--tokens-pruned", "5,10,15", "--pieces-pruned", "4,8", "--retrain-steps", "30"],
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { collect: { type: "string" }, workers: { type: "string", default: "1" } },
});
const [datasets, out] = positionals;
mkdirSync(out, { recursive: true });
const places = Object.entries(tasks).flatMap(([task, { folder, ...more }]) => {
  const file = join(out, `${task}.data.json`);
  writeFileSync(file, JSON.stringify({ data: resolve(datasets, folder), ...more }));
  return ["--tasks", `${task}=${file}`];
});
const study = join(out, "study");
const command = ["compare", "--model", "t5-nano", ...places, ...options];
const { status } = spawnSync(
  "node",
  ["dist/cli/main.js", ...command, "--threads", "1", "--workers", values.workers, "--output", study],
  { stdio: "inherit" },
);
if (status !== 0) process.exit(status ?? 1);

if (values.collect) {
  const note = "Seconds are of a machine that did other work at the same time: they are no claims.";
  const result = JSON.parse(readFileSync(join(study, "result.json"), "utf8"));
  writeFileSync(
    `${values.collect}.json`,
    `${JSON.stringify({ note, options: options.join(" "), ...result }, null, 1)}\n`,
  );
  writeFileSync(`${values.collect}.md`, `${note}\n\n${readFileSync(join(study, "result.md"), "utf8")}`);
}
