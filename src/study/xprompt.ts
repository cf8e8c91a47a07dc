/**
 * @file XPrompt's studies that are tables of outcomes: each is cases × variants and the questions it answers (xprompt.md §7, §9).
 *
 * In: XPromptStudyInput. Out: StudyResult. Masking, saliency and transfer need more than that and have their own files.
 */

import { SoftpromptError } from "../base/errors.js";
import type { Dataset } from "../data/row.js";
import { sampleFewShot } from "../data/split.js";
import type { PruneOptions } from "../prune/options.js";
import { presetSchedule } from "../schedule/options.js";
import { checkSeeds, checkTasks, currentInput, rowsText, withRuns } from "./runs.js";
import { differenceDots, dotsOf, pairedNote, pairedNoteOfStarts, type StudyResult, type Table } from "./study.js";
import { masking } from "./xprompt-masking.js";
import { type Case, checkCases, outcomes, settingsOf } from "./xprompt-runs.js";
import { saliency } from "./xprompt-saliency.js";
import { differenceTable, type Line, linesOf, parameterTable, scoreTable, seedScores } from "./xprompt-tables.js";
import { transfer } from "./xprompt-transfer.js";
import type { XPromptStudyInput } from "./xprompt-types.js";
import { type VariantName, variants as variantTable } from "./xprompt-variants.js";

/** A study as a command: its name is the key in the table below. */
export interface XPromptStudy {
  readonly title: string;
  /** Where the paper has it. */
  readonly source: string;
  /** Keys of options that have no effect in this study. They are refused, because a user who gives one expects an effect. */
  readonly unread: readonly string[];
  readonly run: (input: XPromptStudyInput) => Promise<StudyResult>;
}

const line = (label: string, variant: VariantName): Line => linesOf(label, [variant])[0]!;
const one: Case = { label: "" };
/** Training rows of few-shot (xprompt.md §5.3). */
const fewShotRows = 32;
/** Options without effect, because each line of such a study has its own level. */
const level: keyof PruneOptions = "level";
/** Masking retrains nothing, and always prunes whole tokens of the tuned prompt. */
const ofRetraining: readonly (keyof PruneOptions)[] = [
  ...(["search", "tokensPruned", "piecesPruned", "pieceRanking", "prunedTokens", "rewindTo", "rescorePieces"] as const),
  ...(["retrainSteps", "halvingMinSteps", "halvingBudget", "workers"] as const),
];
/** Source of studies that are not in the paper. */
const ours = "our addition";

/** XPrompt's studies by name. */
export const xpromptStudies = {
  "sub-prompts": tableStudy(
    "sub-prompts",
    "XPrompt against prompt tuning and its controls",
    "Table 4 and Fig. 5 together",
    () => ({
      cases: [one],
      variants: [
        ...(["pt", "control", "tokens", "pieces", "xprompt", "mean"] as const),
        ...(["reversed", "reversedMean", "random", "randomMean"] as const),
      ],
      pairs: [
        ["Does XPrompt beat PT?", line("", "xprompt"), line("", "pt")],
        ["Does XPrompt beat PT continued?", line("", "xprompt"), line("", "control")],
        ["Does its mean candidate beat PT continued?", line("", "mean"), line("", "control")],
        ["Does PT continued beat PT?", line("", "control"), line("", "pt")],
        ["Is XPrompt better than token-only?", line("", "xprompt"), line("", "tokens")],
        ["Is XPrompt better than piece-only?", line("", "xprompt"), line("", "pieces")],
        ["Is XPrompt better than Reversed?", line("", "xprompt"), line("", "reversed")],
        ["Is XPrompt better than Random?", line("", "xprompt"), line("", "random")],
        ["Is its mean candidate better than Random's?", line("", "mean"), line("", "randomMean")],
        ["Is Random better than Reversed?", line("", "random"), line("", "reversed")],
      ],
      kept: [line("", "xprompt")],
    }),
  ),
  granularity: tableStudy("granularity", "Pruning tokens, pieces, or both", "Table 4", () => ({
    cases: [one],
    variants: ["pt", "control", "tokens", "pieces", "xprompt"],
    pairs: [
      ["token-only − PT", line("", "tokens"), line("", "pt")],
      ["piece-only − PT", line("", "pieces"), line("", "pt")],
      ["XPrompt − PT", line("", "xprompt"), line("", "pt")],
      ["XPrompt − PT continued", line("", "xprompt"), line("", "control")],
    ],
    kept: [line("", "tokens"), line("", "pieces"), line("", "xprompt")],
  })),
  "positive-negative": tableStudy("positive-negative", "Do positive and negative prompts exist?", "Fig. 5", () => ({
    cases: [one],
    variants: [
      ...(["pt", "control", "xprompt", "mean", "reversed", "reversedMean"] as const),
      ...(["losing", "losingMean", "random", "randomMean", "length"] as const),
    ],
    pairs: [
      ["XPrompt − PT continued", line("", "xprompt"), line("", "control")],
      ["XPrompt − Reversed", line("", "xprompt"), line("", "reversed")],
      ["XPrompt − losing ticket", line("", "xprompt"), line("", "losing")],
      ["XPrompt − Random", line("", "xprompt"), line("", "random")],
      ["XPrompt − Length", line("", "xprompt"), line("", "length")],
      ["mean candidates: XPrompt − Reversed", line("", "mean"), line("", "reversedMean")],
      ["mean candidates: XPrompt − losing ticket", line("", "mean"), line("", "losingMean")],
      ["mean candidates: XPrompt − Random", line("", "mean"), line("", "randomMean")],
    ],
    kept: [],
  })),
  length: tableStudy(
    "length",
    "Prompt length",
    "Table 5",
    () => ({
      cases: [10, 20, 100].map((virtualTokens) => ({ label: `${virtualTokens} tokens`, virtualTokens })),
      variants: ["pt", "control", "xprompt"],
      pairs: [10, 20, 100].flatMap((n) => [
        [`${n}: XPrompt − PT`, line(`${n} tokens`, "xprompt"), line(`${n} tokens`, "pt")],
        [`${n}: XPrompt − PT continued`, line(`${n} tokens`, "xprompt"), line(`${n} tokens`, "control")],
      ]),
      kept: [],
      settings: { virtualTokens: [10, 20, 100] },
    }),
    ["virtualTokens"],
  ),
  initialisation: tableStudy(
    "initialisation",
    "Initialisation",
    "Table 6",
    () => ({
      cases: [
        { label: "RandomUniform", init: { kind: "uniform", range: 0.5 } },
        { label: "SampledVocab", init: { kind: "sampledVocab" } },
      ],
      variants: ["pt", "control", "xprompt"],
      pairs: [
        ["XPrompt: SampledVocab − RandomUniform", line("SampledVocab", "xprompt"), line("RandomUniform", "xprompt")],
      ],
      kept: [],
    }),
    ["init", "initRange", "initText", "initFrom", "initAnyBase"],
  ),
  parameters: tableStudy("parameters", "Parameters that survive", "Table 3", () => ({
    cases: [one],
    variants: ["pt", "xprompt"],
    pairs: [],
    kept: [line("", "xprompt")],
  })),
  "few-shot": tableStudy("few-shot", `Few-shot: ${fewShotRows} training examples`, "Table 2", ({ tasks, settings }) => {
    for (const dataset of tasks) checkRows(dataset, fewShotRows);
    const label = `${fewShotRows} examples`;
    return {
      cases: [{ label, rows: (train) => sampleFewShot(train, fewShot) }],
      variants: ["pt", "control", "xprompt"],
      pairs: [
        ["XPrompt − PT", line(label, "xprompt"), line(label, "pt")],
        ["XPrompt − PT continued", line(label, "xprompt"), line(label, "control")],
      ],
      kept: [],
      settings: {
        tasks: tasks.map((data) => rowsText({ ...data, train: sampleFewShot(data.train, fewShot) }, settings, true)),
      },
    };
  }),
  search: tableStudy(
    "search",
    "How to search",
    ours,
    (input) => {
      const all: Case[] = (["linear", "grid", "halving"] as const).map((search) => ({
        label: search,
        prune: { search },
      }));
      const variants = ["xprompt", "mean"] as const;
      // the counts of a small prompt may be too few for halving; the other two strategies always work
      const misfit = halvingMisfit(input, all[2]!, ["both"]);
      const cases = misfit === null ? all : all.slice(0, 2);
      return {
        cases,
        variants,
        pairs: [
          ["grid − linear", line("grid", "xprompt"), line("linear", "xprompt")],
          ...(misfit === null
            ? ([["halving − linear", line("halving", "xprompt"), line("linear", "xprompt")]] as const)
            : []),
        ],
        kept: [],
        notes: misfit === null ? [] : [`Halving is left out: ${misfit.problem} (${misfit.parts.hint}).`],
      };
    },
    ["search"],
  ),
  "fpt-xprompt": tableStudy("fpt-xprompt", "FPT × XPrompt", ours, (input) => {
    const fpt = { schedule: input.schedule.schedule === "vanilla" ? ("fpt-cr" as const) : input.schedule.schedule };
    const vanilla = {
      ...presetSchedule("vanilla"),
    };
    return {
      cases: [
        { label: "XPrompt", schedule: vanilla, retrain: vanilla },
        { label: "FPT in tuning", schedule: fpt, retrain: vanilla },
        { label: "FPT in retraining", schedule: vanilla, retrain: fpt },
        { label: "FPT in both", schedule: fpt, retrain: fpt },
        { label: "FPT in both, scored at half depth", schedule: fpt, retrain: fpt, prune: { importanceDepth: 0.5 } },
      ],
      variants: ["pt", "xprompt"],
      pairs: [["FPT in both − XPrompt", line("FPT in both", "xprompt"), line("XPrompt", "xprompt")]],
      kept: [],
    };
  }),
  masking: {
    title: "Masking a tuned prompt without retraining",
    source: "Fig. 2",
    unread: [level, ...ofRetraining, "finalEvalRows"],
    run: inputChecked(masking),
  },
  saliency: {
    title: "Importance of tokens and pieces",
    source: "Fig. 6, 7, 9, 10",
    unread: [level, "finalEvalRows"],
    run: inputChecked(saliency),
  },
  transfer: { title: "Transfer between tasks", source: "Table 7", unread: [level], run: inputChecked(transfer) },
} as const satisfies Record<string, XPromptStudy>;

/** Name of one of XPrompt's studies. */
export type XPromptStudyName = keyof typeof xpromptStudies;

/** Parts of a study of outcomes. */
interface Plan {
  readonly cases: readonly Case[];
  readonly variants: readonly VariantName[];
  readonly pairs: readonly (readonly [question: string, a: Line, b: Line])[];
  /** Lines whose surviving tokens and pieces get a table per task. */
  readonly kept: readonly Line[];
  /** Further notes for the reader. */
  readonly notes?: readonly string[];
  /** Settings that its cases give in place of the study's own. */
  readonly settings?: StudyResult["settings"];
}

/** @param fixed keys of options that its cases set themselves. */
function tableStudy(
  study: string,
  title: string,
  source: string,
  planOf: (input: XPromptStudyInput) => Plan,
  fixed: readonly string[] = [],
): XPromptStudy {
  return {
    title,
    source,
    unread: [level, ...fixed],
    run: inputChecked(async (input) => {
      const plan = planOf(input);
      // cases that differ in how they search share their candidates
      const found = await withRuns(input, (folder) => outcomes({ ...input, folder }, plan.cases, plan.variants));
      const lines = plan.cases.flatMap(({ label }) => linesOf(label, plan.variants, label === "" ? "" : `${label}: `));
      const from = source === ours ? ours : `XPrompt, ${source}`;
      const tables: Table[] = [scoreTable(`${title} (${from})`, found, lines, input.tasks)];
      if (plan.pairs.length > 0) tables.push(differenceTable("Questions", found, plan.pairs));
      for (const own of plan.kept) tables.push(parameterTable(found, own, input.tasks));
      return {
        study,
        title,
        tables,
        dots: [...dotsOf(tables[0]!, "average"), ...tables.flatMap(differenceDots)],
        charts: [],
        matrices: [],
        scores: seedScores(found, lines, input.tasks),
        notes: [...notes(input, plan), ...(plan.notes ?? [])],
        settings: { ...settingsOf(input), ...plan.settings },
      };
    }),
  };
}

function inputChecked(run: XPromptStudy["run"]): XPromptStudy["run"] {
  return async (given) => {
    const input = currentInput(given, "study");
    checkSeeds(input.seeds);
    checkTasks(input.tasks);
    return run(input);
  };
}

/** Why halving is impossible with these counts and budget; null if it is possible. */
function halvingMisfit(
  input: XPromptStudyInput,
  halving: Case,
  levels: readonly PruneOptions["level"][],
): SoftpromptError | null {
  try {
    checkCases(input, [halving], levels);
    return null;
  } catch (error) {
    if (error instanceof SoftpromptError && error.parts.where === "halvingBudget") return error;
    throw error;
  }
}

/** Notes that a reader needs to understand the numbers. */
function notes(input: XPromptStudyInput, { cases, variants: wanted, pairs }: Plan): string[] {
  const ownStarts = cases.some(({ init }) => init !== undefined) || wanted.includes("length");
  const said = [
    "Score × 100 by the task's first metric; ± is the sample standard deviation over seeds.",
    input.prune.holdout > 0
      ? `Prompts and candidates were chosen on ${Number((100 * input.prune.holdout).toPrecision(6))} % of the training rows, held out; the scores are of the validation rows.`
      : "The validation rows chose prompts and candidates and give the score too, as in the paper: the best of many candidates is flattered more than one run is.",
    "FLOPs and time are of everything a line needs: tuning, scoring, all its candidates, evaluations.",
    ...(pairs.length > 0 ? [ownStarts ? pairedNoteOfStarts : pairedNote] : []),
  ];
  if (wanted.includes("control"))
    said.push(
      "PT continued trains the tuned prompt for as many steps as a candidate's retraining, with a fresh optimizer and no mask.",
    );
  if (wanted.includes("mean"))
    said.push(
      input.prune.search === "halving"
        ? "The mean is over the candidates that halving trained to the end, on the reported rows: the others were chosen out before."
        : "The mean over XPrompt's candidates, on the reported rows, is what one gets without choosing among them.",
    );
  const others = (["reversed", "losing", "random"] as const).filter((name) => wanted.includes(name));
  if (others.length > 0)
    said.push(
      `${others.map((name) => `${variantTable[name].label}: ${meanings[name]}`).join("; ")}. Each goes through the same counts by the same search as XPrompt, so that every line is the best of as many tries; its mean line is what one gets without choosing.`,
    );
  if (others.length > 0 && input.prune.search === "iterative")
    said.push(
      "Only XPrompt's own survivors are scored again after each retraining: the others rank once, by the tuned prompt.",
    );
  if (wanted.includes("length"))
    said.push(
      "Length is a fresh prompt as long as XPrompt's surviving tokens, tuned as XPrompt's was and then trained on as a candidate was; it is one try, and its FLOPs and time hold the search that gave its length.",
    );
  return said;
}

const meanings = {
  reversed: "the pieces that XPrompt's mask at these counts prunes",
  losing: "the most important pruned first",
  random: "scores that are drawn instead of measured",
};

/** @throws SoftpromptError "data" where there are fewer than `count` training rows: the table would show a wrong number of rows. */
function checkRows({ task, train }: Dataset, count: number): void {
  if (train.length < count)
    throw new SoftpromptError("data", "there are too few training rows to draw from", {
      where: `few-shot, ${task.name}`,
      expected: `at least ${count} training rows`,
      got: train.length,
      hint: "give more rows, or leave out what cuts them (--few-shot)",
    });
}

/** Drawn once per task, the same for every seed, whatever their labels (xprompt.md §5.3). */
const fewShot = { count: fewShotRows, per: "any", seed: 0 } as const;
