/**
 * @file softprompt predict, declared: a tuned prompt answers one text, a file, or standard input. The work itself is ../actions/predict.ts.
 */
import { taskOptions } from "../../tasks/data.js";
import { command } from "../command.js";
import { inputOptions, predictAdapters, recordedModel } from "../tables/predict.js";

export const predict = command({
  summary: "answer one text, a file or stdin with a tuned prompt; JSON lines on stdout",
  description:
    'Reads the text given, or --file, or standard input line by line, and writes one line per input: {"id", "label", "text", "probabilities"}. With --output answers.csv (or --output-format csv or tsv) it writes a table instead: the columns of the inputs, then label, text and probability of the answer. Structured inputs keep their columns, under "input", and their own "id" where they have one. A line of standard input is read as JSON where it is a JSON object with the fields of the template, and as a plain text where it is not, also if it begins with a brace (--lines says otherwise; a template of several fields needs JSON). Answers come as the lines come. A blank line is reported by a line with an "error" and no label, so that answers stay beside their lines. Tasks that rank other words for each row (ReCoRD, COPA and WSC as openprompt has them) take the template\'s fields, the official record, or "choices". With several adapters there is a line for each, in their order, with its name under "adapter"; a text before its virtual tokens is read once for all of them. Without --adapter the frozen model answers without a prompt (needs --model and a task).',
  positionals: [{ name: "text", help: "one text to answer; without it, --file or standard input", required: false }],
  sections: {
    Model: recordedModel,
    Prompt: predictAdapters,
    Input: inputOptions,
    "Task (for adapters that record none)": taskOptions,
  },
  examples: [
    'softprompt predict "A moving, funny film." --adapter runs/sst2',
    "softprompt predict --file reviews.csv --adapter runs/sst2 --output answers.jsonl",
    "softprompt predict --file reviews.csv --adapter runs/sst2 --output answers.csv --min-probability 0.8",
    "softprompt predict --file tickets.jsonl --adapter spam=runs/spam --adapter tone=runs/tone",
    "cat lines.txt | softprompt predict --model t5-nano --adapter runs/sst2/adapter",
  ],
  run: async (options, [text], context) => (await import("../actions/predict.js")).predict(options, text, context),
});
