/**
 * @file The work of softprompt prune: a search for the terminal.
 */
import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { SoftpromptError } from "../../base/errors.js";
import { pickOptions, readOptions } from "../../base/options.js";
import { openMethod, prunableForm } from "../../method/methods.js";
import { pruneCounts } from "../../prune/space.js";
import { pruneText } from "../../report/prune.js";
import { fileNames, freeFolder } from "../../run/layout.js";
import { answersFor } from "../../tasks/data.js";
import { ownRate } from "../../tasks/learning-rate.js";
import { type Model, openModel, openOptions, precisionOf } from "../../tasks/model.js";
import { pruneTuneOptions } from "../../tasks/options.js";
import { prune as pruneWhole } from "../../tasks/prune.js";
import type { Answer, CommandContext } from "../command.js";
import { modelLabel, resumedOptions, runConfigText, withResume } from "../config.js";
import { loadSaid, sayChat, sayTokenNotices } from "../data.js";
import { defaultFolder } from "../output.js";
import { modelContext } from "../progress.js";
import { samplesText, warningOf } from "../summary.js";
import { type PruneValues, pruneTable } from "../tables/prune.js";
import { trainTable } from "../tables/train.js";
import { pruneProgress } from "./prune-progress.js";

export async function prune(
  {
    resume,
    ...given
  }: { readonly resume?: string | undefined; readonly from?: string | undefined; readonly [key: string]: unknown },
  { terminal, signal, given: { resume: _resume, ...said } }: CommandContext,
): Promise<Answer> {
  const wanted =
    resume !== undefined
      ? await resumedOptions("prune", resume, pruneTable, said)
      : given.from === undefined
        ? given
        : await optionsFrom(given.from, said);
  const asked = readOptions(pruneTable, wanted, "softprompt prune") as PruneValues;
  const loaded = await loadSaid(asked, { terminal, signal });
  const output = asked.output ?? freeFolder(defaultFolder(loaded.task.name, nameOf(asked), asked.seed));
  const begun = resume ?? asked.from;
  const label = begun === undefined ? undefined : modelLabel(begun, asked.model);
  const model = await openModel(asked.model, {
    ...pickOptions(openOptions, asked),
    ...modelContext(terminal, signal),
    label,
  });
  const rateGiven = begun !== undefined || said.learningRate !== undefined;
  const options = rateGiven ? asked : { ...asked, learningRate: await ownRate(asked.method, model.checkpoint) };
  const data = answersFor(loaded, model, options);
  try {
    const notices = sayTokenNotices(data, model.tokenizer, terminal);
    await sayChat(model, terminal);
    const pruned = await withResume("search", output, () =>
      pruneWhole(model, data, {
        ...pickOptions(pruneTuneOptions, options),
        output,
        onEvent: pruneProgress(terminal, retrainings(options, widthOf(options, model))),
        signal,
        resume: resume !== undefined,
        configText: runConfigText(pruneTable, { ...options, output, precision: precisionOf(model) }, label),
      }),
    );
    const warning = warningOf(pruned.record);
    const { predictions } = pruned;
    const samples =
      predictions.length === 0 ? [] : [`${terminal.resultColors.bold("Samples")}\n${samplesText(predictions)}`];
    return {
      json: {
        ...pruned.record,
        notices,
        ...(warning !== null && { warning }),
        folder: output,
        report: pruned.report,
        adapter: join(output, fileNames.adapter),
      },
      text: `${[pruneText(pruned.record), ...samples].join("\n\n")}${warning === null ? "" : `\n\n${warning}`}\n\nrun      ${output}\nadapter  ${join(output, fileNames.adapter)}\nreport   ${pruned.report}`,
    };
  } finally {
    await model.dispose();
  }
}

const nameOf = ({ method }: PruneValues) => (method === "prompt" ? "xprompt" : `xprompt-${method}`);

/** Width of the vectors that are pruned. A method that has none is refused by the search. */
function widthOf(options: PruneValues, { checkpoint: { config } }: Pick<Model, "checkpoint">): number {
  return prunableForm(openMethod(options), config)?.width ?? config.width;
}

/**
 * Options of the run whose prompt is pruned, overridden by the given ones. Its output folder, and options that prune does not have, are not
 * taken over.
 */
async function optionsFrom(given: string, said: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>> {
  const from = runOf(given);
  const { output: _, ...run } = await resumedOptions("train", from, trainTable, {});
  return { ...pickOptions(pruneTable, run), ...said, from };
}

/** The run's folder: the given one, or that of a run whose adapter was given. @throws SoftpromptError "run" where there is none */
function runOf(folder: string): string {
  const isRun = (at: string) => existsSync(join(at, fileNames.config));
  if (isRun(folder)) return folder;
  const above = join(folder, "..");
  if (basename(resolve(folder)) === fileNames.adapter && isRun(above)) return above;
  throw new SoftpromptError("run", "there is no run here whose prompt could be pruned", {
    where: folder,
    expected: `the folder that softprompt train made, with ${fileNames.config}`,
    hint: "without --from the search tunes its own prompt first",
  });
}

/** Whole retrainings that a search makes, the control included; halving's survivors count by their share of the budget. */
function retrainings(options: PruneValues, width: number): number {
  const { tokens, pieces } = pruneCounts(options, options.virtualTokens, width);
  const linear = tokens.length + pieces.length;
  const searched = {
    linear,
    grid: Math.max(1, tokens.length) * Math.max(1, pieces.length),
    halving: options.halvingBudget * linear,
    iterative: linear,
  } satisfies Record<PruneValues["search"], number>;
  return 1 + searched[options.search];
}
