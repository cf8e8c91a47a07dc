/**
 * @file Does importance find what matters? XPrompt against Reversed and Random, each the best of as many tries, with the means of
 * their candidates; chosen on rows held out of the training rows, scored on the validation rows, which chose nothing.
 *
 * node experiments/xprompt/fair.mjs DATASETS OUT [--tasks sst2] [--seeds 0,1,2] [--collect FOLDER]
 * DATASETS holds SST-2 and QQP as their owners publish them; settings are sub-prompts.yaml's. Finished work is read back from OUT.
 * Writes FOLDER/fair.json (every score) and FOLDER/fair.md (tables). Needs `npm run build`.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { loadData } from "softprompt";
import { loadTokenizer, openCheckpoint, openEngine } from "softprompt/engine";
import {
  differenceTable,
  linesOf,
  outcomes,
  pairedNote,
  scoreTable,
  seedScores,
  settingsOf,
  studyMarkdown,
} from "softprompt/study";
import {
  neuronScoreOptions,
  pickOptions,
  pruneOptions,
  readOptions,
  scheduleOptions,
  trainOptions,
} from "softprompt/train";
import { parse } from "yaml";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tasks: { type: "string", default: "sst2" },
    seeds: { type: "string", default: "0,1,2" },
    collect: { type: "string", default: import.meta.dirname },
  },
});
const [datasets, out] = positionals;
if (out === undefined) {
  console.error("node experiments/xprompt/fair.mjs DATASETS OUT [--tasks sst2] [--seeds 0,1,2] [--collect FOLDER]");
  process.exit(2);
}
mkdirSync(out, { recursive: true });
const places = {
  sst2: { data: join(datasets, "SST-2"), fewShot: 2000 },
  qqp: { data: join(datasets, "QQP"), fewShot: 2000, format: "t5" },
};
const given = parse(readFileSync(join(import.meta.dirname, "sub-prompts.yaml"), "utf8"));
const options = (table) => readOptions(table, pickOptions(table, given), "sub-prompts.yaml");
const tasks = [];
for (const task of values.tasks.split(",")) tasks.push(await loadData({ task, ...places[task] }));
const engine = openEngine(await openCheckpoint(given.model), { threads: 1 });
const wanted = ["pt", "control", "xprompt", "mean", "reversed", "reversedMean", "random", "randomMean"];
const lines = linesOf("", wanted);
const line = (variant) => linesOf("", [variant])[0];
const began = performance.now();
try {
  const input = {
    engine,
    tokenizer: await loadTokenizer(given.model),
    tasks,
    seeds: values.seeds.split(",").map(Number),
    settings: { ...options(trainOptions), finalEvalRows: 0 },
    schedule: options(scheduleOptions),
    virtualTokens: given.virtualTokens,
    init: { kind: given.init },
    scoring: options(neuronScoreOptions),
    prune: { ...options(pruneOptions), holdout: 0.1 },
    folder: out,
    observe: (event) => {
      if (event.kind !== "outcome") return;
      const { task, seed, variant, score } = event.outcome;
      const minutes = ((performance.now() - began) / 60000).toFixed(1);
      console.log(`${minutes} min  ${task} seed ${seed} ${variant}: ${(100 * score).toFixed(2)}`);
    },
  };
  const found = await outcomes(input, [{ label: "" }], wanted);
  const pairs = [
    ["XPrompt − PT", "xprompt", "pt"],
    ["XPrompt − PT continued", "xprompt", "control"],
    ["XPrompt − Reversed", "xprompt", "reversed"],
    ["XPrompt − Random", "xprompt", "random"],
    ["means: XPrompt − Reversed", "mean", "reversedMean"],
    ["means: XPrompt − Random", "mean", "randomMean"],
    ["mean of XPrompt's − PT continued", "mean", "control"],
  ];
  const result = {
    study: "fair",
    title: "XPrompt against other rankings with as many tries",
    tables: [
      scoreTable("Scores on the validation rows, which chose nothing", found, lines, tasks),
      differenceTable(
        "Paired differences",
        found,
        pairs.map(([name, a, b]) => [name, line(a), line(b)]),
      ),
    ],
    dots: [],
    charts: [],
    matrices: [],
    scores: seedScores(found, lines, tasks),
    notes: [
      `Checkpoints and candidates were chosen on a tenth of the training rows, held out; every ranking had ${found.find((o) => o.variant === "xprompt").candidates} candidates from the same tuned prompt.`,
      pairedNote,
      "Made by `node experiments/xprompt/fair.mjs`.",
    ],
    settings: settingsOf(input),
  };
  writeFileSync(join(values.collect, "fair.json"), `${JSON.stringify(result, null, 1)}\n`);
  writeFileSync(join(values.collect, "fair.md"), `${studyMarkdown(result)}\n`);
  console.log(studyMarkdown(result));
} finally {
  await engine.dispose();
}
