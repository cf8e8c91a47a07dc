/**
 * @file softprompt report: makes a run's report.html and TensorBoard file again from what the run folder holds.
 */
import { boolean } from "../../base/options.js";
import { readPruneResult } from "../../prune/record.js";
import { pruneText } from "../../report/prune.js";
import { readResult } from "../../run/result.js";
import { writeReport } from "../../tasks/run-report.js";
import { command } from "../command.js";
import { resultText } from "../summary.js";

export const report = command({
  summary: "render a run's report again",
  description:
    "Reads metrics.jsonl, result.json and predictions.jsonl of a finished run and writes report.html (one self-contained page) and the TensorBoard event file; of a pruning one event file for the tuning, the control and each candidate.",
  positionals: [{ name: "run", help: "run folder", required: true }],
  sections: {
    Report: { tensorboard: boolean({ default: true, help: "Write the TensorBoard event file too" }) },
  },
  examples: ["softprompt report runs/sst2-prompt-tuning-seed0"],
  async run({ tensorboard }, [folder]) {
    const page = await writeReport(folder!, { tensorboard });
    const search = readPruneResult(folder!);
    const result = search ?? readResult(folder!);
    return {
      json: { report: page, result },
      text: `${search === null ? resultText(result) : pruneText(search)}\n\nreport  ${page}`,
    };
  },
});
