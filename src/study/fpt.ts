/**
 * @file FPT's studies as one table: what each is called, where the paper has it, and how to run it.
 *
 * In: StudyInput. Out: StudyResult. The experiments and the command line choose from here by name.
 */
import { pruneOptions } from "../prune/options.js";
import { type ScheduleOptions, scheduleOptions } from "../schedule/options.js";
import { compare } from "./compare.js";
import { partialAlone } from "./partial-alone.js";
import type { StudyInput } from "./runs.js";
import { similarity } from "./similarity.js";
import type { StudyResult } from "./study.js";

/** One of FPT's studies. */
export interface FptStudy {
  readonly title: string;
  /** Where the paper has it. */
  readonly source: string;
  /** Keys of options that have no effect in this study. They are refused, because a user who gives one expects an effect. */
  readonly unread: readonly string[];
  readonly run: (input: StudyInput) => Promise<StudyResult>;
}

/**
 * Options without effect in these studies, which prune nothing, keep only complete runs, and take their tables from the intermediate
 * evaluations.
 */
const ofOthers = [...Object.keys(pruneOptions), "snapshotEvery", "snapshotSeconds", "finalEvalRows"];
const readAlone: ReadonlySet<string> = new Set<keyof ScheduleOptions>([
  "steps",
  "layerChoice",
  "neuronChoice",
  "reduceDecoder",
]);
/** Each partial model is one stage of all steps. */
const withoutGrowth = [...ofOthers, ...Object.keys(scheduleOptions).filter((key) => !readAlone.has(key))];

/** FPT's studies by name. */
export const fptStudies = {
  compare: {
    title: "Fast Prompt Tuning against prompt tuning, also at equal FLOPs",
    source: "FPT Table 2",
    unread: ofOthers,
    run: (input) => compare(input),
  },
  "partial-alone": {
    title: "Partial models tuned on their own",
    source: "FPT Table 1",
    unread: withoutGrowth,
    run: (input) => partialAlone(input),
  },
  similarity: {
    title: "Are prompts of partial models alike?",
    source: "FPT's observation, fpt.md §10",
    unread: withoutGrowth,
    run: (input) => similarity(input),
  },
} as const satisfies Record<string, FptStudy>;

/** Name of one of FPT's studies. */
export type FptStudyName = keyof typeof fptStudies;
