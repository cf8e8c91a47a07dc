/**
 * @file Live progress of a training: one line that redraws itself on a terminal, plain lines elsewhere.
 *
 * In: TuneEvent. Out: stderr through the Terminal: loss curve as a sparkline, score, tokens per second, time left.
 */
import { byteText, partialText, plainNumber, scaled, scoreText, secondText } from "../report/format.js";
import { sparkline } from "../report/markdown.js";
import type { ModelContext } from "../tasks/model.js";
import type { TuneEvent } from "../tasks/tune.js";
import type { Terminal } from "./terminal.js";

/** Least seconds between plain lines; evaluations and stages are always shown. */
const plainEvery = 10;
/** Least seconds between two redraws of the terminal line. */
const redrawEvery = 0.1;
/** Steps that tokens per second and the time left are averaged over. */
const recent = 30;

/** @param now seconds, monotonic. @returns the observer. */
export function progress(terminal: Terminal, now = () => performance.now() / 1000): (event: TuneEvent) => void {
  const { colors: c } = terminal;
  const losses: number[] = [];
  const pace: { seconds: number; tokens: number }[] = [];
  let total = 0;
  let shown = Number.NEGATIVE_INFINITY;
  let lastScore = "";
  /** Evaluation seconds per step, from the last evaluation. */
  let evalPace = 0;
  let evaluatedAt = 0;
  let step = 0;
  /** When the pass over rows in progress began. */
  let rowsSince = 0;
  /** Its first rows, and when they were done: they also opened the session, so they say nothing about the others' time. */
  let first: { done: number; time: number } | null = null;
  /** Its latest rows, and when they were done. */
  let latest = { done: 0, time: 0 };
  /** Whether the last event was of this pass. */
  let inRows = false;

  const status = (): string => {
    const seconds = pace.reduce((a, p) => a + p.seconds, 0);
    const tokens = pace.reduce((a, p) => a + p.tokens, 0);
    const left = (total - step) * (seconds / pace.length + evalPace);
    const mean = losses.slice(-recent).reduce((a, b) => a + b, 0) / Math.min(recent, losses.length);
    return [
      `step ${step}/${total}`,
      `loss ${plainNumber(mean, 3)}`,
      `${secondText(left)} left`,
      ...(lastScore === "" ? [] : [lastScore.split(", ").slice(0, 2).join(", ")]),
      `${scaled(tokens / seconds)} tokens/s`,
    ].join(" · ");
  };

  const handlers: { [K in TuneEvent["kind"]]: (event: Extract<TuneEvent, { kind: K }>) => void } = {
    work: ({ what }) => (terminal.live ? terminal.redraw(c.dim(`${what} …`)) : terminal.note(`${what} …`)),
    baseline: ({ name, scores }) =>
      terminal.note(
        `${name === "majority" ? "majority class" : "frozen model without a prompt"}: ${scoresText(scores)}`,
      ),
    rows: ({ done, total: all, ...event }) => {
      const time = now();
      // texts are read in parts, between steps; at the very beginning the first of them open the session
      if (event.tokens === undefined) {
        if (done === 0 || !inRows) [rowsSince, first] = [time, done === 0 ? null : { done, time }];
        else first ??= { done, time };
        latest = { done, time };
      }
      inRows = true;
      // a short evaluation is not worth a line
      if (done === all || time - rowsSince < 1 || time - shown < (terminal.live ? redrawEvery : plainEvery)) return;
      shown = time;
      const doing = "what" in event && event.what === "texts" ? "reading texts" : "scoring rows";
      const pace = first !== null && done > first.done ? (latest.time - first.time) / (done - first.done) : 0;
      const seconds = pace * (all - done) - (time - latest.time);
      const left = seconds > 0 ? ` · ${secondText(seconds)} left` : "";
      const text = `${doing} ${done}/${all}${left}${writtenText(event.tokens)}`;
      if (terminal.live) terminal.redraw(text);
      else terminal.note(text);
    },
    start: (event) => {
      total = event.totalSteps;
      step = event.step;
      evaluatedAt = event.step;
      if (event.step > 0) terminal.note(`resuming at step ${event.step} of ${event.totalSteps}`);
    },
    stage: (event) => {
      pace.length = 0;
      if (event.stage > 0 || event.partial !== "full")
        terminal.note(c.cyan(`step ${event.step}: training on ${partialText(event.partial)}`));
    },
    step: (event) => {
      step = event.step;
      losses.push(event.loss);
      pace.push({ seconds: event.seconds, tokens: event.tokens });
      if (pace.length > recent) pace.shift();
      const time = now();
      if (time - shown < (terminal.live ? redrawEvery : plainEvery)) return;
      shown = time;
      if (!terminal.live) return terminal.note(status());
      const text = status();
      const room = Math.max(0, Math.min(40, terminal.columns - text.length - 3));
      terminal.redraw(room === 0 ? text : `${c.green(sparkline(losses, room))} ${text}`);
    },
    eval: (event) => {
      lastScore = scoresText(event.scores);
      evalPace = event.seconds / Math.max(1, event.step - evaluatedAt);
      evaluatedAt = event.step;
      const where = event.partial === "full" ? "" : ` on ${partialText(event.partial, true)}`;
      terminal.note(
        `${c.bold(`step ${event.step}`)}${where}: ${lastScore}, loss ${plainNumber(event.loss, 3)}${event.best ? c.green(", best so far") : ""} (${secondText(event.seconds)})`,
      );
    },
    skip: (event) =>
      terminal.warn(`step ${event.step} skipped: ${event.problem} (rows ${event.rows.slice(0, 3).join(", ")})`),
    snapshot: () => {},
    warning: ({ message }) => terminal.warn(message),
    end: () => terminal.redraw(""),
  };
  return (event) => {
    if (event.kind !== "rows") inRows = false;
    (handlers[event.kind] as (e: TuneEvent) => void)(event);
  };
}

/** What is written of a batch in progress. */
const writtenText = (tokens: number | undefined) =>
  tokens === undefined ? "" : ` · writing the next, token ${tokens}`;

/** How far a prediction is. */
export interface Answered {
  /** Inputs that are answered, and all of them; null while that is not known. */
  readonly done: number;
  readonly total: number | null;
  /** Tokens that each answer of the batch in progress has, where answers are written. */
  readonly tokens?: number;
}

/** Redraws how many inputs are answered, where the terminal can redraw a line. @param now seconds, monotonic. */
export function answerProgress(terminal: Terminal, now = () => performance.now() / 1000): (event: Answered) => void {
  const began = now();
  let shown = Number.NEGATIVE_INFINITY;
  return ({ done, total, tokens }) => {
    const time = now();
    // short work is not worth a line
    if (time - began < 1 || time - shown < redrawEvery) return;
    shown = time;
    terminal.redraw(`answered ${done}${total === null ? "" : `/${total}`}${writtenText(tokens)}`);
  };
}

/** Shows remarks, and how far a download, a conversion or the making of weights is, while a model is opened. */
export function modelContext(terminal: Terminal, signal: AbortSignal): ModelContext {
  let shown = Number.NEGATIVE_INFINITY;
  return {
    signal,
    onEvent: (event) => {
      if (event.kind === "notice") return terminal.warn(event.message);
      const { doing, file, done, total } = event;
      const time = performance.now() / 1000;
      if (done < total && time - shown < (terminal.live ? redrawEvery : plainEvery)) return;
      shown = time;
      const text = `${doing} ${file}: ${byteText(done)} of ${byteText(total)}`;
      if (!terminal.live) terminal.note(text);
      else if (done < total) terminal.redraw(text);
      else terminal.redraw("");
    },
  };
}

/** "accuracy 85.7, f1 79.0" */
export function scoresText(scores: Readonly<Partial<Record<string, number>>>): string {
  return Object.entries(scores)
    .map(([name, score]) => `${name} ${scoreText(score)}`)
    .join(", ");
}
