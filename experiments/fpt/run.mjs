/**
 * @file Runs one of FPT's studies from a YAML file and writes STUDY.json, STUDY.html, STUDY.md and its matrices as STUDY-N.svg
 * beside its finished runs.
 *
 * node experiments/fpt/run.mjs compare|partial-alone|similarity CONFIG.yaml --data DATASETS --out FOLDER [--threads 0]
 *   [--tasks sst2,qqp] [--seeds 0]
 * DATASETS holds SST-2, MNLI, QQP … as their owners publish them. Stop it at any time: the same command goes on where it
 * stopped, finished runs are read back from FOLDER. On a small model two processes with --threads 1, each with its own
 * --tasks or --seeds, are faster than one with two threads; then run it once more without them for the whole table.
 * Needs `npm run build`.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { loadTokenizer, openCheckpoint, openEngine } from "softprompt/engine";
import {
  compareSchedules as compare,
  matrixDrawing,
  partialAlone,
  similarity,
  studyMarkdown,
  studyPage,
} from "softprompt/study";
import { loadDataset, neuronScoreOptions, readOptions, scheduleOptions, trainOptions } from "softprompt/train";
import { parse } from "yaml";

const studies = {
  compare: (input, { variants }) => compare(input, variants),
  "partial-alone": (input) => partialAlone(input),
  similarity: (input) => similarity(input),
};

const {
  values: { data, out, threads, tasks: onlyTasks, seeds: onlySeeds },
  positionals: [study, file],
} = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: "string" },
    out: { type: "string" },
    threads: { type: "string", default: "0" },
    tasks: { type: "string" },
    seeds: { type: "string" },
  },
});
if (studies[study] === undefined || file === undefined || data === undefined || out === undefined) {
  console.error(
    "node experiments/fpt/run.mjs compare|partial-alone|similarity CONFIG.yaml --data DATASETS --out FOLDER",
  );
  process.exit(2);
}

const config = parse(readFileSync(file, "utf8"));
if (onlyTasks !== undefined) config.tasks = config.tasks.filter(({ task }) => onlyTasks.split(",").includes(task));
if (onlySeeds !== undefined) config.seeds = onlySeeds.split(",").map(Number);
const stop = new AbortController();
process.once("SIGINT", () => stop.abort());
process.once("SIGTERM", () => stop.abort());

const tasks = [];
for (const { folder, ...spec } of config.tasks) tasks.push(await loadDataset({ ...spec, folder: join(data, folder) }));
const engine = openEngine(await openCheckpoint(config.model), { threads: Number(threads) });
const began = performance.now();
try {
  const input = {
    engine,
    tokenizer: await loadTokenizer(config.model),
    tasks,
    seeds: config.seeds,
    settings: readOptions(trainOptions, config.train, `${file}: train`),
    schedule: readOptions(scheduleOptions, config.schedule, `${file}: schedule`),
    virtualTokens: config.virtualTokens,
    init: config.init,
    scoring: readOptions(neuronScoreOptions, config.scoring, `${file}: scoring`),
    folder: out,
    signal: stop.signal,
    observe: (event) => {
      const minutes = ((performance.now() - began) / 60000).toFixed(1);
      if (event.kind === "run")
        console.log(
          `${minutes} min  ${event.index + 1}/${event.total}  ${event.task} seed ${event.seed} ${event.label}`,
        );
      if (event.kind === "done")
        console.log(`${minutes} min  score ${(100 * event.score).toFixed(2)} in ${event.seconds.toFixed(1)} s`);
    },
  };
  const result = await studies[study](input, config);
  writeFileSync(join(out, `${study}.json`), `${JSON.stringify(result, null, 1)}\n`);
  writeFileSync(join(out, `${study}.md`), `${studyMarkdown(result)}\n`);
  writeFileSync(join(out, `${study}.html`), studyPage(result));
  for (const [i, matrix] of result.matrices.entries())
    writeFileSync(join(out, `${study}-${i + 1}.svg`), `${matrixDrawing(matrix)}\n`);
  console.log(studyMarkdown(result));
} finally {
  await engine.dispose();
}
