/**
 * @file What a study leaves in its folder, and a sweep alike. In: its result, the options that it read. Out: config.yaml, result.json, result.md,
 * report.html; an earlier report that the new one does not hold is kept beside it.
 */
import { join } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { writeFileAtomic } from "../base/files.js";
import { flagName, type OptionTable } from "../base/options.js";
import { fileNames } from "../run/layout.js";
import { studyMarkdown, studyPage } from "../study/pages.js";
import type { StudyResult } from "../study/study.js";
import { configText } from "./config.js";
import { keepEarlierReport } from "./earlier-report.js";
import type { Terminal } from "./terminal.js";

/** A report that is to be written. */
export interface StudyReport<R extends StudyResult> {
  readonly folder: string;
  /** Options that the study reads. */
  readonly table: OptionTable;
  /** Their values, defaults filled in. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Those of config.yaml. Default all. */
  readonly recorded?: Readonly<Record<string, unknown>>;
  readonly result: R;
}

/** @returns what the command answers of it: report.html, and where an earlier report is kept, or null. @throws SoftpromptError "io", "run" */
export async function writeStudyReport<R extends StudyResult>(
  { folder, table, options, recorded = options, result }: StudyReport<R>,
  terminal: Terminal,
): Promise<{ readonly report: string; readonly earlier: string | null; readonly lines: readonly string[] }> {
  const report = join(folder, fileNames.report);
  const earlier = await keepEarlierReport(folder, table, options, result);
  if (earlier !== null) terminal.warn(`the report that was here ${earlier.differs}: it is kept in ${earlier.folder}`);
  writeFileAtomic(join(folder, fileNames.config), configText(table, { ...recorded, output: folder }));
  writeFileAtomic(join(folder, fileNames.result), `${JSON.stringify(result, null, 2)}\n`);
  writeFileAtomic(join(folder, fileNames.summary), `${studyMarkdown(result)}\n`);
  writeFileAtomic(report, studyPage(result));
  const lines = [
    `report  ${report}`,
    ...(earlier === null ? [] : [`earlier report  ${join(earlier.folder, fileNames.report)}`]),
  ];
  return { report, earlier: earlier?.folder ?? null, lines };
}

/** @param whose "the runs of a study" @throws SoftpromptError "usage" for a precision that each session would choose anew */
export function refuseAuto(precision: string, whose: string): void {
  if (precision === "auto")
    throw new SoftpromptError("usage", `${whose} must be computed alike, also when it is gone on with`, {
      where: flagName("precision"),
      expected: "float32 or int8",
      got: "auto",
      hint: "softprompt doctor --model NAME says what auto would take here",
    });
}
