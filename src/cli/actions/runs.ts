/**
 * @file The work of softprompt runs: the runs under a folder as a table.
 */
import { relative } from "node:path";
import { printableLine } from "../../base/printable.js";
import { flopText, scaled, scoreText } from "../../report/format.js";
import { plainTable } from "../../report/markdown.js";
import { type ListedRun, listRuns, type RunOrder } from "../../study/run-list.js";
import type { Answer } from "../command.js";

export function runs({ sort }: { readonly sort: RunOrder }, folder = "runs"): Answer {
  const found = listRuns(folder, { sort });
  const heads = ["run", "task", "method", "model", "state", "steps", "score", "trained", "compute", "written (UTC)"];
  return {
    json: { folder, runs: found },
    text:
      found.length === 0
        ? `no runs under ${printableLine(folder)}`
        : plainTable([heads, ...found.map((run) => cells(run, folder))]),
  };
}

const none = "–";

function cells(run: ListedRun, folder: string): string[] {
  const { steps, plannedSteps, score, metric, trainedParameters, flops, written } = run;
  return [
    printableLine(relative(folder, run.path) || run.path),
    ...[run.task, run.method, run.model].map((text) => (text === null ? none : printableLine(text))),
    stateText(run),
    steps === null ? none : plannedSteps === null ? `${steps}` : `${steps}/${plannedSteps}`,
    score === null ? none : `${scoreText(score)} ${printableLine(metric ?? "")}`,
    scaled(trainedParameters),
    flopText(flops),
    written === null ? none : `${written.slice(0, 10)} ${written.slice(11, 16)}`,
  ];
}

/** "running (pid 41)", "failed (step 3: …)" */
function stateText({ state, pid, host, error }: ListedRun): string {
  const more = pid === null ? error : `pid ${pid} on ${host}`;
  return more === null ? state : `${state} (${printableLine(more)})`;
}
