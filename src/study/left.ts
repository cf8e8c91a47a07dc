/**
 * @file What is left of a study, from the runs that have ended. In: the runs in their order, and what each took. Out: RunsLeft.
 *
 * A run to come takes about as long as the runs of its method on its task; where none has ended, as those of its method; else as all.
 */

/** What is left of a study when a run begins. */
export interface RunsLeft {
  /** Runs that have not ended; the one that begins is counted. */
  readonly runs: number;
  /** A rough estimate, kept runs among them counted as if they were computed; null where no run was computed yet. */
  readonly seconds: number | null;
}

/** What says how long a run takes. */
export interface RunKind {
  /** A method, a variant or a case. */
  readonly method: string;
  readonly task: string;
}

/** What ends within this time, in seconds, was read back and not computed: it says nothing of the others. */
export const readBack = 0.3;

/** Estimates of one study. */
export interface Forecast {
  /** @param index of the run among all, from 0 @param seconds that it took; null where they say nothing of the others */
  ended(index: number, seconds: number | null): void;
  left(): RunsLeft;
}

/** @param runs all of them, in order @param together how many are computed at a time. Default 1 */
export function forecast(runs: readonly RunKind[], together = 1): Forecast {
  const took = new Map<number, number>();
  const mean = (alike: (kind: RunKind) => boolean): number | null => {
    const known = [...took].flatMap(([n, seconds]) => (seconds > readBack && alike(runs[n]!) ? [seconds] : []));
    return known.length === 0 ? null : known.reduce((sum, seconds) => sum + seconds, 0) / known.length;
  };
  const estimate = ({ method, task }: RunKind) =>
    mean((kind) => kind.method === method && kind.task === task) ??
    mean((kind) => kind.method === method) ??
    mean(() => true);
  return {
    ended: (index, seconds) => {
      took.set(index, seconds ?? 0);
    },
    left: () => {
      const open = runs.filter((_, n) => !took.has(n));
      const each = open.map(estimate);
      const seconds = each.reduce<number | null>((sum, one) => (sum === null || one === null ? null : sum + one), 0);
      return { runs: open.length, seconds: seconds === null ? null : seconds / Math.min(together, open.length || 1) };
    },
  };
}
