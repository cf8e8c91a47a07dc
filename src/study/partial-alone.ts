/**
 * @file Partial models tuned on their own, never grown: the papers' Table 1 (fpt.md §4, §9).
 *
 * In: StudyInput, sizes. Out: scores of each partial model on itself, its distance to prompt tuning, FLOPs and seconds.
 */

import type { Dataset } from "../data/row.js";
import type { ModelConfig } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import { type PartialSpec, partialModel } from "../model/partial.js";
import { presetSchedule } from "../schedule/options.js";
import {
  bestOf,
  currentInput,
  type FinishedRun,
  runAll,
  type StudyInput,
  seedScore,
  type Variant,
  vanilla,
} from "./runs.js";
import {
  type Cell,
  differenceDots,
  dotsOf,
  paired,
  pairedCells,
  pairedColumns,
  pairedNote,
  type StudyResult,
  spread,
  type Table,
} from "./study.js";

/** Shares of the full model that Table 1 tunes, each by depth, by width, and by both. */
export const tableOneShares = [0.25, 0.5, 0.75] as const;

/** One partial size with its label, e.g. "LD 1/4". */
export interface PartialSize {
  readonly label: string;
  readonly size: Pick<PartialSpec, "depth" | "width">;
}

/** Table 1's nine sizes: LD, FR, CR at ¼, ½, ¾. */
export function tableOneSizes(shares: readonly number[] = tableOneShares): PartialSize[] {
  const kinds = {
    LD: (share: number) => ({ depth: share }),
    FR: (share: number) => ({ width: share }),
    CR: (share: number) => ({ depth: share, width: share }),
  };
  return Object.entries(kinds).flatMap(([kind, size]) =>
    shares.map((share) => ({ label: `${kind} ${share}`, size: size(share) })),
  );
}

/**
 * The sizes that differ on this model, and from it: with few layers, ¼ and ½ may both round to two, which may be all. The earlier of equal
 * sizes stays.
 */
export function distinctSizes(config: ModelConfig, sizes: readonly PartialSize[]): PartialSize[] {
  const full = countsOf(config, {}).join();
  const counts = sizes.map(({ size }) => countsOf(config, size).join());
  return sizes.filter((_, i) => counts[i] !== full && counts.indexOf(counts[i]!) === i);
}

/** Layers and neurons per layer that a size keeps of the stack that is shrunk. */
function countsOf(config: ModelConfig, size: PartialSize["size"]): [layers: number, neurons: number] {
  const [shrunk] = architectureOf(config).stacks(config);
  const { layers, neurons } = partialModel(config, { ...size, neuronChoice: "first" }).stacks[shrunk.name]!;
  return [layers.length, neurons?.[0]?.length ?? config.feedForwardWidth];
}

/** A size as a variant: one stage on the partial model for all steps. */
export function aloneVariant({ label, size }: PartialSize): Variant {
  return {
    label,
    schedule: {
      ...presetSchedule("custom"),
      depths: [size.depth ?? 1],
      widths: [size.width ?? 1],
      stageFractions: [1, 0],
    },
  };
}

/** Tunes each size alone, and the full model beside them. */
export async function partialAlone(
  given: StudyInput,
  wanted: readonly PartialSize[] = tableOneSizes(),
): Promise<StudyResult> {
  const input = currentInput(given, "partialAlone()");
  const { config } = input.engine.checkpoint;
  const sizes = distinctSizes(config, wanted);
  const runs = await runAll(input, [vanilla, ...sizes.map(aloneVariant)]);
  const { tasks, seeds } = input;
  const find = (label: string, task: string, seed: number) =>
    runs.find((r) => r.label === label && r.task === task && r.seed === seed)!;
  const perSeed = (of: (dataset: Dataset, seed: number) => number): number[] =>
    seeds.map((seed) => tasks.reduce((sum, dataset) => sum + of(dataset, seed), 0) / tasks.length);
  const score = (label: string) => (dataset: Dataset, seed: number) =>
    100 * ownScore(find(label, dataset.task.name, seed), dataset);
  /** Over every task and seed, as each is a pair of its own. */
  const toPt = (label: string): Cell[] => {
    const each = tasks.flatMap((d) => seeds.map((s) => score(label)(d, s) - score("PT")(d, s)));
    const found = label === "PT" ? null : paired(each);
    return [found?.mean ?? null, ...pairedCells(found)];
  };
  const share = (label: string, of: (run: FinishedRun) => number) =>
    spread(perSeed(({ task }, seed) => (100 * of(find(label, task.name, seed))) / of(find("PT", task.name, seed))));
  const row = (label: string, size: PartialSize["size"]): Cell[] => [
    label,
    ...countsOf(config, size),
    ...tasks.map((dataset) => spread(seeds.map((seed) => score(label)(dataset, seed)))),
    spread(perSeed(score(label))),
    ...toPt(label),
    share(label, ({ result }) => result.cost.paperFlops),
    share(label, ({ result }) => result.cost.trainFlops),
    share(label, ({ result }) => result.cost.trainSeconds),
  ];
  const table: Table = {
    title: "Partial models tuned on their own (layout of FPT's Table 1)",
    columns: [
      { name: "model" },
      { name: "encoder layers", digits: 0 },
      { name: "neurons a layer", digits: 0 },
      ...tasks.map(({ task }) => ({ name: `${task.name} ${task.metrics[0]}`, digits: 2 })),
      { name: "average", digits: 2 },
      { name: "Δ to PT", unit: "points", digits: 2 },
      ...pairedColumns,
      { name: "FLOPs", unit: "% (papers' count)", digits: 1 },
      { name: "FLOPs", unit: "% (all products)", digits: 1 },
      { name: "wall", unit: "% (training)", digits: 1 },
    ],
    rows: [row("PT", {}), ...sizes.map(({ label, size }) => row(label, size))],
  };
  return {
    study: "partial-alone",
    title: "Partial models tuned on their own",
    tables: [table],
    dots: [...dotsOf(table, "average"), ...differenceDots(table)],
    charts: [],
    matrices: [],
    scores: runs.map((run) => seedScore(run, tasks, ownScore)),
    notes: [
      pairedNote,
      "Each prompt is scored on the partial model it was tuned on; best validation score × 100, ± sample standard deviation over seeds.",
      ...(sizes.length < wanted.length
        ? [`Left out, being the same model as an earlier row: ${missing(wanted, sizes)}.`]
        : []),
    ],
    settings: {
      steps: input.schedule.steps,
      seeds,
      model: input.engine.checkpoint.name,
      virtualTokens: input.virtualTokens,
    },
  };
}

function missing(wanted: readonly PartialSize[], sizes: readonly PartialSize[]): string {
  return wanted
    .filter((size) => !sizes.includes(size))
    .map(({ label }) => label)
    .join(", ");
}

/** Best score on the model the run was tuned on; the last evaluation of a partial run is on the full model. */
export function ownScore({ result }: FinishedRun, { task }: Dataset): number {
  const own = result.cost.perStage[0]!.partial;
  const seen = result.history.filter((entry) => entry.partial === own);
  return bestOf(seen, task) ?? Number.NaN;
}
