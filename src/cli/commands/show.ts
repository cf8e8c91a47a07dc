/**
 * @file softprompt show: real examples of a task as the model will read them, before anything is trained.
 */
import { integer, pickOptions, string } from "../../base/options.js";
import { plainTable } from "../../report/markdown.js";
import { dataOptions, loadData } from "../../tasks/data.js";
import { openModel, openOptions } from "../../tasks/model.js";
import { modelOptions } from "../../tasks/options.js";
import { encodeRows } from "../../text/rows.js";
import { command } from "../command.js";
import { modelContext } from "../progress.js";

const { model: _, ...engine } = modelOptions;

export const show = command({
  summary: "print real examples of a task as the model will read them",
  description:
    "Loads a task or your own files and prints how many rows each split has, how the labels are spread, and a few rows: the filled template, the target words, and with --model the token counts and how many rows would be cut.",
  positionals: [],
  sections: {
    Data: dataOptions,
    Show: {
      examples: integer({ default: 3, min: 0, unit: "rows", help: "Rows of each split to print" }),
      maxInputTokens: integer({
        default: 492,
        min: 1,
        unit: "tokens",
        help: "Longest input, to count rows that would be cut",
      }),
      model: string({ placeholder: "folder or hub id", help: "Count tokens with this model's tokenizer" }),
      revision: engine.revision,
      offline: engine.offline,
    },
  },
  examples: [
    "softprompt show --task boolq --data datasets/BoolQ",
    "softprompt show --train train.csv --template 'review: {text}' --label-column stars --verbalizer 0=bad --verbalizer 1=good",
  ],
  async run(options, _, { terminal, signal }) {
    const data = await loadData(options);
    const { task } = data;
    const model =
      options.model === undefined
        ? null
        : await openModel(options.model, pickOptions(openOptions, options), modelContext(terminal, signal));
    const splits = (["train", "validation", "test"] as const).map((split) => {
      const rows = data[split];
      const labels: Record<string, number> = {};
      for (const { label } of rows) if (label !== null) labels[label] = (labels[label] ?? 0) + 1;
      const labelled = rows.filter((row) => task.verbalizer === null || row.label !== null);
      const encoded = model === null ? null : encodeRows(task, labelled, model.tokenizer, options.maxInputTokens);
      const lengths = encoded?.map((row) => row.input.length).sort((a, b) => a - b) ?? [];
      return {
        split,
        rows: rows.length,
        labels,
        tokens:
          encoded === null || lengths.length === 0
            ? null
            : {
                median: lengths[lengths.length >> 1]!,
                longest: lengths.at(-1)!,
                cut: encoded.filter((row) => row.truncated).length,
              },
        examples: rows.slice(0, options.examples).map(({ id, input, target, label }) => ({ id, input, target, label })),
      };
    });
    await model?.dispose();
    const { resultColors: c } = terminal;
    const text = [
      `${c.bold(task.name)}  ${task.metrics.join(", ")}`,
      `template    ${task.template}`,
      `verbalizer  ${
        task.verbalizer === null
          ? "none: free text"
          : Object.entries(task.verbalizer)
              .map(([l, w]) => `${l} → “${w}”`)
              .join(", ")
      }`,
      "",
      plainTable([
        ["split", "rows", "labels", ...(model === null ? [] : ["tokens (median, longest, cut)"])],
        ...splits.map((s) => [
          s.split,
          String(s.rows),
          Object.entries(s.labels)
            .map(([l, n]) => `${l} ${n}`)
            .join(", "),
          ...(s.tokens === null ? [] : [`${s.tokens.median}, ${s.tokens.longest}, ${s.tokens.cut}`]),
        ]),
      ]),
      ...splits.flatMap((s) => s.examples.map((e) => `\n${c.cyan(e.id)}\n  ${e.input}\n  → ${e.target}`)),
    ].join("\n");
    return { json: { task, splits, skipped: data.skipped, files: data.files }, text };
  },
});
