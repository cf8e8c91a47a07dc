/**
 * @file The work of softprompt eval: rows of one split, scored under a prompt or none.
 */

import { checkBase } from "../../adapter/adapter.js";
import { runnable } from "../../adapter/applied.js";
import { interrupted, SoftpromptError } from "../../base/errors.js";
import { writeFileAtomic } from "../../base/files.js";
import type { OptionValues } from "../../base/options.js";
import { endNotice } from "../../data/notices.js";
import type { Dataset, Row, Task } from "../../data/row.js";
import {
  type Evaluation,
  evaluatePrepared,
  majorityBaseline,
  preparedNotices,
  prepareEvaluation,
  type RowProgress,
  rowsEvent,
  scoredRows as someRows,
} from "../../evaluate/evaluate.js";
import { drawExamples, inContext, inContextNotice } from "../../evaluate/in-context.js";
import { fullModel } from "../../model/partial.js";
import { flopText, plainNumber, scoreText, secondText } from "../../report/format.js";
import { plainTable } from "../../report/markdown.js";
import { outcomeWarnings } from "../../report/outcome.js";
import type { Scores } from "../../run/result.js";
import { asRecorded, type dataOptions, otherTask, taskDifferences } from "../../tasks/data.js";
import { engineUnder } from "../../tasks/model.js";
import { recordedEvaluateBy, recordedInputTokens, recordedRanking, usualInputTokens } from "../../tasks/predictor.js";
import { tokenizerFor } from "../../tasks/readied.js";
import { predictionLine } from "../../tasks/record.js";
import { loadScored } from "../../tasks/scored-file.js";
import type { Answer, CommandContext } from "../command.js";
import { loadSaid, sayNotices, sayTokenNotices, short } from "../data.js";
import { checkWritable } from "../output.js";
import { progress } from "../progress.js";
import type { EvalValues } from "../tables/eval.js";
import { namedAdapter, openWithAdapter } from "./recorded-model.js";

export async function evaluate(options: EvalValues, { terminal, signal }: CommandContext): Promise<Answer> {
  if (options.predictions !== undefined)
    checkWritable(options.predictions, [options.train, options.validation, options.test]);
  const adapter = await namedAdapter(options, { terminal, signal });
  const recorded = adapter?.task ?? null;
  const { task, split, rows, data, notices: ofFile } = await scoredRows(options, recorded, { terminal, signal });
  const differ = recorded === null ? [] : taskDifferences(recorded, task);
  if (differ.length > 0) terminal.warn(otherTask(recorded!, differ));
  if (rows.length === 0)
    throw new SoftpromptError("data", `there are no ${split} rows`, {
      where: task.name,
      expected: "a split with labelled rows",
    });
  if (options.shots > 0 && (data === null || data.train.length === 0))
    throw new SoftpromptError("usage", "examples are drawn from training rows, and none are given", {
      where: "--shots",
      expected: "--data, or --train beside the scored file",
    });
  const model = await openWithAdapter(options.model, adapter, options, { terminal, signal });
  try {
    if (adapter !== null)
      await checkBase(adapter, model.checkpoint, { anyBase: options.anyBase, tokenizer: model.tokenizer });
    const tokenizer = await tokenizerFor(model, adapter);
    const examples = drawExamples(data?.train ?? [], options.shots, options.shotSeed);
    const maxInputTokens = options.maxInputTokens ?? recordedInputTokens(adapter) ?? usualInputTokens;
    const before = { instruction: options.instruction ?? null, examples };
    const asked = inContext(task, someRows(rows, options), before, tokenizer, maxInputTokens);
    const prepared = prepareEvaluation(tokenizer, task, asked.rows, {
      ...options,
      evaluateBy: options.evaluateBy ?? recordedEvaluateBy(adapter),
      ranking: options.ranking ?? recordedRanking(adapter),
      maxInputTokens,
    });
    const fewer = inContextNotice(asked, examples.length);
    const unended = prepared.evaluateBy === "generation" ? endNotice(adapter?.task) : null;
    const ofInputs = [...[fewer, unended].filter((notice) => notice !== null), ...preparedNotices(prepared, tokenizer)];
    const notices = [...ofFile, ...(data === null ? [] : sayTokenNotices(data, tokenizer, terminal)), ...ofInputs];
    sayNotices(ofInputs, terminal);
    terminal.note(`scoring ${prepared.rows.length} ${split} rows …`);
    const full = fullModel(model.checkpoint.config);
    const run = adapter && runnable(adapter, model.checkpoint.config);
    const engine = run === null ? model.engine : await engineUnder(model, run.method);
    const watch = progress(terminal);
    const told: RowProgress = (...rows) => watch(rowsEvent(...rows));
    const found = await evaluatePrepared(engine, full, tokenizer, prepared, run?.parameters ?? null, signal, told);
    if (found === null) throw interrupted(signal, "stopped before every row was scored", { where: "softprompt eval" });
    const majority = majorityOf(task, data?.train ?? null, rows, prepared.rows);
    const { scores, predictions } = found;
    const ofOutcome = outcomeWarnings({
      scores: scores as Scores,
      majority: majority.scores as Scores | null,
      predictions,
    });
    sayNotices(ofOutcome, terminal);
    if (options.predictions !== undefined)
      writeFileAtomic(options.predictions, found.predictions.map(predictionLine).join(""));
    return {
      json: {
        task: task.name,
        split,
        rows: prepared.rows.length,
        scores: found.scores,
        majority: majority.scores,
        majorityOf: majority.of,
        loss: found.loss,
        confusion: found.confusion,
        labels: found.labels,
        selective: found.selective,
        seconds: found.seconds,
        flops: found.flops,
        notices: [...notices, ...ofOutcome],
      },
      text: evaluationText(`${short(task.name, 40)}, ${prepared.rows.length} ${split} rows`, found, majority),
    };
  } finally {
    await model.dispose();
  }
}

interface Scored {
  readonly task: Task;
  readonly split: EvalValues["split"];
  readonly rows: readonly Row[];
  /** The complete data; null if only one file is given. */
  readonly data: Dataset | null;
  /** What was said of the one file. */
  readonly notices: readonly string[];
}

interface Majority {
  /** Null where there is none. */
  readonly scores: Evaluation["scores"] | null;
  /** The rows that the most frequent label is of; null where there is none. */
  readonly of: "training rows" | "scored rows" | null;
}

/**
 * Always the most frequent label. Without training rows it is that of the scored ones, and of written texts there is none: nearly each is
 * another, so the score would only say how few the rows are.
 */
function majorityOf(task: Task, train: readonly Row[] | null, all: readonly Row[], scored: readonly Row[]): Majority {
  if (train !== null) return { scores: majorityBaseline(task, train, scored).scores, of: "training rows" };
  if (all.every(({ label }) => label === null)) return { scores: null, of: null };
  return { scores: majorityBaseline(task, all, scored).scores, of: "scored rows" };
}

/** A split of a task's data; or, where the adapter or the options say how its texts are put, the one file that is given. */
export async function scoredRows(
  options: OptionValues<typeof dataOptions> & Pick<EvalValues, "split">,
  recorded: Task | null,
  context: Pick<CommandContext, "terminal" | "signal">,
): Promise<Scored> {
  const { split, train, validation, test } = options;
  const alone = train === undefined && options.data === undefined && (validation ?? test) !== undefined;
  if (alone) {
    // --test alone is scored without a word of the split
    const file = split === "validation" ? (validation ?? test) : split === "test" ? test : undefined;
    if (file === undefined)
      throw new SoftpromptError("data", `there are no ${split} rows`, {
        where: "--split",
        expected: `--${split} FILE`,
        got: validation === undefined ? `--test ${test}` : `--validation ${validation}`,
      });
    const { task, rows, notices } = await loadScored(recorded, file, options, context.signal);
    sayNotices(notices, context.terminal);
    return { task, split: file === test ? "test" : "validation", rows, data: null, notices };
  }
  const data = await loadSaid(asRecorded(options, recorded), context);
  return { task: data.task, split, rows: data[split], data, notices: [] };
}

function evaluationText(
  what: string,
  { scores, loss, predictions, confusion, labels, selective, seconds, flops }: Evaluation,
  majority: Majority,
): string {
  const lines = [
    plainTable([
      [what, "score", `majority class${majority.of === "scored rows" ? " (of these rows)" : ""}`],
      ...Object.entries(scores).map(([name, score]) => [
        name,
        scoreText(score),
        scoreText(majority.scores?.[name as keyof typeof scores]),
      ]),
    ]),
    "",
    `loss ${plainNumber(loss)} per target token · ${secondText(seconds)} · ${flopText(flops)}`,
  ];
  if (selective !== null)
    lines.push(
      "",
      `probability ${plainNumber(selective.minProbability)} or more: ${selective.rows} of ${predictions.length} rows (coverage ${scoreText(selective.coverage)}), accuracy ${scoreText(selective.accuracy)}`,
    );
  if (labels !== null && labels.length <= 20)
    lines.push(
      "",
      plainTable([
        ["label", "precision", "recall", "f1", "support"],
        ...labels.map(({ label, precision, recall, f1, support }) => [
          short(label, 40),
          ...[precision, recall, f1].map(scoreText),
          String(support),
        ]),
      ]),
    );
  // long labels would make the table too wide for a terminal
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
