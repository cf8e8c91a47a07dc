/**
 * @file Methods of tuning beside each other, by `softprompt compare`, in one of the settings of settings.yaml.
 *
 *   node experiments/methods/run.mjs DATASETS OUT [--setting short|long|mini|smollm2|smoke] [--model FOLDER] [--tasks sst2,cb] [--methods prompt,lora]
 *     [--seeds 0,1,2] [--workers 1] [--collect RESULTS]
 *
 * In:  DATASETS holds the tasks as their owners publish them. A decoder-only model is asked by the templates of ../causal/tasks.yaml, with the
 *      virtual tokens in front of the text, where every method can be.
 * Out: OUT, the study's folder (finished runs are not run again); --collect writes RESULTS.json and RESULTS.md, which equal.mjs reads.
 * Seconds in them are of a machine that did other work at the same time: they are no claims. FLOPs and scores are. Needs `npm run build`.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { parse } from "yaml";

const here = import.meta.dirname;
const yaml = (path) => parse(readFileSync(join(here, path), "utf8"));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    setting: { type: "string", default: "short" },
    model: { type: "string" },
    tasks: { type: "string" },
    methods: { type: "string" },
    seeds: { type: "string" },
    workers: { type: "string", default: "1" },
    collect: { type: "string" },
  },
});
const [datasets, out] = positionals;
const settings = yaml("settings.yaml");
const own = settings[values.setting];
if (out === undefined || own === undefined) {
  console.error(
    `node experiments/methods/run.mjs DATASETS OUT [--setting ${Object.keys(settings).join("|")}] [--collect RESULTS]`,
  );
  process.exit(2);
}
const model = values.model ?? own.model;
const causal = yaml("../causal/tasks.yaml").tasks;
mkdirSync(out, { recursive: true });

/** A task's rows as options of `--tasks`. */
function rowsOf(task) {
  const { folder, ...more } = own.tasks[task];
  if (!own.causal) return { data: resolve(datasets, folder), ...more };
  const { template, verbalizer } = causal[task];
  const file = (split) => resolve(datasets, folder, `${split}.jsonl`);
  return {
    ...{ train: file("train"), validation: file("validation"), task, labelColumn: "label", verbalizer },
    ...{ template: template.replace("{prompt}", ""), metrics: ["accuracy"], ...more },
  };
}

const tasks = (values.tasks?.split(",") ?? Object.keys(own.tasks)).flatMap((task) => {
  const file = join(out, `${task}.data.json`);
  writeFileSync(file, JSON.stringify(rowsOf(task)));
  return ["--tasks", `${task}=${file}`];
});
const options = { methods: own.methods.join(","), seeds: own.seeds.join(","), ...own.options };
if (values.methods) options.methods = values.methods;
if (values.seeds) options.seeds = values.seeds;
const flags = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
const study = join(out, "study");
const { status } = spawnSync(
  "node",
  [
    ...["dist/cli/main.js", "compare", "--model", model, ...tasks, ...flags],
    ...["--threads", "1", "--workers", values.workers, "--output", study],
  ],
  { stdio: "inherit" },
);
if (status !== 0) process.exit(status ?? 1);

if (values.collect) {
  const note = "Seconds are of a machine that did other work at the same time: they are no claims.";
  const result = JSON.parse(readFileSync(join(study, "result.json"), "utf8"));
  const settings = { ...result.settings, model: basename(result.settings.model) };
  const report = { note, setting: values.setting, options: flags.join(" "), ...result, settings };
  writeFileSync(`${values.collect}.json`, `${JSON.stringify(report, null, 1)}\n`);
  writeFileSync(`${values.collect}.md`, `${note}\n\n${readFileSync(join(study, "result.md"), "utf8")}`);
}
