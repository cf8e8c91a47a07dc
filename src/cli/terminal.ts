/**
 * @file The terminal: results go to stdout, everything else to stderr; colours are used only if wanted.
 *
 * Out: a Terminal. With `--json` stdout has only JSON; with `--quiet` stderr has only warnings and errors; NO_COLOR (any non-empty value),
 * FORCE_COLOR and "is it a TTY" decide colours, as https://no-color.org says. The output has no control characters except line breaks, tabs
 * and our own colours.
 */
import type { WriteStream } from "node:tty";
import { type Colors, colorsFor, cutTo, forTerminal } from "./printable.js";

export type { Colors };

/** Texts without colours. */
export const plainColors: Colors = colorsFor(false);

export interface Terminal {
  readonly json: boolean;
  readonly quiet: boolean;
  /** Colours for stderr (progress, notes, errors). */
  readonly colors: Colors;
  /** Colours for stdout (results). */
  readonly resultColors: Colors;
  /** True when stderr can redraw a line. */
  readonly live: boolean;
  /** Characters per line of stderr; 80 when unknown. */
  readonly columns: number;
  /** Characters per line of stdout; null where it is no terminal. */
  readonly resultColumns: number | null;
  /** One line (or block) of the result. */
  result(text: string): void;
  /** A piece of a streamed result, without a line break; `resultEnd` ends the line. */
  resultPiece(text: string): void;
  resultEnd(): void;
  /** One line of progress or advice; silent when quiet. */
  note(text: string): void;
  /** A warning; shown even when quiet. */
  warn(text: string): void;
  /** An error; shown even when quiet. */
  error(text: string): void;
  /** Redraws the last line of stderr in place, cut to the terminal's width; only when `live` and not quiet. */
  redraw(line: string): void;
  /** Ends a redrawn line. */
  settle(): void;
}

export interface TerminalSettings {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly stdout: Pick<WriteStream, "write"> & { isTTY?: boolean; columns?: number };
  readonly stderr: Pick<WriteStream, "write"> & { isTTY?: boolean; columns?: number };
  readonly env: Readonly<Record<string, string | undefined>>;
}

export function terminal({ json, quiet, stdout, stderr, env }: TerminalSettings): Terminal {
  const live = Boolean(stderr.isTTY) && env.TERM !== "dumb" && !env.CI && !quiet;
  let drawn = false;
  const clear = () => {
    if (drawn) stderr.write("\r\x1b[2K");
    drawn = false;
  };
  const colors = colorsFor(wantsColor(env, Boolean(stderr.isTTY)));
  // read each time, because windows are resized
  const columns = () => stderr.columns ?? 80;
  return {
    json,
    quiet,
    colors,
    resultColors: colorsFor(wantsColor(env, Boolean(stdout.isTTY))),
    live,
    get columns() {
      return columns();
    },
    get resultColumns() {
      return stdout.isTTY ? (stdout.columns ?? 80) : null;
    },
    result: (text) => {
      clear();
      stdout.write(`${forTerminal(text)}\n`);
    },
    resultPiece: (text) => {
      if (text === "") return;
      clear();
      stdout.write(forTerminal(text));
    },
    resultEnd: () => {
      stdout.write("\n");
    },
    note: (text) => {
      if (quiet) return;
      clear();
      stderr.write(`${forTerminal(text)}\n`);
    },
    warn: (text) => {
      clear();
      stderr.write(forTerminal(`${colors.yellow("warning")} ${text}\n`));
    },
    error: (text) => {
      clear();
      stderr.write(`${forTerminal(text)}\n`);
    },
    redraw: (line) => {
      if (!live) return;
      // the last column is left free: some terminals wrap when it is filled
      stderr.write(`\r\x1b[2K${forTerminal(cutTo(line, columns() - 1))}`);
      drawn = true;
    },
    settle: () => {
      if (drawn) stderr.write("\n");
      drawn = false;
    },
  };
}

function wantsColor(env: TerminalSettings["env"], isTTY: boolean): boolean {
  if (env.NO_COLOR) return false;
  if (env.FORCE_COLOR) return env.FORCE_COLOR !== "0";
  return isTTY && env.TERM !== "dumb";
}
