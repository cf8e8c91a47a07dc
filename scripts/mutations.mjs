/**
 * @file `npm run mutation-test`: plants one fault at a time and asks whether the test that holds the promise fails.
 *
 * In: the table below, the promises of ARCHITECTURE.md and of what is measured. Out: a line per fault; exit 1 where one survives, where
 * its place in the source is gone, or where a test fails without any fault. `npm run mutation-test -- holdout` plants those whose
 * promise or file has the word.
 *
 * Works on a copy of the tree, so that an interruption leaves nothing behind.
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

/** [promise, file, right text (once in the file), fault, test file that must fail, words of the test where others of the file take long] */
const faults = [
  [
    "a room reaches forward",
    "src/optim/clip.ts",
    " * @file Gradient clipping",
    ' */\nimport type { Job } from "../train/job.js";\n/**\n * @file Gradient clipping',
    "test/house.test.ts",
  ],
  [
    "a second file imports ONNX Runtime",
    "src/optim/clip.ts",
    'import type { Tensor } from "../base/tensor.js";',
    'import "onnxruntime-node";\nimport type { Tensor } from "../base/tensor.js";',
    "test/house.test.ts",
  ],
  [
    "training succeeds and nothing moved",
    "src/train/step.ts",
    "if (!state.moved && (",
    "if (state.step < 0 && (",
    "src/train/trainer.test.ts",
  ],
  [
    "something other than the prompt moved",
    "src/tasks/tune.ts",
    "if (after === weights) return;",
    "return;",
    "src/tasks/tune.test.ts",
  ],
  [
    "a resumed run differs: the optimizer",
    "src/train/state.ts",
    "optimizer: { step: optimizerStep,",
    "optimizer: { step: 0,",
    "src/run/resume.test.ts",
  ],
  [
    "a resumed run differs: its inputs changed",
    "src/train/identity.ts",
    "if (changed.length === 0) return;",
    "return;",
    "src/run/resume.test.ts",
  ],
  [
    "a killed process leaves half a file",
    "src/base/files.ts",
    "    ops.renameSync(temp, path);\n",
    '    writeAndSync(path, "w", bytesOf(content), ops);\n    ops.unlinkSync(temp);\n',
    "src/base/files.test.ts",
  ],
  [
    "a gradient is wrong",
    "src/graph/grad.ts",
    "scaled(g, h, by, before(0)), x!, share)",
    "scaled(g, h, by, before(0)), dy, share)",
    "test/ops.test.ts",
  ],
  [
    "an optimizer drifts from its reference",
    "src/optim/adafactor.ts",
    "const keep = 1 - learningRate * weightDecay;",
    "const keep = 1 - weightDecay;",
    "src/optim/optimizers.test.ts",
  ],
  [
    "a partial model is not the paper's",
    "src/model/partial.ts",
    "return [0, ...Array.from(others, (i) => i + 1)];",
    "return [0, ...Array.from(others, (i) => i)];",
    "src/model/partial.test.ts",
  ],
  [
    "a pruned entry comes back to life",
    "src/train/update.ts",
    "const moved = masked(next.parameters);",
    "const moved = next.parameters;",
    "src/train/trainer.test.ts",
  ],
  [
    "an adapter is used with another base model",
    "src/adapter/adapter.ts",
    "if (actual !== base.sha256) throw",
    "if (false) throw",
    "src/adapter/adapter.test.ts",
  ],
  [
    "an untrusted file crashes",
    "src/model/safetensors.ts",
    "  if (end > fileBytes - dataOffset)\n",
    "  if (end < 0)\n",
    "src/model/safetensors.test.ts",
  ],
  [
    "an unknown option is ignored",
    "src/base/options.ts",
    "if (!Object.hasOwn(table, key)) throw unknownOption(key, Object.keys(table), where);",
    "if (!Object.hasOwn(table, key)) continue;",
    "src/base/options.test.ts",
  ],
  [
    "documentation and options disagree",
    "src/train/options.ts",
    'help: "Rows of one optimizer step",',
    'help: "Rows of a step",',
    "test/docs.test.ts",
  ],
  [
    "a report runs an untrusted script",
    "src/report/page.ts",
    "      : escapeXml(String(hole)),",
    "      : String(hole),",
    "test/report-pages.test.ts",
  ],
  [
    "another site's page reaches the studio",
    "src/studio/app.ts",
    "    context.guard.checkOrigin(headers.origin);\n",
    "",
    "test/studio.test.ts",
    "other sites' pages are refused",
  ],
  [
    "a run's texts become the studio's HTML",
    "src/report/svg-parts.ts",
    '      .replaceAll("<", "&lt;")\n',
    "",
    "src/studio/page/page.test.tsx",
  ],
  [
    "the studio ends before what it started has saved",
    "src/studio/jobs.ts",
    "      this.#idle = resolve;\n",
    "      resolve();\n",
    "src/studio/jobs.test.ts",
  ],
  [
    "an install script runs on the user's machine",
    "package.json",
    '"scripts": {',
    '"scripts": {\n    "postinstall": "node dist/cli/main.js",',
    "test/package.test.ts",
  ],
  [
    "holdout: what is reported is the score that chose",
    "src/prune/search.ts",
    "if (known) return { scores, flops: 0, seconds: 0 };",
    "return { scores, flops: 0, seconds: 0 };",
    "test/xprompt.test.ts",
    "a holdout chooses on rows",
  ],
  [
    "holdout: the rows that choose are trained on",
    "src/prune/plan.ts",
    "const { train: rows, held } = holdOut(input.train, options.holdout, settings.seed);",
    "const { held } = holdOut(input.train, options.holdout, settings.seed);\n  const rows = input.train;",
    "test/xprompt.test.ts",
    "a holdout chooses on rows",
  ],
  [
    "a capped evaluation draws other rows for another seed",
    "src/train/job.ts",
    "      maxEvalRows: settings.maxEvalRows,\n",
    "      maxEvalRows: settings.maxEvalRows > 0 ? settings.maxEvalRows + settings.seed : 0,\n",
    "src/train/trainer.test.ts",
  ],
  [
    "the cap does not bound the baseline and the final evaluation",
    "src/tasks/tune.ts",
    "const validation = reportedRows(data.validation, options);",
    "const validation = data.validation;",
    "src/tasks/tune.test.ts",
  ],
  [
    "the final evaluation is not counted",
    "src/tasks/tune.ts",
    "training.cost.evalFlops + (final?.flops ?? 0)",
    "training.cost.evalFlops",
    "src/tasks/tune.test.ts",
  ],
  [
    "a ranking has more tries than another",
    "src/study/xprompt-variants.ts",
    "const ranking = name && { name, maskOf: rankings[name].of(search) };",
    'const ranking = name && { name, maskOf: rankings[name].of(search) };\n  if (name) level = "tokens";',
    "src/study/xprompt.test.ts",
  ],
  [
    "importance counts examples against each other",
    "src/prune/scores.ts",
    "perExample: { reduce: eachExample(Math.abs),",
    "perExample: { reduce: eachExample((v) => v),",
    "test/importance.test.ts",
  ],
  [
    "candidates start from other values than the rewound ones",
    "src/prune/search.ts",
    "prompt: start, mask, drop:",
    "prompt: input.prompt, mask, drop:",
    "test/xprompt.test.ts",
    "candidates start from the rewound",
  ],
  [
    "ties go to the larger candidate",
    "src/prune/strategies.ts",
    "b.score - a.score || a.counts.parameters - b.counts.parameters);",
    "b.score - a.score || b.counts.parameters - a.counts.parameters);",
    "src/prune/strategies.test.ts",
  ],
  [
    "growth always resets the optimizer",
    "src/train/step.ts",
    "optimizer: schedule.resetOptimizerOnGrow ? initParameters(job.optimizer, state.parameters) : state.optimizer,",
    "optimizer: initParameters(job.optimizer, state.parameters),",
    "test/partial-models.test.ts",
  ],
  ["ReCoRD keeps its whole decoder", "src/data/tasks.ts", "    generative: true,\n", "", "src/schedule/plan.test.ts"],
  [
    "prompt tuning gets more looks where looks are said to be equal",
    "src/study/compare.ts",
    "filter(({ step }) => steps.has(step))",
    "filter(() => steps.size > 0)",
    "src/study/compare.test.ts",
  ],
  [
    "a sweep chooses by validation rows",
    "src/study/sweep.ts",
    "const rows: Dataset = { ...data, train: kept, validation: held, test: [] };",
    "const rows: Dataset = { ...data, train: kept, validation: [..._, ...held], test: [] };",
    "src/study/sweep.test.ts",
  ],
  [
    "a sweep ranks equal settings by the last digits of their sums",
    "src/study/sweep.ts",
    ".toFixed(9)",
    ".toFixed(17)",
    "src/study/sweep.test.ts",
  ],
  [
    "best.yaml has what the best setting does not read",
    "src/cli/actions/sweep.ts",
    "...withoutKeys(pickOptions(trainTable, own), allSweepOptions), ...best",
    "...pickOptions(trainTable, own), ...best",
    "test/sweep-command.test.ts",
  ],
  [
    "a built file that a command loads is not published",
    "scripts/published.mjs",
    "made[path] ?? ",
    "",
    "test/package.test.ts",
  ],
  [
    "a score at chance is shown as a real one",
    "src/report/outcome.ts",
    "score <= always",
    "score < always - 1",
    "src/report/outcome.test.ts",
  ],
  [
    "a picture of the findings shows another figure than its table",
    "scripts/findings-pictures.mjs",
    "deviation: 2 * error",
    "deviation: error",
    "test/findings.test.ts",
  ],
];

const root = resolve(import.meta.dirname, "..");
const wanted = process.argv.slice(2);
const planted = faults.filter(([promise, file]) => wanted.every((word) => `${promise} ${file}`.includes(word)));
const copy = mkdtempSync(join(tmpdir(), "softprompt-mutations-"));
process.on("exit", () => rmSync(copy, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(130));
const left = new Set(["node_modules", ".git", "runs", "studies", "dist"]);
cpSync(root, copy, { recursive: true, filter: (path) => !left.has(path.slice(root.length + 1)) });
symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
// made by npm run build; no fault is planted in it
cpSync(join(root, "dist/studio/page"), join(copy, "dist/studio/page"), { recursive: true });

const passes = (test, words) => {
  const only = words === undefined ? [] : ["-t", words];
  const { status } = spawnSync("npx", ["vitest", "run", test, "--bail=1", ...only], {
    cwd: copy,
    stdio: "ignore",
    shell: process.platform === "win32",
  });
  return status === 0;
};

let bad = 0;
const say = (verdict, promise, test) => console.log(`${verdict.padEnd(9)} ${promise} (${test})`);
const sound = new Map();
for (const [promise, file, right, fault, test, words] of planted) {
  const path = join(copy, file);
  const text = readFileSync(path, "utf8");
  if (text.split(right).length !== 2) {
    say("MISPLACED", promise, file);
    bad++;
    continue;
  }
  // a test that fails anyway holds nothing
  const held = `${test} ${words ?? ""}`;
  if (!sound.has(held)) sound.set(held, passes(test, words));
  if (!sound.get(held)) {
    say("BROKEN", promise, test);
    bad++;
    continue;
  }
  writeFileSync(
    path,
    text.replace(right, () => fault),
  );
  const survived = passes(test, words);
  writeFileSync(path, text);
  say(survived ? "SURVIVED" : "caught", promise, test);
  if (survived) bad++;
}
console.log(`${planted.length - bad} of ${planted.length} faults caught`);
process.exitCode = bad === 0 && planted.length > 0 ? 0 : 1;
