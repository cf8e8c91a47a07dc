/**
 * @file Splits: few-shot samples, holdouts, shuffles, each from its own seeded stream.
 *
 * In: rows and a seed. Out: rows, the same for equal rows and seeds. Labels keep their shares, so that a rare label is not left out by
 * chance; rows of one group (the answers to one question) are never torn apart, and rows held out have no input that is trained on.
 */
import { SoftpromptError } from "../base/errors.js";
import { random } from "../base/random.js";
import type { Row } from "./row.js";

/** How many rows a training may see. */
export interface FewShot {
  readonly count: number;
  /**
   * `total`: that many rows in all, labels in their shares (xprompt.md §5.3); where rows have groups, whole groups and at most that many
   * rows. `class`: that many of every label. `any`: that many rows, whatever their labels and groups, as the paper's table has them.
   * Default total.
   */
  readonly per?: "total" | "class" | "any";
  readonly seed: number;
}

/** Draws a small training set without replacement; stream `fewshot`. Throws SoftpromptError (usage) if there are too few rows. */
export function sampleFewShot(rows: readonly Row[], { count, per = "total", seed }: FewShot): Row[] {
  const check = (most: number, what: string, least = 1): void => {
    if (Number.isInteger(count) && count >= least && count <= most) return;
    throw new SoftpromptError("usage", `cannot draw ${count} rows ${what}`, {
      where: "few-shot count",
      expected: `${least} … ${most}`,
      got: count,
    });
  };
  if (per === "class") {
    const labels = [...new Set(rows.map((r) => r.label))].sort((a, b) => (String(a) < String(b) ? -1 : 1));
    const drawn = labels.flatMap((label) => {
      const of = rows.filter((r) => r.label === label);
      check(of.length, `of label ${label}`);
      return [...random(seed, `fewshot/${label}`).sample(of.length, count)].map((i) => of[i]!);
    });
    return shuffled(drawn, seed, "fewshot/order");
  }
  check(rows.length, "from the training set");
  if (per === "any") return Array.from(random(seed, "fewshot").sample(rows.length, count), (n) => rows[n]!);
  const units = unitsOf(rows);
  const order = shuffled(units, seed, "fewshot");
  if (units.length === rows.length) {
    const take = taker(units, count, 0);
    return order.filter(take).flatMap((unit) => unit.rows);
  }
  check(rows.length, "in whole groups", Math.min(...units.map((unit) => unit.rows.length)));
  let drawn = 0;
  return order
    .filter((unit) => {
      const fits = drawn + unit.rows.length <= count;
      if (fits) drawn += unit.rows.length;
      return fits;
    })
    .flatMap((unit) => unit.rows);
}

export interface Holdout {
  /** Share of the rows to hold out, 0 … 1. */
  readonly fraction: number;
  readonly seed: number;
}

/**
 * Takes a share of the rows (or groups of rows) away, at least one on either side; stream `holdout`. Every label keeps its share, and
 * one that two rows have is on both sides where there is room. Both parts keep the order of the rows. Rows with equal inputs stay on one
 * side, unless that leaves nothing to hold out.
 */
export function holdout(rows: readonly Row[], { fraction, seed }: Holdout): { kept: Row[]; held: Row[] } {
  const groups = unitsOf(rows);
  const whole = withEqualInputs(groups);
  // a text that stands in many rows is trained on, as is the only text of a label: held out, they would be most of that side
  const most = Math.max(2, Math.round(rows.length * fraction));
  const labels = counted(whole);
  const pool = whole.filter((unit) => !unit.joined || (unit.rows.length <= most && labels.get(unit.stratum)! > 1));
  const units = whole.length > 1 && pool.length > 0 ? whole : groups;
  if (!(fraction > 0 && fraction < 1) || units.length < 2)
    throw new SoftpromptError("usage", "cannot hold rows out", {
      where: "holdout",
      expected: "a share between 0 and 1 of at least two rows (or groups of rows)",
      got: `${fraction} of ${units.length}`,
    });
  const from = units === whole ? pool : groups;
  const count = Math.min(from.length, units.length - 1, Math.max(1, Math.round(units.length * fraction)));
  const held = new Set(
    shuffled(from, seed, "holdout")
      .filter(taker(from, count, 1))
      .flatMap((unit) => unit.rows),
  );
  return { kept: rows.filter((r) => !held.has(r)), held: rows.filter((r) => held.has(r)) };
}

/** A seeded shuffle by a named stream. */
export function shuffled<T>(list: readonly T[], seed: number, stream: string): T[] {
  return [...random(seed, stream).permutation(list.length)].map((i) => list[i]!);
}

/** Rows that are drawn together: one row, or all rows of a group. */
interface Unit {
  readonly rows: Row[];
  /** Its label, or the labels of its rows; "" where it has none. */
  stratum: string;
  /** Made of several, which have an input in common. */
  readonly joined?: boolean;
}

/** How many units have each stratum. */
function counted(units: readonly Unit[]): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const { stratum } of units) sizes.set(stratum, (sizes.get(stratum) ?? 0) + 1);
  return sizes;
}

function unitsOf(rows: readonly Row[]): Unit[] {
  const units = new Map<string, Unit>();
  for (const row of rows) {
    const key = row.group === undefined ? `row ${row.id}` : `group ${row.group}`;
    const unit = units.get(key);
    if (unit) unit.rows.push(row);
    else units.set(key, { rows: [row], stratum: "" });
  }
  for (const unit of units.values()) unit.stratum = stratumOf(unit.rows);
  return [...units.values()];
}

const stratumOf = (rows: readonly Row[]) => JSON.stringify([...new Set(rows.map((row) => row.label))].sort());

/** The units, those with an input in common as one, in the place of the first; the units themselves where none have. */
function withEqualInputs(units: readonly Unit[]): readonly Unit[] {
  const first = units.map((_, n) => n);
  const root = (n: number): number => {
    let at = n;
    while (first[at] !== at) at = first[at] = first[first[at]!]!;
    return at;
  };
  const seen = new Map<string, number>();
  for (const [n, unit] of units.entries())
    for (const { input } of unit.rows) {
      const [a, b] = [root(n), root(seen.get(input) ?? n)];
      first[Math.max(a, b)] = Math.min(a, b);
      if (!seen.has(input)) seen.set(input, n);
    }
  if (first.every((at, n) => at === n)) return units;
  const members = new Map<number, Unit[]>();
  for (const [n, unit] of units.entries()) {
    const own = members.get(root(n));
    if (own) own.push(unit);
    else members.set(root(n), [unit]);
  }
  return [...members.values()].map((own) => {
    if (own.length === 1) return own[0]!;
    const rows = own.flatMap((unit) => unit.rows);
    return { rows, stratum: stratumOf(rows), joined: true };
  });
}

/**
 * Decides for each unit, in the given order, whether to take it, so that `count` are taken and labels keep their shares.
 * @param left how many of a label that several units have must not be taken
 */
function taker(units: readonly Unit[], count: number, left: number): (unit: Unit) => boolean {
  const sizes = counted(units);
  // a label that only one unit has cannot be shared out: such units are drawn together (ReCoRD's answers are all of this kind)
  const key = ({ stratum }: Unit) => (sizes.get(stratum) === 1 ? "" : stratum);
  const strata = new Map<string, number>();
  for (const unit of units) strata.set(key(unit), (strata.get(key(unit)) ?? 0) + 1);
  const wanted = shares(new Map([...strata].sort(([a], [b]) => (a < b ? -1 : 1))), units.length, count, (name, size) =>
    name === "" ? size : size - left,
  );
  return (unit) => {
    const n = wanted.get(key(unit))!;
    wanted.set(key(unit), n - 1);
    return n > 0;
  };
}

/** How many of each stratum, by the largest remainder; one of each at least where `count` suffices, and never above its cap. */
function shares(
  strata: ReadonlyMap<string, number>,
  total: number,
  count: number,
  cap: (name: string, size: number) => number,
): Map<string, number> {
  const named = [...strata.keys()].filter((name) => name !== "").length;
  const entries = [...strata].map(([name, size]) => {
    const quota = (count * size) / total;
    const most = cap(name, size);
    const least = name !== "" && count >= named ? Math.min(1, most) : 0;
    return { name, quota, least, most, n: Math.min(most, Math.max(least, Math.floor(quota))) };
  });
  const sum = () => entries.reduce((s, e) => s + e.n, 0);
  for (let missing = count - sum(); missing !== 0; missing = count - sum()) {
    const step = Math.sign(missing);
    const open = entries.filter((e) => (step > 0 ? e.n < e.most : e.n > e.least));
    // all caps are reached, so the rule that each label stays on the other side is dropped
    const of = open.length > 0 ? open : entries.filter((e) => (step > 0 ? e.n < strata.get(e.name)! : e.n > 0));
    const best = of.reduce((a, b) => (step * (b.quota - b.n) > step * (a.quota - a.n) ? b : a));
    best.n += step;
  }
  return new Map(entries.map(({ name, n }) => [name, n]));
}
