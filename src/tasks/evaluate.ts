/**
 * @file Scores a prompt on rows with known answers. In: Model, rows, an adapter. Out: Evaluation. It is the library's form of `softprompt
 * eval`.
 */
import type { Adapter } from "../adapter/types.js";
import { interrupted, SoftpromptError } from "../base/errors.js";
import { currentNames } from "../base/options.js";
import type { MemoryRow } from "../data/memory.js";
import type { Dataset, Row, Task } from "../data/row.js";
import {
  constantAnswer,
  type Evaluation,
  evaluatePrepared,
  preparedNotices,
  prepareEvaluation,
  scoredRows,
} from "../evaluate/evaluate.js";
import { drawExamples, inContext, inContextNotice } from "../evaluate/in-context.js";
import { fullModel } from "../model/partial.js";
import { checkCall, evaluateOptions } from "./answer-options.js";
import type { CallContext, NoticeEvent } from "./call.js";
import { asRecorded, loadData, loadRows, type RowsOptions, withColumnsOf } from "./data.js";
import { engineUnder, type Model } from "./model.js";
import { besideSkill, formerSkillNames, openSkill, type SkillOptions } from "./predictor.js";

/** How rows are scored. */
export interface EvaluateInput extends SkillOptions, CallContext<NoticeEvent> {
  /** What `tune` gave, or the folder it was saved in. Default null: the frozen model without a prompt. */
  readonly adapter?: Adapter | string | null | undefined;
  /** Which rows of a Dataset. Default "validation". */
  readonly split?: "train" | "validation" | "test" | undefined;
  /** Rows of one pass. Default 32. */
  readonly batchSize?: number | undefined;
  /** At most so many rows, drawn once: the same for every call; 0 is all. Default 0. */
  readonly maxEvalRows?: number | undefined;
  /** @deprecated Without effect: the rows are drawn alike for every call, so that scores can be compared. */
  readonly seed?: number | undefined;
  /** Also compute the loss of the targets. With generation this needs a second pass. Default true. */
  readonly loss?: boolean | undefined;
  /** Put so many training rows of the Dataset with their answers before each text; a row has as many as fit. Default 0. */
  readonly shots?: number | undefined;
  /** Draws these examples. Default 0. */
  readonly shotSeed?: number | undefined;
  /** Put before each text, and before the examples. Default nothing. */
  readonly instruction?: string | undefined;
}

/** Rows that can be scored: a Dataset, rows of one, rows of the program with their template, or as the adapter recorded it. */
export type EvaluateRows = Dataset | RowsOptions | readonly Row[] | readonly MemoryRow[];

/**
 * Scores rows.
 * @param rows a Dataset (of which `split` is scored), its rows, or rows of the program: `[{ text, label }, …]` for an adapter that knows
 *   its task, else `{ rows, template, … }`.
 * @throws SoftpromptError "adapter" (another base model, no task known), "data", "numeric", "interrupted".
 */
export async function evaluate(model: Model, rows: EvaluateRows, input: EvaluateInput = {}): Promise<Evaluation> {
  if (typeof rows !== "object" || rows === null)
    throw new SoftpromptError("usage", "there is nothing to score", {
      where: "evaluate()",
      expected: "what loadData gave, rows of it, or { rows, template, … }",
      got: rows,
    });
  const given = currentNames(input, formerSkillNames, "evaluate()");
  checkCall(evaluateOptions, given, ["adapter", ...besideSkill], "evaluate()");
  const {
    adapter = null,
    split,
    onEvent,
    signal,
    task,
    shots = 0,
    shotSeed = 0,
    instruction = null,
    ...options
  } = given;
  // a dataset defines how its texts are written, as in `softprompt eval`
  const known = isList(rows) ? null : "rows" in rows ? await loadData({ ...rows, ...all, onEvent }) : rows;
  const wanted = { ...options, task: task ?? known?.task };
  const skill = await openSkill(model, adapter, wanted, null, { onEvent, signal });
  const scored = known === null ? await rowsOf(rows as List, skill.task) : rowsIn(known, rows, split);
  if (scored.length === 0)
    throw new SoftpromptError("data", "there are no rows to score", {
      where: skill.task.name,
      expected: "at least one row with a known answer",
      got: split === undefined ? undefined : `split ${split}`,
    });
  if (shots > 0 && (known === null || "rows" in rows))
    throw new SoftpromptError(
      "usage",
      "examples are drawn from training rows, and there are none beside the scored ones",
      {
        where: "shots",
        expected: "a Dataset with a training split",
      },
    );
  const examples = drawExamples(known?.train ?? [], shots, shotSeed);
  const chosen = scoredRows(scored, options);
  const asked = inContext(skill.task, chosen, { instruction, examples }, skill.tokenizer, skill.maxInputTokens);
  const prepared = prepareEvaluation(skill.tokenizer, skill.task, asked.rows, {
    ...options,
    evaluateBy: skill.evaluateBy,
    ranking: skill.ranking,
    maxInputTokens: skill.maxInputTokens,
    minProbability: skill.minProbability ?? undefined,
  });
  const fewer = inContextNotice(asked, examples.length);
  if (fewer !== null) onEvent?.({ kind: "notice", message: fewer });
  for (const message of preparedNotices(prepared, skill.tokenizer)) onEvent?.({ kind: "notice", message });
  const full = fullModel(model.checkpoint.config);
  const engine = await engineUnder(model, skill.method);
  const found = await evaluatePrepared(engine, full, skill.tokenizer, prepared, skill.parameters, signal);
  if (found === null) throw interrupted(signal, "stopped before every row was scored", { where: skill.task.name });
  const constant = constantAnswer(found.predictions);
  if (constant !== null) onEvent?.({ kind: "notice", message: constant });
  return found;
}

/** Rows that are to be scored have no holdout. */
const all = { validationShare: 0 } as const;

type List = readonly Row[] | readonly MemoryRow[];

function isList(rows: EvaluateRows): rows is List {
  return Array.isArray(rows);
}

/** The rows to score: one split of a Dataset, or all rows that a program gave. */
function rowsIn(data: Dataset, given: EvaluateRows, split: EvaluateInput["split"]): readonly Row[] {
  return data[split ?? ("rows" in given ? "train" : "validation")];
}

/** Rows of a Dataset unchanged; rows of the program in the form of the task. */
async function rowsOf(rows: List, task: Task): Promise<readonly Row[]> {
  if (rows.every(isRow)) return rows as readonly Row[];
  const has = (column: string) => (rows as readonly MemoryRow[]).some((row) => Object.hasOwn(row, column));
  const { train: _, data: __, format: ___, ...spec } = asRecorded({ train: "rows" }, withColumnsOf(task, has));
  return (await loadRows(rows as readonly MemoryRow[], { ...spec, ...all })).train;
}

function isRow(row: Row | MemoryRow): boolean {
  return (
    ["id", "input", "target"].every((key) => typeof row[key as keyof typeof row] === "string") && "references" in row
  );
}
