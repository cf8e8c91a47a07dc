/**
 * @file In-context learning with the frozen model: an instruction, and examples with their answers, before the text of each row.
 *
 * In: rows, what stands before them, a tokenizer and the longest input. Out: rows with longer texts; the graph is the frozen model's.
 * A row gets as many examples as fit before its own text. Examples and questions are never cut, because that would change the task.
 * Source: Brown et al. 2020, arXiv:2005.14165 (few-shot, and task descriptions).
 */
import { SoftpromptError } from "../base/errors.js";
import type { FieldSpan, Row, Task } from "../data/row.js";
import { sampleFewShot } from "../data/split.js";
import type { EncodedRow } from "../text/batch.js";
import { encodeRows } from "../text/rows.js";
import type { Tokenizer } from "../text/tokenizer.js";

/** What stands before each row's text. */
export interface InContext {
  /** The instruction to the model; null is none. */
  readonly instruction: string | null;
  /** Rows with their answers, the first one first. */
  readonly examples: readonly Row[];
}

/** The rows with their contexts, and how many of them had no room for all examples. */
export interface AskedInContext {
  readonly rows: readonly Row[];
  readonly shortened: number;
}

/** Between instruction, examples and the row's own text. T5's tokenizers read it as a blank. */
const gap = "\n\n";

/**
 * Examples of the training rows, labels in their shares, in the order in which they were drawn: the same for equal rows and seeds.
 * @throws SoftpromptError "usage" where there are fewer rows.
 */
export function drawExamples(train: readonly Row[], count: number, seed: number): readonly Row[] {
  return count === 0 ? [] : sampleFewShot(train, { count, seed });
}

/** @throws SoftpromptError "usage" where the instruction alone leaves no room for a text. */
export function inContext(
  task: Task,
  rows: readonly Row[],
  { instruction, examples }: InContext,
  tokenizer: Tokenizer,
  maxInputTokens: number,
): AskedInContext {
  if (instruction === null && examples.length === 0) return { rows, shortened: 0 };
  const costs = examples.map((example) => tokenizer.encode(solved(example).input + gap).length);
  let shortened = 0;
  const asked = rows.map((row) => {
    // if training rows are scored, no row gets itself as an example
    const others = [...examples.keys()].filter((n) => examples[n]!.id !== row.id);
    let count = others.length;
    for (;;) {
      const before = others.slice(0, count).map((n) => examples[n]!);
      const one = withContext(row, instruction, before);
      const lost = tokensLost(task, one, tokenizer, maxInputTokens, count > 0);
      if (lost === 0 || count === 0) {
        if (count < others.length) shortened++;
        return one;
      }
      // drop examples that cover the excess tokens; at least one, because token counts of parts do not add up
      for (let freed = 0; count > 0 && freed < lost; ) freed += costs[others[--count]!]!;
    }
  });
  return { rows: asked, shortened };
}

/** A notice about rows with fewer examples; null if all rows have all examples. */
export function inContextNotice({ rows, shortened }: AskedInContext, examples: number): string | null {
  if (shortened === 0) return null;
  return `${shortened} of ${rows.length} rows have room for fewer than ${examples} examples: they are asked with as many as fit`;
}

/** The row with what stands before it as a part of its text. */
function withContext(row: Row, instruction: string | null, examples: readonly Row[]): Row {
  const parts: Pick<Row, "input" | "fields">[] = [
    ...(instruction === null ? [] : [{ input: instruction, fields: [] }]),
    ...examples.map(solved),
  ];
  let before = "";
  const fields: FieldSpan[] = [];
  for (const part of parts) {
    fields.push(...moved(part.fields ?? [], before.length).map(({ cut: _, ...span }) => span));
    before += part.input + gap;
  }
  const own = row.fields === undefined ? [{ name: "input", from: 0, to: row.input.length }] : row.fields;
  return {
    ...row,
    input: before + row.input,
    fields: [...fields, ...moved(own, before.length)],
    sharedTo: before.length,
    ...(row.promptAt === undefined ? {} : { promptAt: before.length + row.promptAt }),
    ...(row.promptBefore && {
      promptBefore: row.promptBefore.map((part) => ({ ...part, at: before.length + part.at })),
    }),
  };
}

/** An example: its text and its answer. Spans of user text stay marked, because otherwise user text could become a control token. */
function solved({ input, fields = [], target }: Row): Required<Pick<Row, "input" | "fields">> {
  const text = /\s$/.test(input) || input === "" ? input : `${input} `;
  return {
    input: text + target,
    fields: [...fields, { name: "answer", from: text.length, to: text.length + target.length }],
  };
}

const moved = (fields: readonly FieldSpan[], by: number): FieldSpan[] =>
  fields.map((span) => ({ ...span, from: span.from + by, to: span.to + by }));

/** How many tokens the row is too long. @param canShrink if true, a text that cannot be cut to fit is too long by an unknown number */
function tokensLost(task: Task, row: Row, tokenizer: Tokenizer, maxInputTokens: number, canShrink: boolean): number {
  let encoded: EncodedRow;
  try {
    [encoded] = encodeRows(task, [row], tokenizer, maxInputTokens) as [EncodedRow];
  } catch (error) {
    if (!canShrink || !(error instanceof SoftpromptError) || error.kind !== "usage") throw error;
    return 1;
  }
  return encoded.cut?.tokens ?? 0;
}
