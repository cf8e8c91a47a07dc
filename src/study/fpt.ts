/**
 * @file FPT's studies as one table: what each is called, where the paper has it, and how to run it.
 *
 * In: StudyInput. Out: StudyResult. The experiments and the command line choose from here by name.
 */
import { compare } from "./compare.js";
import { partialAlone } from "./partial-alone.js";
import type { StudyInput } from "./runs.js";
import { similarity } from "./similarity.js";
import type { StudyResult } from "./study.js";

export interface FptStudy {
  readonly title: string;
  /** Where the paper has it. */
  readonly source: string;
  readonly run: (input: StudyInput) => Promise<StudyResult>;
}

export const fptStudies = {
  compare: {
    title: "Fast Prompt Tuning against prompt tuning, also at equal FLOPs",
    source: "FPT Table 2",
    run: (input) => compare(input),
  },
  "partial-alone": {
    title: "Partial models tuned on their own",
    source: "FPT Table 1",
    run: (input) => partialAlone(input),
  },
  similarity: {
    title: "Are prompts of partial models alike?",
    source: "FPT's observation, fpt.md §10",
    run: (input) => similarity(input),
  },
} as const satisfies Record<string, FptStudy>;

export type FptStudyName = keyof typeof fptStudies;
