/** @file Numbers of experiments: halves of a split, means, rank correlation. In: plain arrays. Out: plain numbers. Paired differences and the sign test are `softprompt/study`'s. */
import { paired, signTest } from "softprompt/study";

/** Paired differences with the p of their sign test; null for none. */
export function tested(differences) {
  const found = paired(differences);
  if (found === null) return null;
  const [above, , below] = found.signs.split(" / ").map(Number);
  return { ...found, p: signTest(above, below) };
}

/** Every second row: one half chooses, the other reports. Groups (the answers to one question) stay whole. */
export function halves(rows) {
  const groups = [...new Set(rows.map((row) => row.group ?? row.id))];
  const place = new Map(groups.map((group, n) => [group, n % 2]));
  const half = (n) => rows.filter((row) => place.get(row.group ?? row.id) === n);
  return { chooses: half(0), reports: half(1) };
}

/** A difference with its sign and two digits. */
export const signed = (x) => `${x > 0 ? "+" : ""}${x.toFixed(2).replace("-", "−")}`;

export const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

/** Sample standard deviation; null for one value. */
export function deviation(values) {
  if (values.length < 2) return null;
  const m = mean(values);
  return Math.sqrt(values.reduce((sum, x) => sum + (x - m) ** 2, 0) / (values.length - 1));
}

/** Ranks from 0; equal values share the mean of theirs. @throws for what is no number: it has no rank */
export function ranks(values) {
  const other = values.findIndex((value) => !Number.isFinite(value));
  if (other >= 0) throw new Error(`ranks: value ${other} is ${values[other]}, not a finite number: leave its pair out`);
  const order = [...values.keys()].sort((a, b) => values[a] - values[b]);
  const out = new Array(values.length);
  for (let i = 0; i < order.length; ) {
    let j = i;
    while (j < order.length && values[order[j]] === values[order[i]]) j++;
    for (let k = i; k < j; k++) out[order[k]] = (i + j - 1) / 2;
    i = j;
  }
  return out;
}

/** Spearman's rank correlation; null where one side has no spread. @throws where the sides are no pairs of finite numbers */
export function rankCorrelation(a, b) {
  if (a.length !== b.length) throw new Error(`rankCorrelation: ${a.length} values against ${b.length}: give pairs`);
  const [x, y] = [ranks(a), ranks(b)];
  const [mx, my] = [mean(x), mean(y)];
  const sum = (of) => x.reduce((total, _, i) => total + of(i), 0);
  const [xx, yy] = [sum((i) => (x[i] - mx) ** 2), sum((i) => (y[i] - my) ** 2)];
  return xx === 0 || yy === 0 ? null : sum((i) => (x[i] - mx) * (y[i] - my)) / Math.sqrt(xx * yy);
}
