/**
 * @file Prompt tuning of the bundled base model on real tasks: every task × seed through `softprompt train`, one table.
 *
 *   node experiments/base/run.mjs DATASETS OUT [--tasks sst2,rte,cb,boolq] [--seeds 0,1,2] [--collect RESULTS]
 *
 * In:  DATASETS holds SST-2, RTE, CB, BoolQ as their owners publish them.
 * Out: OUT/TASK-SEED/ run folders (finished ones are not run again); --collect writes RESULTS.json and RESULTS.md, the table.
 * Scores are of the best evaluation on the validation rows, as the papers report; each evaluation reads all of them. SST-2 is also
 * measured told: with the task word the model was pretrained with, and no prompt. Needs `npm run build`.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";

const tasks = {
  sst2: { folder: "SST-2", maxInputTokens: 64, told: "sst2 " },
  rte: { folder: "RTE", maxInputTokens: 160 },
  cb: { folder: "CB", maxInputTokens: 192 },
  boolq: { folder: "BoolQ", maxInputTokens: 192 },
  wic: { folder: "WiC", maxInputTokens: 96 },
};
const common = ["--steps", "200", "--batch-size", "16", "--virtual-tokens", "20", "--threads", "1", "--quiet"];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tasks: { type: "string", default: Object.keys(tasks).join(",") },
    seeds: { type: "string", default: "0,1,2" },
    collect: { type: "string" },
  },
});
const [datasets, out] = positionals;
const seeds = values.seeds.split(",");
const cli = (...args) => {
  const { status, stdout, stderr } = spawnSync("node", ["dist/cli/main.js", ...args], {
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error(`softprompt ${args.join(" ")}: exit ${status}\n${stderr}`);
  return stdout;
};

const rows = [];
for (const task of values.tasks.split(",")) {
  const { folder, maxInputTokens, told } = tasks[task];
  const source = [
    "--model",
    "t5-nano",
    "--task",
    task,
    "--data",
    join(datasets, folder),
    "--max-input-tokens",
    String(maxInputTokens),
  ];
  const results = seeds.map((seed) => {
    const run = join(out, `${task}-${seed}`);
    const file = join(run, "result.json");
    if (!existsSync(file)) {
      console.error(`${task}, seed ${seed}`);
      cli("train", ...source, ...common, "--eval-every", "40", "--seed", seed, "--output", run);
    }
    return JSON.parse(readFileSync(file, "utf8"));
  });
  const toldFile = join(out, `${task}-told.json`);
  if (told && !existsSync(toldFile))
    writeFileSync(toldFile, cli("eval", ...source, "--input-prefix", told, "--threads", "1", "--json"));
  rows.push({ task, told: told ? JSON.parse(readFileSync(toldFile, "utf8")).scores : null, results });
}

if (values.collect) {
  const [metric, percent] = [(scores) => Object.values(scores)[0], (x) => (100 * x).toFixed(2)];
  const mean = (xs) => xs.reduce((a, b) => a + b, 0) / xs.length;
  const deviation = (xs) => Math.sqrt(xs.reduce((a, x) => a + (x - mean(xs)) ** 2, 0) / Math.max(1, xs.length - 1));
  const table = rows.map(({ task, told, results }) => {
    const scores = results.map((r) => metric(r.scores));
    return {
      task,
      metric: Object.keys(results[0].scores)[0],
      validationRows: results[0].scoredOn.rows,
      majority: metric(results[0].baseline.majority),
      noPrompt: metric(results[0].baseline.noPrompt),
      told: told && metric(told),
      tuned: scores,
      mean: mean(scores),
      deviation: deviation(scores),
      seconds: results.map((r) => r.cost.seconds),
      flops: mean(results.map((r) => r.cost.flops)),
      trainedParameters: results[0].cost.trainedParameters,
    };
  });
  const { data: _, ...where } = rows[0].results[0].where;
  const data = rows.flatMap((r) => r.results[0].where.data.map((f) => ({ ...f, path: relative(datasets, f.path) })));
  writeFileSync(
    `${values.collect}.json`,
    `${JSON.stringify({ settings: common.join(" "), where, data, table }, null, 1)}\n`,
  );
  const lines = table.map(
    (r) =>
      `| ${r.task} | ${r.metric} | ${r.validationRows} | ${percent(r.majority)} | ${percent(r.noPrompt)} | ${r.told === null ? "–" : percent(r.told)} | ${r.tuned.map(percent).join(" / ")} | ${percent(r.mean)} ± ${percent(r.deviation)} | ${mean(r.seconds).toFixed(0)} | ${(r.flops / 1e12).toFixed(2)} |`,
  );
  const head =
    "| task | metric | rows | majority | no prompt | told | prompt tuning, by seed | mean ± sd | s | TFLOP |";
  writeFileSync(
    `${values.collect}.md`,
    [head, "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |", ...lines, ""].join("\n"),
  );
  console.log(readFileSync(`${values.collect}.md`, "utf8"));
}
