/**
 * @file softprompt show: real examples of a task as the model will read them, before anything is trained.
 */
import { interrupted } from "../../base/errors.js";
import { pickOptions } from "../../base/options.js";
import { printable, printableLine } from "../../base/printable.js";
import { countLabels } from "../../data/notices.js";
import type { Dataset, Row } from "../../data/row.js";
import { plainTable } from "../../report/markdown.js";
import { dataOptions } from "../../tasks/data.js";
import { type Model, openModel, openOptions } from "../../tasks/model.js";
import { type EncodedRow, textIds } from "../../text/batch.js";
import { encodeRows, rowNotices } from "../../text/rows.js";
import { command } from "../command.js";
import { loadSaid, sayNotices, sayTokenNotices, short, shortList } from "../data.js";
import { modelContext } from "../progress.js";
import { showOptions, wordOptions } from "../tables/show.js";
import type { Terminal } from "../terminal.js";
import { refuseUnread } from "../unread.js";

export const show = command({
  summary: "print real examples of a task as the model will read them",
  description:
    "Loads a task or your own files and prints how many rows each split has, how the labels are spread, and a few rows: the filled template, the target words, and with --model the token counts and how many rows would be cut. With ADAPTER and --nearest it reads a soft prompt as words: the vocabulary words nearest to each virtual token with their cosine and, with data, how the score on the validation rows falls when the nearest word's own vector stands in the place of each.",
  positionals: [
    { name: "adapter", help: "a prompt to read as words (with --nearest), in place of a task", required: false },
  ],
  sections: {
    Data: dataOptions,
    Show: showOptions,
    Adapter: wordOptions,
  },
  examples: [
    "softprompt show --task boolq --data datasets/BoolQ",
    "softprompt show --train train.csv --template 'review: {text}' --label-column stars --verbalizer 0=bad --verbalizer 1=good",
    "softprompt show runs/sst2 --nearest --data datasets/SST-2",
  ],
  async run(options, [adapter], context) {
    if (adapter !== undefined) return (await import("../actions/show-words.js")).showWords(options, adapter, context);
    const { terminal, signal } = context;
    refuseUnread("a task", "softprompt show", Object.keys(wordOptions), context.given);
    const data = await loadSaid(options, { terminal, signal });
    const { task } = data;
    const model =
      options.model === undefined
        ? null
        : await openModel(options.model, { ...pickOptions(openOptions, options), ...modelContext(terminal, signal) });
    const splits: Split[] = [];
    let notices = data.notices ?? [];
    try {
      if (model !== null) notices = sayTokenNotices(data, model.tokenizer, terminal);
      for (const name of ["train", "validation", "test"] as const) {
        const rows = data[name];
        const counted = model === null ? null : await tokensOf(data, rows, model, options, signal);
        const found = counted?.notices ?? [];
        sayNotices(found, terminal, name);
        notices = [...notices, ...found.map((notice) => `${name}: ${notice}`)];
        splits.push({
          split: name,
          rows: rows.length,
          labels: countLabels(rows),
          tokens: counted?.tokens ?? null,
          examples: rows.slice(0, options.examples).map((row) => {
            const { id, input, target, label } = row;
            return { id, input, target, label, ...(model !== null && asRead(row, counted?.encoded, model)) };
          }),
        });
      }
    } finally {
      await model?.dispose();
    }
    return {
      json: {
        task,
        splits: splits.map((split) => ({ ...split, labels: Object.fromEntries(split.labels) })),
        skipped: data.skipped,
        files: data.files,
        notices,
      },
      text: showText(data, splits, model !== null, terminal),
    };
  },
});

interface Split {
  readonly split: "train" | "validation" | "test";
  readonly rows: number;
  readonly labels: ReadonlyMap<string, number>;
  readonly tokens: { readonly median: number; readonly longest: number; readonly cut: number } | null;
  readonly examples: readonly (Pick<Row, "id" | "input" | "target" | "label"> & Partial<Read>)[];
}

/** What is left of a row's text that is too long for the model. */
interface Read {
  readonly read: string;
  readonly tokensCut: number;
}

/** What the model reads of a row that is cut; nothing where it reads all of it, or where the row has no label and was not encoded. */
function asRead(row: Row, encoded: ReadonlyMap<Row, EncodedRow> | undefined, { tokenizer }: Model): Read | null {
  const found = encoded?.get(row);
  if (found === undefined || !found.truncated) return null;
  return { read: tokenizer.decode([...textIds(found)]), tokensCut: found.cut?.tokens ?? 0 };
}

/** Rows that are encoded between two checks for a stop. */
const rowsPerTurn = 500;

async function tokensOf(
  { task }: Dataset,
  rows: readonly Row[],
  { tokenizer }: Model,
  { maxInputTokens, examples }: { readonly maxInputTokens: number; readonly examples: number },
  signal: AbortSignal,
): Promise<{ tokens: Split["tokens"]; notices: readonly string[]; encoded: ReadonlyMap<Row, EncodedRow> }> {
  const labelled = rows.filter((row) => task.verbalizer === null || row.label !== null);
  const encoded: EncodedRow[] = [];
  for (let from = 0; from < labelled.length; from += rowsPerTurn) {
    for (const row of encodeRows(task, labelled.slice(from, from + rowsPerTurn), tokenizer, maxInputTokens))
      encoded.push(row);
    await new Promise<void>((resolve) => setImmediate(resolve));
    if (signal.aborted) throw interrupted(signal, "stopped before every row was counted", { where: "softprompt show" });
  }
  if (encoded.length === 0) return { tokens: null, notices: [], encoded: new Map() };
  const lengths = encoded.map(({ input }) => input.length).sort((a, b) => a - b);
  const cut = encoded.filter(({ truncated }) => truncated).length;
  return {
    tokens: { median: lengths[lengths.length >> 1]!, longest: lengths.at(-1)!, cut },
    notices: rowNotices(labelled, encoded, tokenizer, maxInputTokens),
    // of the rows that are shown
    encoded: new Map(labelled.slice(0, examples).map((row, i) => [row, encoded[i]!])),
  };
}

/** Longest label that is shown whole in the table. */
const labelWidth = 40;

function showText(data: Dataset, splits: readonly Split[], counted: boolean, terminal: Terminal): string {
  const { task } = data;
  const { resultColors: c } = terminal;
  const width = Math.max(40, terminal.columns);
  const words = task.verbalizer;
  // if every row has its own answers, label counts say nothing about the split
  const labels = (split: Split) =>
    words === null
      ? ""
      : shortList(
          [...split.labels].map(([l, n]) => `${short(l, labelWidth)} ${n}`),
          width - (counted ? 50 : 22),
        );
  return [
    `${c.bold(short(task.name, width))}  ${task.metrics.join(", ")}`,
    `template    ${printableLine(task.template)}`,
    `verbalizer  ${
      words !== null
        ? shortList(
            Object.entries(words).map(([l, w]) => `${short(l, labelWidth)} → “${short(w, labelWidth)}”`),
            width - 12,
          )
        : hasChoices(data)
          ? "none: every row has its own answers to choose from; they are ranked"
          : "none: free text"
    }`,
    "",
    plainTable([
      ["split", "rows", ...(words === null ? [] : ["labels"]), ...(counted ? ["tokens (median, longest, cut)"] : [])],
      ...splits.map((s) => [
        s.split,
        String(s.rows),
        ...(words === null ? [] : [labels(s)]),
        ...(s.tokens === null ? [] : [`${s.tokens.median}, ${s.tokens.longest}, ${s.tokens.cut}`]),
      ]),
    ]),
    ...splits.flatMap((s) =>
      s.examples.map(({ id, input, target, read, tokensCut }) => {
        const said = read === undefined ? "" : `  (the model reads this, ${tokensCut} tokens are cut)`;
        return `\n${c.cyan(printableLine(id))}${said}\n  ${printable(read ?? input)}\n  → ${printable(target)}`;
      }),
    ),
  ].join("\n");
}

function hasChoices({ train, validation, test }: Dataset): boolean {
  return [train, validation, test].some((rows) => rows.some((row) => row.choices !== undefined));
}
