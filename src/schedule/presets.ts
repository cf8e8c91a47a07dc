/**
 * @file The schedules of the FPT paper as one table: sizes of the partial models and shares of the steps (fpt.md §4).
 *
 * Large and XL use the same shares of their layers and neurons, so one entry serves both (Large 6/12/18 layers and
 * 704/1408/2112 neurons; XL 6/12/18 and 1280/2560/3840). Table 2's XL percentages do not follow from the scripts'
 * schedule; the three variants that fit them exactly are the `-xl-a`, `-xl-b` and `-xl-c` entries. FR is the same in all.
 */
import type { PartialSpec } from "../model/partial.js";

/** Partial stages in order with the share of all steps each takes; what is left is the full model's. */
export interface Preset {
  readonly sizes: readonly Pick<PartialSpec, "depth" | "width">[];
  readonly fractions: readonly number[];
  readonly help: string;
}

const quarters = [0.25, 0.5, 0.75];
const fifths = [0.2, 0.2, 0.2];

export const presets = {
  vanilla: { sizes: [], fractions: [], help: "prompt tuning on the full model" },
  "fpt-ld": { sizes: quarters.map((depth) => ({ depth })), fractions: fifths, help: "layer dropping" },
  "fpt-fr": { sizes: quarters.map((width) => ({ width })), fractions: fifths, help: "feed-forward reduction" },
  "fpt-cr": { sizes: quarters.map((r) => ({ depth: r, width: r })), fractions: fifths, help: "both at once" },
  "fpt-ld-xl-a": { sizes: deep([0.75, 0.75, 0.75]), fractions: fifths, help: "Table 2 XL: 18/18/18 layers" },
  "fpt-cr-xl-a": { sizes: both([0.75, 0.75, 0.75]), fractions: fifths, help: "Table 2 XL: 18/18/18 layers" },
  "fpt-ld-xl-b": { sizes: deep([0.625, 0.75, 0.875]), fractions: fifths, help: "Table 2 XL: 15/18/21 layers" },
  "fpt-cr-xl-b": { sizes: both([0.625, 0.75, 0.875]), fractions: fifths, help: "Table 2 XL: 15/18/21 layers" },
  "fpt-ld-xl-c": { sizes: deep(quarters), fractions: [0.1, 0.1, 0.1], help: "Table 2 XL: stages of 10 %" },
  "fpt-cr-xl-c": { sizes: both(quarters), fractions: [0.15, 0.15, 0.15], help: "Table 2 XL: stages of 15 %" },
  "fpt-one": {
    sizes: [{ depth: 0.5, width: 0.25 }],
    fractions: [0.7],
    help: "ours: one partial stage, half of the layers and a quarter of the neurons (experiments/fpt/mini-half-fresh.md)",
  },
  custom: { sizes: [], fractions: [], help: "stages from --depths, --widths and --stage-fractions or --stage-steps" },
} as const satisfies Record<string, Preset>;

export type PresetName = keyof typeof presets;

function deep(depths: readonly number[]): Preset["sizes"] {
  return depths.map((depth) => ({ depth }));
}

function both(depths: readonly number[]): Preset["sizes"] {
  return depths.map((depth, i) => ({ depth, width: quarters[i]! }));
}
