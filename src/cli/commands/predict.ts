/**
 * @file softprompt predict, declared: a tuned prompt answers one text, a file, or standard input. The work itself is ../work/predict.ts.
 */
import { boolean, choice, integer, type OptionValues, string } from "../../base/options.js";
import { taskOptions } from "../../tasks/data.js";
import { modelOptions } from "../../tasks/options.js";
import { command } from "../command.js";

/** A model that the adapter may name itself. */
export const recordedModel = {
  ...modelOptions,
  model: string({
    placeholder: "folder or hub id",
    help: "Frozen base model",
    source: "default the one that the adapter was tuned on",
  }),
};

/** The adapter of predict and eval. */
export const adapterOptions = {
  adapter: string({ placeholder: "folder", help: "Adapter to use: its folder, or the run that made it" }),
  anyBase: boolean({ default: false, help: "Use the adapter though the base model is not the recorded one" }),
};

/** How long inputs may be and how they are answered. */
export const maxInputTokens = integer({
  min: 1,
  unit: "tokens",
  help: "Longest input; a longer one loses the end of its longest field",
  source: "default what the adapter was tuned with, else 492",
});

const inputOptions = {
  file: string({ placeholder: "file", help: "Rows to answer: jsonl, json, csv, tsv or parquet" }),
  lines: choice({
    values: ["auto", "text", "jsonl"],
    default: "auto",
    help: "What TEXT and the lines of standard input are: texts, JSON objects, or (auto) a JSON object where the line is one and a text where it is not",
  }),
  maxInputTokens,
  by: choice({
    values: ["ranking", "generation"],
    default: "ranking",
    help: "Score each label's words, or let the model write; free-text tasks always generate",
  }),
  skipBadRows: boolean({
    default: false,
    help: "Answer an input that cannot be used with its error and go on, instead of stopping there",
  }),
  output: string({ placeholder: "file", help: "Write the answers there instead of to standard output" }),
};

export const predict = command({
  summary: "answer one text, a file or stdin with a tuned prompt; JSON lines on stdout",
  description:
    'Reads the text given, or --file, or standard input line by line, and writes one line per input: {"id", "label", "text", "probabilities"}. Structured inputs keep their columns, under "input", and their own "id" where they have one. A line of standard input is read as JSON where it is a JSON object with the fields of the template, and as a plain text where it is not, also if it begins with a brace (--lines says otherwise; a template of several fields needs JSON). Answers come as the lines come. A blank line is reported by a line with an "error" and no label, so that answers stay beside their lines. Tasks that rank other words for each row (ReCoRD, COPA and WSC as openprompt has them) take the template\'s fields, the official record, or "choices". Without --adapter the frozen model answers without a prompt (needs --model and a task).',
  positionals: [{ name: "text", help: "one text to answer; without it, --file or standard input", required: false }],
  sections: {
    Model: recordedModel,
    Prompt: adapterOptions,
    Input: inputOptions,
    "Task (for adapters that record none)": taskOptions,
  },
  examples: [
    'softprompt predict "A moving, funny film." --adapter runs/sst2',
    "softprompt predict --file reviews.csv --adapter runs/sst2 --output answers.jsonl",
    "cat lines.txt | softprompt predict --model t5-nano --adapter runs/sst2/adapter",
  ],
  run: async (options, [text], context) => (await import("../work/predict.js")).predict(options, text, context),
});

export type PredictValues = OptionValues<typeof recordedModel> &
  OptionValues<typeof adapterOptions> &
  OptionValues<typeof inputOptions> &
  OptionValues<typeof taskOptions>;
