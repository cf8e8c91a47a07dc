/**
 * @file One run as the studio's page shows it, from what lies on disk. In: a run of the list. Out: RunDetails; nothing is written.
 */
import { existsSync } from "node:fs";
import { join, posix } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { listFolder, readWhole } from "../base/files.js";
import type { JsonObject } from "../base/json.js";
import type { Task } from "../data/row.js";
import { compileTemplate } from "../data/template.js";
import { readPruneResult } from "../prune/record.js";
import { outcomeWarnings } from "../report/outcome.js";
import { whyInexact } from "../run/extend.js";
import { readHead } from "../run/folder.js";
import { fileNames, holds } from "../run/layout.js";
import { readResult } from "../run/result.js";
import { isOutgrown, keptEvents, type ListedRun, optionsIn } from "../study/run-list.js";
import { readAdapter } from "../tasks/adapter-place.js";
import { type Recorded, readPredictions } from "../tasks/recorded.js";
import { readRunReport } from "../tasks/run-report.js";
import type { EventLog } from "./event-log.js";
import { openMemo } from "./memo.js";
import type { AdapterTask, PredictionsPage, RunDetails } from "./protocol.js";

/** Longest config.yaml that is read, in bytes. */
const mostConfig = 2 ** 17;

/**
 * @param path of the run, a folder, or the file of a study's training, of which no more than its evaluations is known
 * @param after how many events the page has of this generation
 */
export function runDetails(
  run: ListedRun,
  path: string,
  { log, after, generation }: { log: (folder: string) => EventLog; after: number; generation: string | null },
): RunDetails {
  const search = run.kind === "search";
  if (run.kind === "study run" || run.kind === null) {
    const events = run.kind === null ? [] : keptIn(path);
    // a file that is there is whole, and is not written again
    const from = generation === wholeFile ? Math.min(after, events.length) : 0;
    return {
      ...nothing,
      run,
      report: reportOf(posix.dirname(posix.dirname(run.path)), join(path, "../..")),
      ...{ events: events.slice(from), after: from, generation: wholeFile },
    };
  }
  // a search's curves are those of its tuning
  const events = log(search ? join(path, fileNames.tune) : path);
  const from = generation === events.generation ? Math.min(after, events.events.length) : 0;
  const config = configIn(path);
  const result = resultIn(path);
  const outgrown = result !== null && !search && isOutgrown(result, run.plannedSteps);
  return {
    run,
    config,
    options: optionsIn(config),
    result,
    outgrown,
    extendable: isExtendable(run, path, events.events),
    // what is to be said of the older result says nothing of the run as it is
    warnings: warningsOf(path, outgrown ? null : result, events.events),
    ...adapterIn(path),
    report: reportOf(run.path, path),
    events: events.events.slice(from),
    after: from,
    generation: events.generation,
  };
}

const wholeFile = "file";

/** The evaluations of a study's training; none where they cannot be read, which the list tells. */
const keptIn = openMemo(
  (path) => [path],
  (path): readonly Recorded[] => {
    try {
      return keptEvents(path);
    } catch (error) {
      if (error instanceof SoftpromptError) return [];
      throw error;
    }
  },
);

/** The options of a run; none of a study's training, which is a file. */
export function runOptions({ kind }: ListedRun, path: string): JsonObject {
  return kind === "run" || kind === "search" ? optionsIn(configIn(path)) : {};
}

const configIn = (folder: string) =>
  readWhole(join(folder, fileNames.config), "run", mostConfig)?.toString("utf8") ?? null;

const reportOf = (shown: string, folder: string) => (existsSync(join(folder, fileNames.report)) ? shown : null);

const none = { task: null, virtualTokens: 0 };
const unread = {
  config: null,
  options: {},
  result: null,
  outgrown: false,
  extendable: false,
  warnings: [],
  events: [],
};
const nothing = { ...unread, ...none };

/** While a run is made longer its page asks again and again, and the result stays. */
const resultIn = openMemo(
  (folder) => [join(folder, fileNames.result)],
  (folder) => (existsSync(join(folder, fileNames.result)) ? (readPruneResult(folder) ?? readResult(folder)) : null),
);

/** Whether the run has ended and may go on to more steps. */
function isExtendable({ kind, state }: ListedRun, folder: string, events: readonly Recorded[]): boolean {
  if (kind !== "run" || state !== "done" || !holds(folder, "run")) return false;
  const identity = readHead(join(folder, fileNames.run));
  if (identity === null) return false;
  const ends = events.filter((event) => event.kind === "end");
  const finished = ends.at(-1)?.reason === "patience" ? "patience" : "steps";
  return whyInexact(identity, { finished, history: events.filter((event) => event.kind === "eval") }) === null;
}

function warningsOf(folder: string, result: RunDetails["result"], events: readonly Recorded[]): readonly string[] {
  if (result === null)
    return events.flatMap((e) => (e.kind === "skip" ? [`step ${e.step} was skipped: ${e.problem}`] : []));
  if (holds(folder, "run")) return readRunReport(folder, events).warnings;
  const { scores, baseline } = result;
  return outcomeWarnings({ scores, majority: baseline.majority, predictions: readPredictions(folder) });
}

interface ShownAdapter {
  readonly task: AdapterTask | null;
  readonly virtualTokens: number;
}

/** What is shown of the run's adapter, its task null where none is recorded; nothing where there is no adapter yet, or it cannot be read. */
function adapterIn(folder: string): ShownAdapter {
  try {
    return existsSync(join(folder, fileNames.adapter)) ? readShown(folder) : none;
  } catch (error) {
    if (error instanceof SoftpromptError) return none;
    throw error;
  }
}

/** An adapter is large, and a run that trains is asked for often. */
const readShown = openMemo(
  (folder) => listFolder(join(folder, fileNames.adapter)).map((name) => join(folder, fileNames.adapter, name)),
  (folder): ShownAdapter => {
    const { task, prompt } = readAdapter(folder);
    return { task: task && shownTask(task), virtualTokens: prompt.shape[0]! };
  },
);

const shownTask = ({ name, template, verbalizer }: Task): AdapterTask => ({
  ...{ name, template, fields: compileTemplate(template).fields, verbalizer },
});

/** Most predictions of one answer. */
const mostRows = 200;

/** The run's predictions on its validation rows. @param wrong only those that are not right */
export function predictionsPage(folder: string, { wrong, from }: { wrong: boolean; from: number }): PredictionsPage {
  const all = readPredictions(folder);
  const chosen = wrong ? all.filter(({ correct }) => !correct) : all;
  return { rows: chosen.slice(from, from + mostRows), total: chosen.length, all: all.length };
}
