/**
 * @file softprompt predict: a tuned prompt answers one text, a file, or standard input; stdout is one JSON object per line.
 */
import { stdin } from "node:process";
import { createInterface } from "node:readline";
import { loadAdapter } from "../../adapter/adapter.js";
import { interrupted, SoftpromptError } from "../../base/errors.js";
import { isObject, parseJson } from "../../base/json.js";
import { boolean, choice, integer, pickOptions, string } from "../../base/options.js";
import { readTable } from "../../data/table.js";
import { loadTask, taskOptions } from "../../tasks/data.js";
import { openModel, openOptions } from "../../tasks/model.js";
import { modelOptions } from "../../tasks/options.js";
import { predict as answer, type PredictInput } from "../../tasks/predict.js";
import { command } from "../command.js";
import { sayNotices } from "../data.js";
import { modelContext } from "../progress.js";
import type { Terminal } from "../terminal.js";

/** Rows answered together while they stream in. */
const batchSize = 32;

export const predict = command({
  summary: "answer one text, a file or stdin with a tuned prompt; JSON lines on stdout",
  description:
    'Reads the text given, or --file (jsonl, json, csv, tsv, parquet), or standard input: one JSON object per line with the fields of the template, or plain lines where the template has one field. Writes one line per input: {"id", "label", "text", "probabilities"}. Without --adapter the frozen model answers without a prompt (needs --template and --verbalizer).',
  positionals: [{ name: "text", help: "one text to answer; without it, --file or standard input", required: false }],
  sections: {
    Model: modelOptions,
    Prompt: {
      adapter: string({ placeholder: "folder", help: "Adapter to use, e.g. RUN/adapter" }),
      anyBase: boolean({ default: false, help: "Use the adapter though the base model is not the recorded one" }),
    },
    Input: {
      file: string({ placeholder: "file", help: "Rows to answer: jsonl, json, csv, tsv or parquet" }),
      maxInputTokens: integer({
        min: 1,
        unit: "tokens",
        help: "Longest input; a longer one loses the end of its longest field",
        source: "default what the adapter was tuned with, else 492",
      }),
      by: choice({
        values: ["ranking", "generation"],
        default: "ranking",
        help: "Score each label's words, or let the model write; free-text tasks always generate",
      }),
    },
    "Task (for adapters that record none)": taskOptions,
  },
  examples: [
    'softprompt predict "A moving, funny film." --model t5-nano --adapter runs/sst2/adapter',
    "softprompt predict --file reviews.csv --model t5-nano --adapter runs/sst2/adapter > answers.jsonl",
    "cat lines.txt | softprompt predict --model t5-nano --adapter runs/sst2/adapter",
  ],
  async run(options, [text], { terminal, signal }) {
    if (text !== undefined && options.file !== undefined)
      throw new SoftpromptError("usage", "both a text and a file are given", {
        where: "softprompt predict",
        expected: "one of them",
      });
    const adapter = options.adapter === undefined ? null : loadAdapter(options.adapter);
    const task = loadTask(options) ?? adapter?.task ?? undefined;
    const model = await openModel(options.model, pickOptions(openOptions, options), modelContext(terminal, signal));
    const { by, maxInputTokens, anyBase } = options;
    const told = new Set<string>();
    // One of a kind: inputs come in batches, and each would tell its own numbers.
    const notice = (message: string) => {
      const kind = message.replace(/^\d+ of \d+ /, "").slice(0, 20);
      if (told.has(kind)) return;
      told.add(kind);
      sayNotices([message], terminal);
    };
    const reply = async (part: readonly Named[]) => {
      const names = part.map(({ id }) => id);
      const inputs = part.map(({ input }) => input);
      const found = await answer(model, adapter, inputs, {
        by,
        maxInputTokens,
        anyBase,
        task,
        names,
        signal,
        batchSize,
        notice,
      });
      for (const [i, { id }] of part.entries()) terminal.result(JSON.stringify({ id, ...found[i] }));
    };
    try {
      let waiting: Named[] = [];
      for await (const input of inputsOf(text, options.file, terminal, signal)) {
        waiting.push(input);
        if (waiting.length < batchSize) continue;
        await reply(waiting);
        waiting = [];
      }
      if (waiting.length > 0) await reply(waiting);
    } finally {
      await model.dispose();
    }
    return null;
  },
});

interface Named {
  readonly id: string;
  readonly input: PredictInput;
}

/** The inputs one by one; standard input is read as it comes. */
async function* inputsOf(
  text: string | undefined,
  file: string | undefined,
  terminal: Terminal,
  signal: AbortSignal,
): AsyncGenerator<Named> {
  if (text !== undefined) yield { id: "text", input: asInput(text, "text") };
  else if (file !== undefined) {
    const { rows, notices } = await readTable(file, { signal });
    sayNotices(notices, terminal);
    for (const { line, fields } of rows) yield { id: `${file}:${line}`, input: fields };
  } else {
    let line = 0;
    for await (const row of createInterface({ input: stdin, crlfDelay: Number.POSITIVE_INFINITY, signal })) {
      line++;
      if (row.trim() !== "") yield { id: `stdin:${line}`, input: asInput(row, `stdin:${line}`) };
    }
    // an aborted reader ends like one at the end
    if (signal.aborted) throw interrupted(signal, "stopped before the end of the input", { where: "standard input" });
  }
}

/** A line that begins as a JSON object is one; anything else is plain text. */
function asInput(text: string, where: string): PredictInput {
  if (!text.trimStart().startsWith("{")) return text;
  const value = parseJson(text, where, "data", { length: 2_000_000 });
  return isObject(value) ? value : text;
}
