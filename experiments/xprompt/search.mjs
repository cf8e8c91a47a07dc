/**
 * @file Does halving reach the linear search's score at 40 % of its FLOPs? Runs both on each task and seed, writes a table.
 *
 * node experiments/xprompt/search.mjs DATASETS OUT [--tasks sst2,cb] [--seeds 0,1,2] [--collect FILE]
 * DATASETS holds SST-2 and CB as their owners publish them. Finished searches are read back, interrupted ones go on; two processes
 * with their own --tasks or --seeds are faster on two cores than one. Needs `npm run build`.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tasks: { type: "string", default: "sst2,cb" },
    seeds: { type: "string", default: "0,1,2" },
    collect: { type: "string" },
  },
});
const [datasets, out] = positionals;
if (out === undefined) {
  console.error("node experiments/xprompt/search.mjs DATASETS OUT [--tasks sst2,cb] [--seeds 0,1,2] [--collect FILE]");
  process.exit(2);
}
const tasks = {
  sst2: ["--task", "sst2", "--data", join(datasets, "SST-2"), "--few-shot", "2000"],
  cb: ["--task", "cb", "--data", join(datasets, "CB")],
};
const root = resolve(import.meta.dirname, "../..");
const cells = [];
for (const task of values.tasks.split(","))
  for (const seed of values.seeds.split(",")) {
    const [linear, halving] = ["linear", "halving"].map((search) => run(task, seed, search));
    cells.push({ task, seed, linear, halving });
    const share = (100 * halving.search.cost.search) / linear.search.cost.search;
    console.log(
      `${task} seed ${seed}: linear ${score(linear)}, halving ${score(halving)} at ${share.toFixed(1)} % of the search's FLOPs`,
    );
  }
if (values.collect !== undefined) writeFileSync(values.collect, table(cells));

function run(task, seed, search) {
  const folder = join(out, `${task}-s${seed}-${search}`);
  if (!existsSync(join(folder, "result.json"))) {
    const config = join(import.meta.dirname, "search.yaml");
    const options = ["--config", config, ...tasks[task], "--seed", seed, "--search", search, "--threads", "1"];
    const where = existsSync(join(folder, "search.json")) ? ["--resume", folder] : ["--output", folder];
    const command = ["prune", ...options, "--quiet", ...where];
    const { status } = spawnSync(process.execPath, [join(root, "dist/cli/main.js"), ...command], {
      cwd: root,
      stdio: "inherit",
    });
    if (status !== 0) process.exit(status ?? 1);
  }
  return JSON.parse(readFileSync(join(folder, "result.json"), "utf8"));
}

/** On the rows that are reported, which chose nothing. */
function reported({ search }, which = "best") {
  return search.reported[which][search.metric];
}

function score(result) {
  return (100 * reported(result)).toFixed(2);
}

function table(rows) {
  const tera = (flops) => (flops / 1e12).toFixed(2);
  const mean = (of) => rows.reduce((sum, row) => sum + of(row), 0) / rows.length;
  const difference = ({ linear, halving }) => 100 * (reported(halving) - reported(linear));
  const share = ({ linear, halving }) => (100 * halving.search.cost.search) / linear.search.cost.search;
  const lines = rows.map((row) => {
    const { task, seed, linear, halving } = row;
    const parts = [
      task,
      seed,
      (100 * reported(linear, "control")).toFixed(2),
      score(linear),
      score(halving),
      difference(row).toFixed(2),
    ];
    parts.push(
      linear.search.best,
      halving.search.best,
      tera(linear.search.cost.search),
      tera(halving.search.cost.search),
      share(row).toFixed(1),
    );
    return `| ${parts.join(" | ")} |`;
  });
  return [
    "## Halving against the linear search",
    "",
    "The papers' grid of counts; score × 100 on the validation rows, which chose nothing, FLOPs of retrainings with their evaluations (all products). Made by `node experiments/xprompt/search.mjs`.",
    "",
    "| task | seed | control | linear | halving | difference | linear's best | halving's best | linear, TFLOP | halving, TFLOP | share, % |",
    `| ${"--- | --: | --: | --: | --: | --: | --- | --- | --: | --: | --:"} |`,
    ...lines,
    `| mean | | ${mean(({ linear }) => 100 * reported(linear, "control")).toFixed(2)} | ${mean(({ linear }) => 100 * reported(linear)).toFixed(2)} | ${mean(({ halving }) => 100 * reported(halving)).toFixed(2)} | ${mean(difference).toFixed(2)} | | | ${tera(mean(({ linear }) => linear.search.cost.search))} | ${tera(mean(({ halving }) => halving.search.cost.search))} | ${mean(share).toFixed(1)} |`,
    "",
  ].join("\n");
}
