/**
 * @file How many rows until the ranking by importance is stable? Rank correlation of the importances of two disjoint halves of the rows.
 *
 *   node experiments/xprompt/importance.mjs DATASETS OUT [--tasks sst2,cb,rte,qqp] [--seeds 0,1,2] [--rows 32,64,128,256,512,1024]
 *     [--model FOLDER] [--config fair.yaml] [--threads 1] [--collect FOLDER]
 *
 * In:  DATASETS holds the tasks as their owners publish them; fair.yaml has the tuning's settings.
 * Out: OUT/TASK-SEED.json of each finished cell, which is not done again. --collect alone runs nothing and writes FOLDER/importance.json and
 *      importance.md. A number of rows is that of both halves together, so the ranking of a search with N rows is at least as stable as the line of N
 *      says: a half has N/2. A task without so many training rows has no entry. Needs `npm run build`.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { loadData, openModel, tune } from "softprompt";
import { importance, pickOptions, random, readOptions, trainOptions } from "softprompt/train";
import { parse } from "yaml";
import { namedFiles } from "../jobs.mjs";
import { deviation, mean, rankCorrelation } from "../statistics.mjs";
import { places } from "./places.mjs";

const here = import.meta.dirname;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tasks: { type: "string", default: "sst2,cb,rte,qqp" },
    seeds: { type: "string", default: "0,1,2" },
    rows: { type: "string", default: "32,64,128,256,512,1024" },
    model: { type: "string" },
    config: { type: "string", default: join(here, "fair.yaml") },
    threads: { type: "string", default: "1" },
    collect: { type: "string" },
  },
});
const [datasets, out] = positionals;
if (out === undefined) {
  console.error(
    "node experiments/xprompt/importance.mjs DATASETS OUT [--tasks …] [--seeds …] [--rows …] [--collect FOLDER]",
  );
  process.exit(2);
}
// rows of the large tasks are drawn, RTE's too
const drawn = { ...places, rte: { ...places.rte, fewShot: 2000 } };
const given = parse(readFileSync(values.config, "utf8"));
const tasks = values.tasks.split(",");
const seeds = values.seeds.split(",").map(Number);
const counts = values.rows.split(",").map(Number);
/** With and without the sign of the derivative; the papers' is without. */
const modes = { absolute: "perExample", signed: "signed" };
mkdirSync(out, { recursive: true });
const cellOf = (task, seed) => join(out, `${task}-${seed}.json`);

async function cell(model, task, seed) {
  const { data: place, ...more } = drawn[task];
  const data = await loadData({ task, data: join(datasets, place), ...more });
  const settings = readOptions(trainOptions, pickOptions(trainOptions, given), values.config);
  // no row chooses: the prompt of the last step
  const { training, result } = await tune(
    model,
    { ...data, validation: data.validation.slice(0, 1) },
    {
      ...settings,
      ...{ seed, steps: given.steps, virtualTokens: given.virtualTokens, init: given.init },
      ...{ baselines: false, evalEvery: given.steps },
    },
  );
  const { prompt } = training.last;
  const order = random(seed, "importance/halves").sample(data.train.length, data.train.length);
  const shuffled = Array.from(order, (n) => data.train[n]);
  const scored = (rows, mode) =>
    importance(model.engine, model.tokenizer, data.task, rows, prompt, {
      pieces: given.pieces,
      layout: "contiguous",
      mode,
      normalise: false,
      maxExamples: 0,
      batchSize: given.microBatchSize,
      maxInputTokens: given.maxInputTokens,
      seed,
    });
  const lines = [];
  for (const rows of counts.filter((n) => n <= shuffled.length))
    for (const [name, mode] of Object.entries(modes)) {
      const halves = [
        await scored(shuffled.slice(0, rows / 2), mode),
        await scored(shuffled.slice(rows / 2, rows), mode),
      ];
      const [a, b] = halves;
      const P = a.tokens.length;
      const k = a.piecesPerToken;
      // pieces are ranked within their token, so each token has a correlation of its own
      const within = Array.from({ length: P }, (_, i) =>
        rankCorrelation(a.pieces.slice(i * k, (i + 1) * k), b.pieces.slice(i * k, (i + 1) * k)),
      ).filter((value) => value !== null);
      /** Share of the quarter of lowest scores on which both halves agree; a quarter by chance. */
      const quarter = (scores) =>
        new Set([...scores.keys()].sort((x, y) => scores[x] - scores[y]).slice(0, Math.floor(P / 4)));
      const [low, other] = [quarter(a.tokens), quarter(b.tokens)];
      lines.push({
        rows,
        mode: name,
        tokens: rankCorrelation(a.tokens, b.tokens),
        pieces: rankCorrelation(a.pieces, b.pieces),
        piecesWithinToken: mean(within),
        lowestTokensShared: [...low].filter((i) => other.has(i)).length / low.size,
        flops: a.flops + b.flops,
      });
    }
  return {
    ...{ task, seed, lines, tuned: { trainFlops: result.cost.trainFlops, steps: result.run.steps } },
    ...{ data: namedFiles(data, datasets), settings: given, node: process.version },
    model: { name: model.checkpoint.name, sha256: await model.checkpoint.sha256() },
  };
}

if (values.collect === undefined) {
  const model = await openModel(values.model ?? given.model, { threads: Number(values.threads) });
  try {
    for (const seed of seeds)
      for (const task of tasks) {
        if (existsSync(cellOf(task, seed))) continue;
        const found = await cell(model, task, seed);
        writeFileSync(cellOf(task, seed), `${JSON.stringify(found, null, 1)}\n`);
        console.log(`${task} seed ${seed}`);
        for (const { rows, mode, tokens, pieces } of found.lines)
          console.log(`  ${rows} rows, ${mode}: tokens ${tokens?.toFixed(2)}, pieces ${pieces?.toFixed(2)}`);
      }
  } finally {
    await model.dispose();
  }
} else {
  const cells = tasks
    .flatMap((task) => seeds.map((seed) => cellOf(task, seed)))
    .filter((file) => existsSync(file))
    .map((file) => JSON.parse(readFileSync(file, "utf8")));
  const all = cells.flatMap(({ task, lines }) => lines.map((line) => ({ task, ...line })));
  const lines = ["# Importance from two halves of the rows", ""];
  if (cells.length > 0)
    lines.push(
      `${cells[0].model.name}; prompts of ${cells[0].settings.virtualTokens} tokens after ${cells[0].settings.steps} steps; seeds ${[...new Set(cells.map(({ seed }) => seed))].join(", ")}. Spearman's rank correlation between the importances of two disjoint halves of so many training rows; mean ± deviation over tasks and seeds. 1 is the same ranking, 0 chance.`,
      "",
    );
  const names = [...new Set(cells.map(({ task }) => task))];
  const what = {
    tokens: "tokens",
    pieces: "pieces, all",
    piecesWithinToken: "pieces, within their token",
    lowestTokensShared: "lowest quarter of the tokens shared",
  };
  const show = (found) => {
    const known = found.filter((value) => value !== null);
    if (known.length === 0) return "–";
    const spread = deviation(known);
    return `${mean(known).toFixed(2)}${spread === null ? "" : ` ± ${spread.toFixed(2)}`}`.replace("-", "−");
  };
  for (const of of [null, ...(names.length > 1 ? names : [])]) {
    lines.push(of === null ? "## All tasks" : `## ${of}`, "");
    lines.push(`| rows | score | ${Object.values(what).join(" | ")} |`, "| --: | --- | --: | --: | --: | --: |");
    for (const rows of counts)
      for (const mode of Object.keys(modes)) {
        const own = all.filter((line) => line.rows === rows && line.mode === mode && (of === null || line.task === of));
        if (own.length > 0)
          lines.push(
            `| ${rows} | ${mode} | ${Object.keys(what)
              .map((key) => show(own.map((line) => line[key])))
              .join(" | ")} |`,
          );
      }
    lines.push("");
  }
  lines.push("Made by `node experiments/xprompt/importance.mjs DATASETS OUT --collect experiments/xprompt`.", "");
  mkdirSync(values.collect, { recursive: true });
  writeFileSync(
    join(values.collect, "importance.json"),
    `${JSON.stringify({ experiment: "importance", cells }, null, 1)}\n`,
  );
  writeFileSync(join(values.collect, "importance.md"), lines.join("\n"));
  console.log(lines.join("\n"));
}
