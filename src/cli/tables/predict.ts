/**
 * @file The options of softprompt predict.
 */
import { boolean, choice, integer, list, number, type OptionValues, string } from "../../base/options.js";
import type { taskOptions } from "../../tasks/data.js";
import { modelOptions } from "../../tasks/options.js";

/** How answers can be written. */
export const answerFormats = ["jsonl", "csv", "tsv"] as const;
export type AnswerFormat = (typeof answerFormats)[number];

/** The model, which may be left out because the adapter can name it. */
export const recordedModel = {
  ...modelOptions,
  model: string({
    placeholder: "folder or hub id",
    help: "Frozen base model",
    source: "default the one that the adapter was tuned on",
  }),
};

const place = "its folder, the run that made it, a hub id (organisation/name, @revision), or a prompt alone as .npy";

/** The adapter of eval, generate and export. */
export const adapterOptions = {
  adapter: string({ placeholder: "folder or hub id", help: `Adapter to use: ${place}` }),
  anyBase: boolean({ default: false, help: "Use the adapter though the base model is not the recorded one" }),
};

/** The adapters of predict. */
export const predictAdapters = {
  adapter: list({
    whole: true,
    placeholder: "folder or hub id",
    help: `Adapter to use: ${place}. Given several times (--adapter spam=runs/spam --adapter tone=runs/tone), every adapter answers every input, under its name`,
  }),
  anyBase: adapterOptions.anyBase,
};

/** Limits of inputs and how they are answered. */
export const maxInputTokens = integer({
  min: 1,
  unit: "tokens",
  help: "Longest input; a longer one loses the end of its longest field",
  source: "default what the adapter was tuned with, else 492",
});

export const inputOptions = {
  file: string({ placeholder: "file", help: "Rows to answer: jsonl, json, csv, tsv or parquet" }),
  lines: choice({
    values: ["auto", "text", "jsonl"],
    default: "auto",
    help: "What TEXT and the lines of standard input are: texts, JSON objects, or (auto) a JSON object where the line is one and a text where it is not",
  }),
  maxInputTokens,
  evaluateBy: choice({
    formerly: "by",
    values: ["ranking", "generation"],
    help: "Score each label's words, or let the model write; free-text tasks always generate",
    source: "default what the adapter was tuned with, else ranking",
  }),
  skipBadRows: boolean({
    default: false,
    help: "Answer an input that cannot be used with its error and go on, instead of stopping there",
  }),
  minProbability: number({
    min: 0,
    max: 1,
    help: "Withhold an answer whose probability is less: its label is null, and the label that it would have been stands under withheld; for ranked labels alone, since written answers have no probability",
  }),
  output: string({ placeholder: "file", help: "Write the answers there instead of to standard output" }),
  outputFormat: choice({
    values: answerFormats,
    help: "JSON lines; or a table with the columns of the inputs and then answer_label, answer_text, answer_probability (answer_withheld with --min-probability, answer_error with --skip-bad-rows and for standard input). The columns of a named adapter begin with its name, and with several adapters a row has those of each. On standard output control characters are escapes, in a file they stand as they are",
    source: "default by the ending of --output, .csv or .tsv, else jsonl",
  }),
};

export type PredictValues = OptionValues<typeof recordedModel> &
  OptionValues<typeof predictAdapters> &
  OptionValues<typeof inputOptions> &
  OptionValues<typeof taskOptions>;
