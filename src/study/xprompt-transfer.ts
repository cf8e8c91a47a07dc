/**
 * @file Transfer between two tasks (XPrompt Table 7, xprompt.md §8): TaskTransfer, XPromptTransfer_o, XPromptTransfer.
 *
 * In: XPromptStudyInput with two tasks or more. Out: scores on each target, whose source is the task before it in the list (for the first
 * task, the last one). A source's pruned entries are zeros in the target's start, and all of them can be trained again.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Dataset } from "../data/row.js";
import { withRuns } from "./runs.js";
import { dotsOf, pairedNoteOfStarts, type StudyResult } from "./study.js";
import { type Case, outcomes, settingsOf, withCase } from "./xprompt-runs.js";
import { differenceTable, type Line, scoreTable, seedScores } from "./xprompt-tables.js";
import type { XPromptStudyInput } from "./xprompt-types.js";
import { pick } from "./xprompt-variants.js";

export async function transfer(input: XPromptStudyInput): Promise<StudyResult> {
  const { tasks } = input;
  if (tasks.length < 2)
    throw new SoftpromptError("usage", "transfer needs a task to come from and a task to go to", {
      where: "transfer",
      expected: "two tasks or more",
      got: tasks.length,
    });
  if (input.prune.prunedTokens === "drop")
    throw new SoftpromptError("usage", "a prompt without its pruned tokens is too short for the target", {
      where: "prunedTokens",
      expected: "zero",
      got: "drop",
    });
  const sourceOf = ({ task }: Dataset) => tasks.at(tasks.findIndex((d) => d.task.name === task.name) - 1)!;
  const result = await withRuns(input, async (folder) => {
    const kept = { ...input, folder };
    /** The source's prompt: plainly tuned, or XPrompt's. */
    const from = (which: "tuned" | "xprompt") => (target: Dataset, seed: number) =>
      withCase(kept, sourceOf(target), seed, { label: "" }, folder, async (search) => {
        const prompt = which === "tuned" ? search.tuned.prompt : (await pick(search, "both")).best.prompt;
        return { kind: "fromPrompt" as const, prompt };
      });
    const cases: Case[] = [
      { label: "" },
      { label: "TaskTransfer", init: from("tuned") },
      { label: "XPromptTransfer", init: from("xprompt") },
    ];
    const alone = await outcomes(kept, [cases[0]!], ["pt", "xprompt"]);
    const task = await outcomes(kept, [cases[1]!], ["pt"]);
    const x = await outcomes(kept, [cases[2]!], ["pt", "xprompt"]);
    return [...alone, ...task, ...x];
  });
  const lines = {
    pt: { label: "PT", case: "", variant: "pt" },
    xprompt: { label: "XPrompt", case: "", variant: "xprompt" },
    task: { label: "TaskTransfer", case: "TaskTransfer", variant: "pt" },
    xo: { label: "XPromptTransfer_o", case: "XPromptTransfer", variant: "pt" },
    x: { label: "XPromptTransfer", case: "XPromptTransfer", variant: "xprompt" },
  } as const satisfies Record<string, Line>;
  const scores = scoreTable(
    "Transfer between tasks (XPrompt, Table 7): scores on the target",
    result,
    Object.values(lines),
    tasks,
  );
  return {
    study: "transfer",
    title: "Transfer between tasks",
    tables: [
      scores,
      differenceTable("Questions", result, [
        ["TaskTransfer − PT", lines.task, lines.pt],
        ["XPromptTransfer_o − TaskTransfer", lines.xo, lines.task],
        ["XPromptTransfer − XPrompt", lines.x, lines.xprompt],
        ["XPromptTransfer − XPromptTransfer_o", lines.x, lines.xo],
      ]),
    ],
    dots: dotsOf(scores, "average"),
    charts: [],
    matrices: [],
    scores: seedScores(result, Object.values(lines), tasks),
    notes: [
      `Source → target: ${tasks.map((target) => `${sourceOf(target).task.name} → ${target.task.name}`).join(", ")}.`,
      "_o tunes the target plainly from XPrompt's source prompt; without it the target goes through all of XPrompt.",
      "FLOPs and time are the target's; the source's training comes on top.",
      pairedNoteOfStarts,
    ],
    settings: settingsOf(input),
  };
}
