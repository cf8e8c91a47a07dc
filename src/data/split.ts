/**
 * @file Splits: few-shot samples, holdouts, shuffles, each from its own seeded stream.
 *
 * In: rows and a seed. Out: rows. Rows of one group (the answers to one question) are never torn apart by a holdout.
 */
import { SoftpromptError } from "../base/errors.js";
import { random } from "../base/random.js";
import type { Row } from "./row.js";

export interface FewShot {
  readonly count: number;
  /** `total`: that many rows, whatever their labels (xprompt.md §5.3); `class`: that many of every label. Default total. */
  readonly per?: "total" | "class";
  readonly seed: number;
}

/** Draws a small training set without replacement; stream `fewshot`. Throws SoftpromptError (usage) if there are too few rows. */
export function sampleFewShot(rows: readonly Row[], { count, per = "total", seed }: FewShot): Row[] {
  const draw = (from: readonly Row[], stream: string, what: string): Row[] => {
    if (!Number.isInteger(count) || count < 1 || count > from.length)
      throw new SoftpromptError("usage", `cannot draw ${count} rows ${what}`, {
        where: "few-shot count",
        expected: `1 … ${from.length}`,
        got: count,
      });
    return [...random(seed, stream).sample(from.length, count)].map((i) => from[i]!);
  };
  if (per === "total") return draw(rows, "fewshot", "from the training set");
  const labels = [...new Set(rows.map((r) => r.label))].sort((a, b) => (String(a) < String(b) ? -1 : 1));
  const drawn = labels.flatMap((label) =>
    draw(
      rows.filter((r) => r.label === label),
      `fewshot/${label}`,
      `of label ${label}`,
    ),
  );
  return shuffled(drawn, seed, "fewshot/order");
}

export interface Holdout {
  /** Share of the rows to hold out, 0 … 1. */
  readonly fraction: number;
  readonly seed: number;
}

/** Takes a share of the rows away, at least one on either side; stream `holdout`. Both parts keep the order of the rows. */
export function holdout(rows: readonly Row[], { fraction, seed }: Holdout): { kept: Row[]; held: Row[] } {
  const groups = [...new Set(rows.map(groupOf))];
  if (!(fraction > 0 && fraction < 1) || groups.length < 2)
    throw new SoftpromptError("usage", "cannot hold rows out", {
      where: "holdout",
      expected: "a share between 0 and 1 of at least two rows (or groups of rows)",
      got: `${fraction} of ${groups.length}`,
    });
  const count = Math.min(groups.length - 1, Math.max(1, Math.round(groups.length * fraction)));
  const taken = new Set([...random(seed, "holdout").sample(groups.length, count)].map((i) => groups[i]!));
  return {
    kept: rows.filter((r) => !taken.has(groupOf(r))),
    held: rows.filter((r) => taken.has(groupOf(r))),
  };
}

/** A seeded shuffle by a named stream. */
export function shuffled<T>(list: readonly T[], seed: number, stream: string): T[] {
  return [...random(seed, stream).permutation(list.length)].map((i) => list[i]!);
}

function groupOf(row: Row): string {
  return row.group === undefined ? `row ${row.id}` : `group ${row.group}`;
}
