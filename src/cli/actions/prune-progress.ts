/**
 * @file Progress of a search: its phases, one line for each retraining as it ends, and lines in between where one takes long.
 *
 * In: SearchEvent. Out: stderr through the Terminal. Several candidates may train at once, in processes of their own.
 */
import type { SearchEvent } from "../../prune/search-types.js";
import { scoreText, secondText } from "../../report/format.js";
import type { TuneEvent, WorkEvent } from "../../tasks/tune.js";
import { overall } from "../overall.js";
import { progress } from "../progress.js";
import type { Terminal } from "../terminal.js";

const phases = {
  tune: "tuning the whole prompt",
  score: "scoring tokens and pieces",
  control: "control: tuning on without pruning",
  search: "retraining pruned candidates",
  report: "scoring what was chosen",
} satisfies Record<Extract<SearchEvent, { kind: "phase" }>["phase"], string>;

/** Least seconds between two plain lines about retrainings in progress. */
const plainEvery = 10;

const clock = () => performance.now() / 1000;

/** @param total retrainings @param now seconds, monotonic. */
export function pruneProgress(
  terminal: Terminal,
  total: number,
  now = clock,
): (event: SearchEvent | WorkEvent) => void {
  const watch = progress(terminal, now);
  const all = overall(now);
  const seldom = throttled(terminal, now);
  const watches = new Map<string, (event: TuneEvent) => void>();
  /** Steps of each retraining, those that were made before a resume included. */
  const steps = new Map<string, number>();
  // steps of one whole retraining, and steps made since the last report of the time left
  let [whole, made] = [0, 0];

  const follow = (name: string, event: Extract<SearchEvent, { kind: "candidate" }>["event"]) => {
    if (!watches.has(name)) watches.set(name, progress(seldom.terminal(name), now));
    // Evaluations of every candidate would flood the screen; its outcome follows in one line.
    if (event.kind === "start") {
      whole = event.totalSteps;
      watches.get(name)!({ ...event, step: 0 }); // without its line about a resume
    } else if (event.kind === "step" || event.kind === "rows") watches.get(name)!(event);
    if (event.kind !== "step") return;
    steps.set(name, (steps.get(name) ?? 0) + 1);
    made++;
  };
  const ended = ({ candidate }: Extract<SearchEvent, { kind: "retrained" }>) => {
    const { name, counts, score, cost, finished, failed } = candidate;
    // what was read back, or made before a resume, has no events but needs no more time
    steps.set(name, candidate.steps);
    const done = [...steps.values()].reduce((sum, own) => sum + own, 0);
    const left = all.end(total * whole - done, made);
    made = 0;
    seldom.reset();
    watches.delete(name);
    terminal.note(
      `${name}: ${counts.tokens} tokens, ${counts.parameters} parameters, ${scoreText(score)}${failed === undefined ? (finished ? "" : " (stopped)") : ` (failed: ${failed})`} (${secondText(cost.seconds)})${left === "" ? "" : ` · ${left}`}`,
    );
  };
  return (event) => {
    if (event.kind === "phase") {
      if (event.phase === "control") all.begin();
      terminal.note(terminal.colors.bold(`${phases[event.phase]} …`));
    } else if (event.kind === "tune") watch(event.event);
    else if (event.kind === "candidate") follow(event.name, event.event);
    else if (event.kind === "retrained") ended(event);
    else if (event.kind !== "scores") watch(event);
  };
}

/** A terminal for each candidate: live it is the terminal itself; else its lines name the candidate, and few of all come through. */
function throttled(terminal: Terminal, now: () => number) {
  let shown = now();
  return {
    reset: () => {
      shown = now();
    },
    terminal: (name: string): Terminal =>
      terminal.live
        ? terminal
        : {
            ...terminal,
            note: (text) => {
              if (now() - shown < plainEvery) return;
              shown = now();
              terminal.note(`${name}: ${text}`);
            },
          },
  };
}
