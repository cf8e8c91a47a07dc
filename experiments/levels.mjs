/**
 * @file What no prompt reaches: the most frequent label, the model untold, and told what to do, on the rows that each table reports.
 *
 *   node experiments/levels.mjs DATASETS OUT [--decoder FOLDER] [--models t5-nano,t5-mini,decoder] [--collect experiments]
 *
 * In:  DATASETS holds the tasks as their owners publish them; levels.yaml says which tables have which rows; FOLDER is the decoder-only model.
 * Out: OUT/MODEL-N-TASK.json of every finished pass, which is not done again; --collect alone runs nothing and writes FOLDER/levels.json and
 *      levels.md of what is finished. Needs `npm run build`.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { evaluate, loadData } from "softprompt";
import { parse } from "yaml";
import { evenly, openJobs, openNamed } from "./jobs.mjs";
import { causalData, majorityOf, templateOf } from "./rows.mjs";
import { halves } from "./statistics.mjs";

const here = import.meta.dirname;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    decoder: { type: "string" },
    models: { type: "string", default: "t5-nano,t5-mini,decoder" },
    collect: { type: "string" },
  },
});
const [datasets, out] = positionals;
if (out === undefined) {
  console.error("node experiments/levels.mjs DATASETS OUT [--decoder FOLDER] [--models …] [--collect FOLDER]");
  process.exit(2);
}
const yaml = (name) => parse(readFileSync(join(here, name), "utf8"));
const [own, asked] = [yaml("levels.yaml"), yaml("causal/tasks.yaml").tasks];
const folders = {
  ...Object.fromEntries(["t5-nano", "t5-mini"].map((name) => [name, join(here, "../models", name)])),
  ...(values.decoder && { decoder: values.decoder }),
};
mkdirSync(out, { recursive: true });
const jobs = openJobs(out, { settings: own, models: Object.values(folders), datasets });

/** A task's rows as the tables score them. `even` is taken here, `scored` by the evaluation. */
async function dataOf({ model, rows = {}, tasks }, task, told) {
  if (model === "decoder") {
    const put = { ...asked[task], template: templateOf(asked[task], false) };
    const validationRows = rows.even ?? Number.POSITIVE_INFINITY;
    return causalData(datasets, {
      ...{ task, put, trainingRows: 400, validationRows, metrics: ["accuracy"] },
      inputPrefix: told ? asked[task].told : "",
    });
  }
  const { folder, told: word, ...more } = tasks[task];
  const data = await loadData({ task, data: join(datasets, folder), inputPrefix: told ? word : "", ...more });
  const { validation } = data;
  return {
    ...data,
    validation: rows.half ? halves(validation).reports : evenly(validation, rows.even ?? validation.length),
  };
}

/** Accuracies of one task of a set of tables. */
async function levelsOf(model, set, task) {
  const { maxInputTokens, rows } = set;
  const at = async (told) => {
    const data = await dataOf(set, task, told);
    const options = { maxInputTokens, maxEvalRows: rows?.scored ?? 0, batchSize: 16, loss: false };
    const { scores, predictions } = await evaluate(model, data, options);
    const validation = predictions.map(({ row }) => row);
    return { rows: validation.length, majority: majorityOf({ ...data, validation }), score: scores.accuracy };
  };
  const { score: untold, ...more } = await at(false);
  const hasWord = set.model === "decoder" || set.tasks[task].told !== undefined;
  return { ...more, untold, told: hasWord ? (await at(true)).score : null };
}

const nameOf = (n, task) => `${own[n].model}-${n}-${task}`;
const wanted = values.models.split(",");
if (values.collect === undefined) {
  for (const [n, set] of own.entries()) {
    if (!wanted.includes(set.model) || folders[set.model] === undefined) continue;
    for (const task of Object.keys(set.tasks))
      await jobs.job(nameOf(n, task), {
        open: () => openNamed(folders[set.model], { threads: 1 }),
        work: (model) => levelsOf(model, set, task),
        summary: (found) => found,
      });
  }
} else collect(values.collect);

function collect(to) {
  const percent = (x) => (x === null ? "–" : (100 * x).toFixed(1));
  const found = own.map((set, n) => ({
    ...set,
    levels: Object.fromEntries(
      Object.keys(set.tasks).flatMap((task) => {
        const one = jobs.found(nameOf(n, task));
        return one === null ? [] : [[task, one]];
      }),
    ),
  }));
  const called = (model) => basename(folders[model] ?? model);
  const sections = found.flatMap(({ tables, model, levels }) => [
    `## ${called(model)}: ${tables.map((table) => `[${table}](${table})`).join(", ")}`,
    "",
    "| task | rows | most frequent label | untold | told |",
    "| --- | --: | --: | --: | --: |",
    ...Object.entries(levels).map(
      ([task, { rows, majority, untold, told }]) =>
        `| ${[task, rows, ...[majority, untold, told].map(percent)].join(" | ")} |`,
    ),
    "",
  ]);
  const text = [
    "# What no prompt reaches",
    "",
    "Accuracy in percent on the rows that each table scores: always the label that is most frequent in training; the model without a prompt, not told which task it is; the same told, T5 by the task word of its pretraining (MNLI's for CB and RTE), the decoder by a written instruction. “–”: the model knows no word for it.",
    "",
    ...sections,
    "Made by `node experiments/levels.mjs DATASETS OUT --decoder FOLDER --collect experiments`.",
    "",
  ].join("\n");
  writeFileSync(join(to, "levels.json"), `${JSON.stringify({ ...jobs.madeFrom, found }, null, 1)}\n`);
  writeFileSync(join(to, "levels.md"), text);
  console.log(text);
}
