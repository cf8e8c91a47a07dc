/**
 * @file Does halving reach the linear search's score at 40 % of its FLOPs? Runs both on each task and seed, writes a table.
 *
 * node experiments/xprompt/search.mjs DATASETS OUT [--tasks sst2,cb] [--seeds 0,1,2] [--collect FOLDER]
 * --collect writes FOLDER/search.json and search.md. DATASETS holds SST-2 and CB as their owners publish them. Finished searches are read back, interrupted ones go on; two processes
 * with their own --tasks or --seeds are faster on two cores than one. Needs `npm run build`.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { parse } from "yaml";
import { madeFromOf } from "../made-from.mjs";
import { deviation, mean, signed, tested } from "../statistics.mjs";

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
  console.error(
    "node experiments/xprompt/search.mjs DATASETS OUT [--tasks sst2,cb] [--seeds 0,1,2] [--collect FOLDER]",
  );
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
if (values.collect !== undefined) collect(values.collect);

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

/** What is compared, from each cell. */
function figuresOf({ task, seed, linear, halving }) {
  const of = (result) => ({
    score: 100 * reported(result),
    chose: result.search.best,
    flops: result.search.cost.search,
  });
  const found = { task, seed, control: 100 * reported(linear, "control"), linear: of(linear), halving: of(halving) };
  return { ...found, share: (100 * found.halving.flops) / found.linear.flops };
}

/** The control's deviation over seeds, of each task and of the mean of all: the margin within which nothing is lost. */
function spreads(all) {
  const seeds = [...new Set(all.map(({ seed }) => seed))];
  if (seeds.length < 2) return "";
  const names = [...new Set(all.map(({ task }) => task))];
  const of = (wanted) =>
    deviation(
      seeds.map((seed) =>
        mean(all.filter((one) => one.seed === seed && wanted.includes(one.task)).map(({ control }) => control)),
      ),
    ).toFixed(2);
  return `The control's deviation over seeds: ${names.map((task) => `${task} ${of([task])}`).join(", ")}, mean of all ${of(names)}.`;
}

function collect(folder) {
  const settings = parse(readFileSync(join(import.meta.dirname, "search.yaml"), "utf8"));
  const { models, rows } = madeFromOf({ models: [join(root, settings.model)], datasets });
  // of the row files those of the tasks alone
  const named = values.tasks.split(",").map((task) => `${tasks[task][3].slice(datasets.length + 1)}/`);
  const madeFrom = {
    models,
    rows: Object.fromEntries(Object.entries(rows).filter(([name]) => named.some((own) => name.startsWith(own)))),
  };
  const all = cells.map(figuresOf);
  const pairs = [
    ["halving − linear", ({ linear, halving }) => halving.score - linear.score],
    ["linear − control", ({ linear, control }) => linear.score - control],
    ["halving − control", ({ halving, control }) => halving.score - control],
  ].map(([name, of]) => ({ name, ...tested(all.map(of)) }));
  const tera = (flops) => (flops / 1e12).toFixed(2);
  const row = ({ task, seed, control, linear, halving, share }) =>
    [
      ...[task, seed, control.toFixed(2), linear.score.toFixed(2), halving.score.toFixed(2)],
      ...[signed(halving.score - linear.score), linear.chose, halving.chose],
      ...[tera(linear.flops), tera(halving.flops), share.toFixed(1)],
    ].join(" | ");
  const over = (of) => mean(all.map(of));
  const means = {
    ...{ task: "mean", seed: "", control: over(({ control }) => control), share: over(({ share }) => share) },
    ...Object.fromEntries(
      ["linear", "halving"].map((search) => [
        search,
        { score: over((one) => one[search].score), flops: over((one) => one[search].flops), chose: "" },
      ]),
    ),
  };
  const text = [
    "# Halving against the linear search",
    "",
    "t5-nano, the papers' grid of counts; score × 100 on the validation rows, which chose nothing; FLOPs of retrainings with their evaluations (all products).",
    "",
    "| task | seed | control | linear | halving | difference | linear's best | halving's best | linear, TFLOP | halving, TFLOP | share, % |",
    "| --- | --: | --: | --: | --: | --: | --- | --- | --: | --: | --: |",
    ...[...all, means].map((one) => `| ${row(one)} |`),
    "",
    "| first − second | points ± standard error | pairs | above / equal / below | sign test, p |",
    "| --- | --: | --: | --- | --: |",
    ...pairs.map(
      ({ name, mean: points, error, pairs: n, signs, p }) =>
        `| ${name} | ${signed(points)}${error === null ? "" : ` ± ${error.toFixed(2)}`} | ${n} | ${signs} | ${p.toFixed(3)} |`,
    ),
    "",
    spreads(all),
    "",
    "Made by `node experiments/xprompt/search.mjs DATASETS OUT --collect experiments/xprompt`.",
    "",
  ].join("\n");
  writeFileSync(
    join(folder, "search.json"),
    `${JSON.stringify({ experiment: "search", settings, madeFrom, pairs, cells: all }, null, 1)}\n`,
  );
  writeFileSync(join(folder, "search.md"), text);
  console.log(text);
}
