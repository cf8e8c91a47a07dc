/**
 * @file The work of softprompt report: renders a run's pages again.
 */
import { readPruneResult } from "../../prune/record.js";
import { pruneText } from "../../report/prune.js";
import { readResult } from "../../run/result.js";
import { writeReport } from "../../tasks/run-report.js";
import type { Answer } from "../command.js";
import { resultText } from "../summary.js";

export async function report({ tensorboard }: { readonly tensorboard: boolean }, folder: string): Promise<Answer> {
  const page = await writeReport(folder, { tensorboard });
  const search = readPruneResult(folder);
  const result = search ?? readResult(folder);
  return {
    json: { report: page, result },
    text: `${search === null ? resultText(result) : pruneText(search)}\n\nreport  ${page}`,
  };
}
