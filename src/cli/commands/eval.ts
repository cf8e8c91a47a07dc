/**
 * @file softprompt eval: scores a tuned prompt, or the frozen model alone, on labelled rows.
 */
import { checkBase, loadAdapter } from "../../adapter/adapter.js";
import { interrupted, SoftpromptError } from "../../base/errors.js";
import { writeFileAtomic } from "../../base/files.js";
import { boolean, choice, integer, pickOptions, string } from "../../base/options.js";
import {
  type Evaluation,
  evaluatePrepared,
  majorityBaseline,
  preparedNotices,
  prepareEvaluation,
} from "../../evaluate/evaluate.js";
import { fullModel } from "../../model/partial.js";
import { flopText, plainNumber, scoreText, secondText } from "../../report/format.js";
import { plainTable } from "../../report/markdown.js";
import { asRecorded, dataOptions, taskDifferences } from "../../tasks/data.js";
import { openModel, openOptions } from "../../tasks/model.js";
import { modelOptions } from "../../tasks/options.js";
import { recordedInputTokens } from "../../tasks/predict.js";
import { predictionLine } from "../../tasks/tune.js";
import { command } from "../command.js";
import { loadSaid, sayNotices, sayTokenNotices, short } from "../data.js";
import { modelContext } from "../progress.js";

export const evaluate = command({
  summary: "score a tuned prompt on labelled rows",
  description:
    "Scores an adapter (or, without --adapter, the frozen model with no prompt) on one split of a task, beside the majority-class baseline, with the confusion table. How texts and labels are put comes from the adapter unless you say otherwise; its task, if it is a declared one, needs --data only.",
  positionals: [],
  sections: {
    Model: modelOptions,
    Prompt: {
      adapter: string({ placeholder: "folder", help: "Adapter to score, e.g. RUN/adapter" }),
      anyBase: boolean({ default: false, help: "Use the adapter though the base model is not the recorded one" }),
    },
    Data: dataOptions,
    Evaluation: {
      split: choice({ values: ["validation", "test", "train"], default: "validation", help: "Which rows are scored" }),
      evaluateBy: choice({
        values: ["ranking", "generation"],
        default: "ranking",
        help: "Score each label's words, or let the model write; free-text tasks always generate",
      }),
      maxInputTokens: integer({
        min: 1,
        unit: "tokens",
        help: "Longest input; a longer one loses the end of its longest field",
        source: "default what the adapter was tuned with, else 492",
      }),
      maxEvalRows: integer({
        default: 0,
        min: 0,
        unit: "rows",
        help: "At most so many rows, the same ones each time; 0 is all",
      }),
      batchSize: integer({ default: 32, min: 1, unit: "rows", help: "Rows of one pass" }),
      predictions: string({ placeholder: "file", help: "Write what was said to each row, one JSON object per line" }),
    },
  },
  examples: [
    "softprompt eval --model t5-nano --adapter runs/sst2/adapter --task sst2 --data datasets/SST-2",
    "softprompt eval --model t5-nano --task sst2 --data datasets/SST-2",
  ],
  async run(options, _, { terminal, signal }) {
    const adapter = options.adapter === undefined ? null : loadAdapter(options.adapter);
    const recorded = adapter?.task ?? null;
    const data = await loadSaid(asRecorded(options, recorded), { terminal, signal });
    const differ = recorded === null ? [] : taskDifferences(recorded, data.task);
    if (differ.length > 0)
      terminal.warn(
        `the adapter was tuned on ${recorded!.name} with another ${differ.join(", ")}: this is not how it learnt to answer`,
      );
    const rows = data[options.split];
    if (rows.length === 0)
      throw new SoftpromptError("data", `there are no ${options.split} rows`, {
        where: data.task.name,
        expected: "a split with labelled rows",
      });
    const model = await openModel(options.model, pickOptions(openOptions, options), modelContext(terminal, signal));
    try {
      if (adapter !== null)
        await checkBase(adapter, model.checkpoint, { anyBase: options.anyBase, tokenizer: model.tokenizer });
      const prepared = prepareEvaluation(model.tokenizer, data.task, rows, {
        ...options,
        by: options.evaluateBy,
        maxInputTokens: options.maxInputTokens ?? recordedInputTokens(adapter),
        seed: 0,
      });
      const ofInputs = preparedNotices(prepared, model.tokenizer);
      const notices = [...sayTokenNotices(data, model.tokenizer, terminal), ...ofInputs];
      sayNotices(ofInputs, terminal);
      terminal.note(`scoring ${prepared.rows.length} ${options.split} rows …`);
      const full = fullModel(model.checkpoint.config);
      const parameters = adapter && { prompt: adapter.prompt };
      const found = await evaluatePrepared(model.engine, full, model.tokenizer, prepared, parameters ?? null, signal);
      if (found === null)
        throw interrupted(signal, "stopped before every row was scored", { where: "softprompt eval" });
      const majority = majorityBaseline(data.task, data.train, prepared.rows);
      if (options.predictions !== undefined)
        writeFileAtomic(options.predictions, found.predictions.map(predictionLine).join(""));
      return {
        json: {
          task: data.task.name,
          split: options.split,
          rows: prepared.rows.length,
          scores: found.scores,
          majority: majority.scores,
          loss: found.loss,
          confusion: found.confusion,
          seconds: found.seconds,
          flops: found.flops,
          notices,
        },
        text: evaluationText(data.task.name, options.split, prepared.rows.length, found, majority.scores),
      };
    } finally {
      await model.dispose();
    }
  },
});

function evaluationText(
  task: string,
  split: string,
  rows: number,
  { scores, loss, confusion, seconds, flops }: Evaluation,
  majority: Evaluation["scores"],
): string {
  const lines = [
    plainTable([
      [`${short(task, 40)}, ${rows} ${split} rows`, "score", "majority class"],
      ...Object.entries(scores).map(([name, score]) => [
        name,
        scoreText(score),
        scoreText(majority[name as keyof typeof majority]),
      ]),
    ]),
    "",
    `loss ${plainNumber(loss)} per target token · ${secondText(seconds)} · ${flopText(flops)}`,
  ];
  // long labels would make a table that no terminal holds
  const widest = Math.max(8, Math.floor(80 / (1 + (confusion?.labels.length ?? 0))) - 2);
  if (confusion !== null && confusion.labels.length <= 20)
    lines.push(
      "",
      plainTable([
        ["true \\ said", ...confusion.labels.map((label) => short(label, widest)), "no label"],
        ...confusion.counts.map((row, i) => [short(confusion.labels[i]!, widest), ...row.map(String)]),
      ]),
    );
  return lines.join("\n");
}
