/**
 * @file The terminal: results to stdout, everything else to stderr, colours only where they are wanted.
 *
 * Out: a Terminal. `--json` leaves stdout to JSON alone; `--quiet` leaves stderr to errors; NO_COLOR (any non-empty value),
 * FORCE_COLOR and "is it a TTY" decide colours, as https://no-color.org says. Whatever is written here holds no control character but
 * line breaks, tabs and our own colours.
 */
import type { WriteStream } from "node:tty";
import picocolors from "picocolors";
import { printableColoured } from "../base/printable.js";

export type Colors = ReturnType<typeof picocolors.createColors>;

/** Texts as they are. */
export const plainColors: Colors = picocolors.createColors(false);

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
  /** One line (or block) of the result. */
  result(text: string): void;
  /** One line of progress or advice; silent when quiet. */
  note(text: string): void;
  /** A warning; shown even when quiet. */
  warn(text: string): void;
  /** Redraws the last line of stderr in place; only when `live` and not quiet. */
  redraw(line: string): void;
  /** Ends a redrawn line. */
  settle(): void;
}

export interface TerminalSettings {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly stdout: Pick<WriteStream, "write"> & { isTTY?: boolean };
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
  const colors = picocolors.createColors(wantsColor(env, Boolean(stderr.isTTY)));
  return {
    json,
    quiet,
    colors,
    resultColors: picocolors.createColors(wantsColor(env, Boolean(stdout.isTTY))),
    live,
    columns: stderr.columns ?? 80,
    result: (text) => {
      clear();
      stdout.write(`${printableColoured(text)}\n`);
    },
    note: (text) => {
      if (quiet) return;
      clear();
      stderr.write(`${printableColoured(text)}\n`);
    },
    warn: (text) => {
      clear();
      stderr.write(`${colors.yellow("warning")} ${printableColoured(text)}\n`);
    },
    redraw: (line) => {
      if (!live) return;
      stderr.write(`\r\x1b[2K${printableColoured(line)}`);
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
