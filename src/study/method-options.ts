/**
 * @file Options of the comparison of methods, as data: which methods, how their learning rates are searched, at which steps scores are
 * read.
 */
import { integer, list, map, number, type OptionValues } from "../base/options.js";
import { type MethodName, methodNames, ownMethodOptions } from "../method/options.js";
import type { PresetName } from "../schedule/presets.js";

/** Schedules of prompt tuning that are listed as methods. */
const progressive = ["fpt-ld", "fpt-fr", "fpt-cr"] as const satisfies readonly PresetName[];
/** Baselines that put other contexts before the rows, with the frozen model. */
const untrained = ["few-shot", "instruction"] as const;

/** Everything that can be a line of the table of methods. */
export const comparableNames = [...methodNames, ...progressive, "xprompt", ...untrained] as const;
/** A line of the table of methods. */
export type ComparableName = (typeof comparableNames)[number];

export const isProgressive = (name: ComparableName): name is (typeof progressive)[number] =>
  (progressive as readonly string[]).includes(name);
export const isUntrained = (name: ComparableName): name is (typeof untrained)[number] =>
  (untrained as readonly string[]).includes(name);
export const isTrained = (name: ComparableName): name is MethodName =>
  (methodNames as readonly string[]).includes(name);

export const comparisonOptions = {
  methods: list({
    values: comparableNames,
    help: "Compare these: methods of training, FPT's schedules of prompt tuning, xprompt, few-shot (examples before each text) and instruction (a text before it); the last two train nothing",
    source: "default FPT's schedules, as its Table 2",
  }),
  rateFactors: list({
    of: "number",
    min: 0,
    default: [0.3, 1, 3],
    source: "our choice",
    help: "With methods: learning rates to try, as factors of the method's own; one factor is no search",
  }),
  searchHoldout: number({
    default: 0.2,
    min: 0.01,
    max: 0.9,
    unit: "share of the training rows",
    source: "our choice",
    help: "With methods: training rows that choose the rate, and XPrompt's mask; the validation rows choose nothing",
  }),
  scoreSteps: list({
    of: "integer",
    min: 1,
    default: [25, 50, 100, 200, 400],
    unit: "optimizer steps",
    help: "With methods: tell the score after so many steps; of those that were evaluated",
  }),
  shots: integer({
    default: 4,
    min: 1,
    max: 1000,
    unit: "examples",
    help: "With method few-shot: training rows with their answers before each text; a row has as many as fit",
  }),
  instructions: map({
    help: "With method instruction: task and the text before each of its rows",
    source: "default “Answer with one of these:” and the label words",
  }),
  ...ownMethodOptions,
};

/** How methods are compared. */
export type ComparisonOptions = OptionValues<typeof comparisonOptions>;
