/**
 * @file Score against FLOPs, over all methods and tasks of committed results: the table of equal compute, and a figure for each task.
 *
 *   node experiments/methods/equal.mjs [RESULTS.json …] [--collect FOLDER] [--budgets 0.25,0.5,1,2]
 *
 * In:  results of run.mjs; default those that are beside this file. Nothing is trained.
 * Out: FOLDER/equal.json, FOLDER/equal.md and FOLDER/equal-NAME-TASK.svg, NAME that of the results. A budget is a share of what prompt tuning spends in
 *      all its steps on the task. A method has at a budget the score of its last evaluation within it, mean over seeds; nothing is interpolated.
 *      What is asked and not trained (few-shot, instruction) spends nothing; XPrompt has one point, at all that its search spends. Needs `npm run build`.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { chartDrawing } from "softprompt/study";
import { signed, tested } from "../statistics.mjs";

const here = import.meta.dirname;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { collect: { type: "string", default: here }, budgets: { type: "string", default: "0.25,0.5,1,2" } },
});
const files =
  positionals.length > 0
    ? positionals
    : ["results", "chance", "long", "mini", "smollm2", "smollm2-cb", "smollm2-tasks", "smollm2-boolq"]
        .map((name) => join(here, `${name}.json`))
        .filter((file) => existsSync(file));
const budgets = values.budgets.split(",").map(Number);
const mean = (all) => all.reduce((a, b) => a + b, 0) / all.length;

/** Points [FLOPs, score] of each method on each task. */
function curvesOf({ charts, scores }) {
  /** What was spent before the first step (FPT's neuron scores) belongs to every point of a curve. Charts of earlier results hold the steps alone. */
  const shifted = (points, line, task) => {
    const spent = scores.filter((one) => one.line === line && one.task === task).map(({ flops }) => flops);
    const before = Math.max(0, mean(spent) - points.at(-1)[0]);
    return points.map(([flops, score]) => [flops + before, score]);
  };
  const tasks = [...new Set(scores.map(({ task }) => task))];
  return tasks.map((task) => {
    const chart = charts.find(({ x, title }) => x === "flops" && title.startsWith(`${task}: `));
    const drawn = new Map((chart?.series ?? []).map(({ name, points }) => [name, points]));
    const lines = [...new Set(scores.filter((one) => one.task === task).map(({ line }) => line))];
    const methods = lines.flatMap((name) => {
      if (drawn.has(name)) return [{ name, points: shifted(drawn.get(name), name, task) }];
      // one point: all that was spent; nothing for what only asks
      const own = scores.filter((one) => one.task === task && one.line === name && one.score !== null);
      if (own.length === 0) return [];
      return [{ name, points: [[mean(own.map(({ flops }) => flops ?? 0)), mean(own.map(({ score }) => score))]] }];
    });
    const metric = scores.find((one) => one.task === task).metric;
    return { task, metric, methods };
  });
}

const report = [];
const lines = ["# Score at equal FLOPs", ""];
for (const file of files) {
  const result = JSON.parse(readFileSync(file, "utf8"));
  const name = basename(file, ".json");
  lines.push(
    `## ${name}: ${result.settings.model}, ${result.settings.steps} steps, seeds ${result.settings.seeds.join(", ")}`,
    "",
  );
  for (const { task, metric, methods } of curvesOf(result)) {
    const whole = methods.find((method) => method.name === "prompt")?.points.at(-1)?.[0];
    if (whole === undefined) throw new Error(`${file}: there is no prompt tuning on ${task} to measure budgets by`);
    // half a step of tolerance, as in the study itself: a method whose steps cost 0.4 % more has spent as much
    const half = (points) => points.at(-1)[0] / (2 * result.settings.steps);
    const rows = methods.map((method) => ({
      method: method.name,
      at: budgets.map(
        (share) => method.points.findLast(([flops]) => flops <= share * whole + half(method.points))?.[1] ?? null,
      ),
      last: { gigaflop: method.points.at(-1)[0] / 1e9, score: method.points.at(-1)[1] },
    }));
    const figure = `equal-${name}-${task.replaceAll("/", "-")}.svg`;
    const drawing = chartDrawing({
      title: `${task}: ${metric} against FLOPs`,
      x: "flops",
      xLabel: "FLOPs of training, all products",
      yLabel: `${metric} × 100`,
      series: methods.map((method) => ({ name: method.name, points: method.points })),
    });
    writeFileSync(join(values.collect, figure), `${drawing}\n`);
    report.push({ results: `${name}.json`, task, metric, budgets, promptGigaflop: whole / 1e9, rows, figure });
    const best = budgets.map((_, n) => Math.max(...rows.map(({ at }) => at[n] ?? Number.NEGATIVE_INFINITY)));
    const show = (score, n) => {
      if (score === null) return "–";
      return score === best[n] ? `**${score.toFixed(1)}**` : score.toFixed(1);
    };
    lines.push(
      `${task}, ${metric} × 100; prompt tuning spends ${(whole / 1e9).toFixed(0)} GFLOP in all its steps. [Figure](${figure}).`,
      "",
      `| method | ${budgets.map((share) => `${100 * share} %`).join(" | ")} | after its last step | GFLOP by then |`,
      `| --- | ${budgets.map(() => "--:").join(" | ")} | --: | --: |`,
      ...rows.map(
        ({ method, at, last }) =>
          `| ${[`\`${method}\``, ...at.map(show), last.score.toFixed(1), last.gigaflop.toFixed(0)].join(" | ")} |`,
      ),
      "",
    );
  }
}
/**
 * Pairs over all tasks of one model at the methods' present rates, from several results: of a line, task and seed that stand in several, those of
 * the first file count.
 */
const decoder = {
  model: "SmolLM2-135M-Instruct",
  files: ["smollm2-own", "smollm2-tasks", "smollm2-boolq", "smollm2-more", "smollm2-third", "smollm2"],
  // of these files the other methods are at a rate that is not their present one
  only: { "smollm2-third": ["prefix"], smollm2: ["lora", "superpos", "p-tuning"] },
  methods: ["lora", "prefix", "superpos", "p-tuning"],
};
if (positionals.length === 0) {
  const scores = new Map();
  for (const name of decoder.files)
    for (const one of JSON.parse(readFileSync(join(here, `${name}.json`), "utf8")).scores) {
      const key = JSON.stringify([one.line, one.task, one.seed]);
      const counts = decoder.only[name]?.includes(one.line) ?? true;
      if (counts && !scores.has(key)) scores.set(key, one);
    }
  const prompts = [...scores.values()].filter(({ line }) => line === "prompt");
  const rows = decoder.methods.flatMap((method) => {
    const pairs = prompts.flatMap(({ task, seed, score }) => {
      const other = scores.get(JSON.stringify([method, task, seed]));
      return other === undefined ? [] : [{ task, points: other.score - score }];
    });
    const tasks = [...new Set(pairs.map(({ task }) => task))];
    return [...tasks.map((task) => [task]), tasks].map((some) => ({
      method,
      tasks: some,
      ...tested(pairs.filter(({ task }) => some.includes(task)).map(({ points }) => points)),
    }));
  });
  report.push({ model: decoder.model, results: decoder.files.map((name) => `${name}.json`), pairs: rows });
  lines.push(
    `## ${decoder.model}: against a prompt, pair by pair, at the methods' present rates`,
    "",
    `After 60 steps of 8 rows, from ${decoder.files.map((name) => `[${name}](${name}.md)`).join(", ")}. LoRA and a prefix take 65 to 94 % of a prompt's FLOPs, so at equal FLOPs they have no less; superpos and P-tuning take as many as a prompt.`,
    "",
    "| method | tasks | points ± standard error | pairs | above / equal / below | sign test, p |",
    "| --- | --- | --: | --: | --- | --: |",
    ...rows.map(
      ({ method, tasks, mean: points, error, pairs, signs, p }) =>
        `| \`${method}\` | ${tasks.join(", ")} | ${signed(points)} ± ${error.toFixed(2)} | ${pairs} | ${signs} | ${p.toFixed(2)} |`,
    ),
    "",
  );
}
lines.push(
  "A method has at a budget the score of its last evaluation within it, the mean over seeds; “–”: it had none. The highest of a column is bold, whatever the noise. The search for a learning rate is not in these FLOPs: results.md gives it, and it is not as large a multiple for each method. FLOPs are training's, of FPT with its neuron scores, of XPrompt all that its search spends.",
  "",
  "Made by `node experiments/methods/equal.mjs`.",
  "",
);
writeFileSync(join(values.collect, "equal.json"), `${JSON.stringify(report, null, 1)}\n`);
writeFileSync(join(values.collect, "equal.md"), lines.join("\n"));
console.log(lines.join("\n"));
