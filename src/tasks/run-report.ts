/**
 * @file Makes the report of a run folder: report.html and the TensorBoard event file. In: the folder. Out: the page and the file.
 *
 * Both are made from metrics.jsonl, result.json and predictions.jsonl alone, so `softprompt report RUN` can make them again.
 * A search's page is made from its result.json and predictions.jsonl. A search consists of many runs, each with its own metrics.jsonl and
 * event file.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { readWhole, writeFileAtomic } from "../base/files.js";
import { parseJson } from "../base/json.js";
import { readPruneResult } from "../prune/record.js";
import { courseOf } from "../report/curves.js";
import { type RunReport, reportPage } from "../report/html.js";
import { outcomeWarnings } from "../report/outcome.js";
import { prunePage } from "../report/prune.js";
import { fileNames, holds } from "../run/layout.js";
import { readResult, type Scores } from "../run/result.js";
import { hasEventFile, renewEventFile, renewSearchEvents } from "./event-file.js";
import { type Recorded, readMetrics, readPredictions } from "./recorded.js";
import { resumeHint } from "./shell.js";

/** Writes report.html (and the event file). @returns the page's path. @throws SoftpromptError "run" for a folder without a result. */
export async function writeReport(folder: string, { tensorboard = true } = {}): Promise<string> {
  const file = join(folder, fileNames.report);
  refuseStudy(folder);
  const search = existsSync(join(folder, fileNames.result)) ? readPruneResult(folder) : null;
  if (search !== null) {
    const page = prunePage(search, readPredictions(folder));
    if (tensorboard) renewSearchEvents(folder);
    writeFileAtomic(file, page);
    return file;
  }
  const page = reportPage(readRunReport(folder));
  if (tensorboard || hasEventFile(folder)) renewEventFile(folder);
  writeFileAtomic(file, page);
  return file;
}

/** A study writes its page itself, together with its result.json. @throws SoftpromptError "run". */
function refuseStudy(folder: string): void {
  const path = join(folder, fileNames.result);
  const text = readWhole(path, "run")?.toString("utf8");
  const found: unknown = text === undefined ? null : parseJson(text, path, "run");
  if (typeof found !== "object" || found === null || !("study" in found)) return;
  const page = join(folder, fileNames.report);
  throw new SoftpromptError("run", "this is a study, which writes its own report", {
    where: folder,
    expected: "the --output folder of a finished train or prune",
    got: `a study's result.json`,
    hint: existsSync(page)
      ? `its report is ${page}`
      : "the same study command again writes report.html; finished runs are kept",
  });
}

/** What report.html shows. */
export function readRunReport(folder: string, events: readonly Recorded[] = readMetrics(folder)): RunReport {
  if (!existsSync(folder))
    throw new SoftpromptError("run", "there is no such run folder", {
      where: folder,
      expected: "the --output folder of a finished train or prune",
      got: "no such folder",
    });
  if (!existsSync(join(folder, fileNames.result)))
    throw new SoftpromptError("run", "the run has no result yet", {
      where: folder,
      expected: "result.json, written at the end of a run",
      hint: resumeHint(holds(folder, "search") ? "prune" : "train", folder),
    });
  const result = readResult(folder);
  const predictions = readPredictions(folder);
  const evaluations = events.flatMap((e) =>
    e.kind === "eval" ? [{ partial: e.partial, scores: e.scores as Scores }] : [],
  );
  const { scores, baseline, run } = result;
  return {
    title: `${run.task}: ${run.method}`,
    result,
    ...courseOf(events),
    predictions,
    warnings: [
      ...outcomeWarnings({ scores, majority: baseline.majority, predictions, reason: run.reason, evaluations }),
      ...events.flatMap((e) => (e.kind === "skip" ? [`step ${e.step} was skipped: ${e.problem}`] : [])),
    ],
  };
}
