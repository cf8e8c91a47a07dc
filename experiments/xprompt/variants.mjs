/**
 * @file Ways to prune: XPrompt as the paper has it, and with one thing changed (layout of pieces, sign of importance, ranking, where survivors are
 * rewound to, scored once or again). Each prunes the same tuned prompt, tries as many counts and spends as many steps.
 *
 *   node experiments/xprompt/variants.mjs DATASETS OUT [--tasks sst2,cb] [--seeds 0,1,2] [--config variants.yaml] [--only paper,iterative]
 *     [--collect FOLDER]
 *
 * In:  DATASETS holds the tasks as their owners publish them. The validation rows are cut in two halves: one chooses checkpoints and candidates,
 *      the other reports.
 * Out: OUT/TASK-SEED-WAY.json of each finished search, which is not done again; its run folders are kept in OUT, so a stopped one goes on.
 *      --collect alone runs nothing and writes FOLDER/variants.json and variants.md. Needs `npm run build`.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { evaluate, loadAdapter, loadData, prune, tune } from "softprompt";
import { parse } from "yaml";
import { openJobs, openNamed } from "../jobs.mjs";
import { deviation, halves, mean, signed, tested } from "../statistics.mjs";
import { places } from "./places.mjs";

const here = import.meta.dirname;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tasks: { type: "string" },
    seeds: { type: "string" },
    config: { type: "string", default: join(here, "variants.yaml") },
    only: { type: "string" },
    collect: { type: "string" },
  },
});
const [datasets, out] = positionals;
if (out === undefined) {
  console.error(
    "node experiments/xprompt/variants.mjs DATASETS OUT [--tasks …] [--seeds …] [--only …] [--collect FOLDER]",
  );
  process.exit(2);
}
const own = parse(readFileSync(values.config, "utf8"));
const tasks = values.tasks?.split(",") ?? own.tasks;
const seeds = values.seeds?.split(",").map(Number) ?? own.seeds;
const ways = Object.keys(own.ways).filter((way) => values.only?.split(",").includes(way) ?? true);
const jobs = openJobs(out, { settings: own, models: [own.model], datasets });
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => stop.abort(signal));

async function dataOf(task) {
  const { data: place, ...more } = places[task];
  const data = await loadData({ task, data: join(datasets, place), ...more });
  const { chooses, reports } = halves(data.validation);
  return { chooses: { ...data, validation: chooses }, reports: { ...data, validation: reports } };
}

const done = (folder) => existsSync(join(folder, "result.json"));
const nameOf = (task, seed, way) => `${task}-${seed}-${way}`;

/** Score × 100 of an adapter on the rows that report. */
async function reported(model, { reports }, adapter) {
  const { scores } = await evaluate(model, reports, { adapter, maxEvalRows: own.reportRows });
  return 100 * scores[reports.task.metrics[0]];
}

/** The prompt that was tuned on without pruning. */
function controlOf(folder) {
  const { body } = JSON.parse(readFileSync(join(folder, "candidates", "control", "candidate.json"), "utf8"));
  const { buffer, byteOffset, byteLength } = Buffer.from(body.prompt.data, "base64");
  return { shape: body.prompt.shape, data: new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength)) };
}

async function search(model, task, seed, way) {
  const data = await dataOf(task);
  const shared = { ...own.settings, seed, signal: stop.signal };
  const tuned = join(out, `${task}-${seed}`);
  // the tuned prompt is the same for every way
  if (!done(tuned)) await tune(model, data.chooses, { ...shared, output: tuned, resume: existsSync(tuned) });
  const folder = join(out, nameOf(task, seed, way));
  const how = { ...shared, ...own.prune, ...own.ways[way].options, from: tuned };
  const { record, adapter } = await prune(model, data.chooses, { ...how, output: folder, resume: existsSync(folder) });
  const { search: found } = record;
  const { cost } = found;
  // the tuned prompt and the control are told once, beside the paper's way
  const whole = await loadAdapter(join(tuned, "adapter"));
  const more =
    way !== "paper"
      ? {}
      : {
          pt: await reported(model, data, whole),
          control: await reported(model, data, { ...whole, prompt: controlOf(folder) }),
        };
  return {
    ...{ task, seed, way, score: await reported(model, data, adapter), ...more },
    ...{ best: found.best, flops: cost.scoring + cost.search },
    rows: { chooses: data.chooses.validation.length, reports: data.reports.validation.length },
  };
}

if (values.collect === undefined) {
  for (const seed of seeds)
    for (const task of tasks)
      for (const way of ways)
        await jobs.job(nameOf(task, seed, way), {
          open: () => openNamed(own.model, { threads: 1 }),
          work: (model) => search(model, task, seed, way),
          summary: ({ score }) => score,
        });
} else collect(values.collect);

function collect(to) {
  const cells = seeds.flatMap((seed) =>
    tasks.flatMap((task) => ways.flatMap((way) => jobs.found(nameOf(task, seed, way)) ?? [])),
  );
  const of = (way, task) => cells.filter((one) => one.way === way && (task === undefined || one.task === task));
  const show = (all) =>
    all.length === 0 ? "–" : `${mean(all).toFixed(2)}${all.length > 1 ? ` ± ${deviation(all).toFixed(2)}` : ""}`;
  const paper = (one) => cells.find(({ way, task, seed }) => way === "paper" && task === one.task && seed === one.seed);
  const tera = (all) => (all.length === 0 ? "–" : (mean(all.map(({ flops }) => flops)) / 1e12).toFixed(2));
  const told = [
    ["PT", (one) => one.pt],
    ["PT continued", (one) => one.control],
  ].map(([name, score]) => [name, ...tasks.map((task) => show(of("paper", task).map(score))), "–"]);
  const rows = [
    ...told,
    ...ways.map((way) => [way, ...tasks.map((task) => show(of(way, task).map(({ score }) => score))), tera(of(way))]),
  ];
  const differences = [
    ...ways
      .filter((way) => way !== "paper")
      .map((way) => [`${way} − paper`, of(way).flatMap((one) => (paper(one) ? [one.score - paper(one).score] : []))]),
    ...ways.map((way) => [
      `${way} − PT continued`,
      of(way).flatMap((one) => (paper(one) ? [one.score - paper(one).control] : [])),
    ]),
  ].flatMap(([name, all]) => (all.length === 0 ? [] : [{ name, ...tested(all) }]));
  const lines = [
    "# Ways to prune",
    "",
    `${own.model}, ${own.settings.virtualTokens} virtual tokens, ${own.settings.steps} steps, ${own.prune.retrainSteps} for each candidate; seeds ${[...new Set(cells.map(({ seed }) => seed))].join(", ")}. Counts tried: tokens ${own.prune.tokensPruned.join(", ")}, pieces ${own.prune.piecesPruned.join(", ")}. One half of the validation rows chose, the other reports. Scores × 100, mean ± deviation over seeds; FLOPs of scoring and of all candidates with their evaluations, mean over the tasks that a way was run on.`,
    "",
    `| way | ${tasks.join(" | ")} | TFLOP |`,
    `| --- | ${tasks.map(() => "--:").join(" | ")} | --: |`,
    ...rows.map((row) => `| ${row.join(" | ")} |`),
    "",
    "| first − second | points ± standard error | pairs | above / equal / below | sign test, p |",
    "| --- | --: | --: | --- | --: |",
    ...differences.map(
      ({ name, mean: points, error, pairs, signs, p }) =>
        `| ${name} | ${signed(points)}${error === null ? "" : ` ± ${error.toFixed(2)}`} | ${pairs} | ${signs} | ${p.toFixed(3)} |`,
    ),
    "",
    ...ways.map((way) => `- \`${way}\`: ${own.ways[way].what}`),
    "",
    `Made by \`node experiments/xprompt/variants.mjs DATASETS OUT --tasks ${tasks.join(",")} --collect experiments/xprompt\`.`,
    "",
  ];
  writeFileSync(
    join(to, "variants.json"),
    `${JSON.stringify({ experiment: "variants", ...own, tasks, ...jobs.madeFrom, differences, cells }, null, 1)}\n`,
  );
  writeFileSync(join(to, "variants.md"), lines.join("\n"));
  console.log(lines.join("\n"));
}
