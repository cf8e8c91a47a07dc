/**
 * @file softprompt prune: XPrompt: tunes a prompt, scores its tokens and pieces, prunes, rewinds, retrains, chooses.
 */
import { join } from "node:path";
import { type OptionTable, type OptionValues, pickOptions, readOptions, string } from "../../base/options.js";
import { pruneOptions } from "../../prune/options.js";
import type { SearchEvent } from "../../prune/search.js";
import { scoreText, secondText } from "../../report/format.js";
import { pruneText } from "../../report/prune.js";
import { dataOptions } from "../../tasks/data.js";
import { openModel, openOptions } from "../../tasks/model.js";
import { modelOptions, promptOptions } from "../../tasks/options.js";
import { pruneTuneOptions, prune as pruneWhole } from "../../tasks/prune.js";
import type { WorkEvent } from "../../tasks/tune.js";
import { command } from "../command.js";
import { modelLabel, resumedOptions, runConfigText } from "../config.js";
import { loadSaid, sayTokenNotices } from "../data.js";
import { defaultFolder } from "../output.js";
import { modelContext, progress } from "../progress.js";
import { samplesText } from "../summary.js";
import type { Terminal } from "../terminal.js";
import { optionalModel, trainSections } from "./train.js";

export const prune = command({
  summary: "XPrompt: prune a prompt to its best tokens and pieces",
  description:
    "Tunes a prompt, scores every token and piece by one pass over the training rows, prunes to many candidates, rewinds and retrains each, and keeps the best. A control that simply trains on for as many steps, and the mean of the candidates' selection scores, are always reported beside the best. Everything done is kept: --resume with the folder goes on, with the options in its config.yaml.",
  positionals: [],
  sections: {
    Model: optionalModel,
    Data: dataOptions,
    Prompt: promptOptions,
    "Pruning (XPrompt)": { ...pruneOptions, retrainSchedule: pruneTuneOptions.retrainSchedule },
    Training: trainSections.Training,
    "Schedule of the tuning (Fast Prompt Tuning)": trainSections["Schedule (Fast Prompt Tuning)"],
    Run: {
      ...trainSections.Run,
      tensorboard: pruneTuneOptions.tensorboard,
      resume: string({
        placeholder: "search's folder",
        help: "Go on with an interrupted search; which candidates are tried may change, anything else is refused",
      }),
    },
  },
  examples: [
    "softprompt prune --model t5-nano --task rte --data datasets/RTE --steps 400 --output runs/rte-xprompt",
    "softprompt prune --config prune.yaml --search halving --holdout 0.2",
    "softprompt prune --resume runs/rte-xprompt",
  ],
  async run({ resume, ...given }, _, { terminal, signal, given: { resume: _resume, ...said } }) {
    const wanted = resume === undefined ? given : await resumedOptions("prune", resume, table, said);
    const options = readOptions(table, wanted, "softprompt prune") as PruneValues;
    const data = await loadSaid(options, { terminal, signal });
    const output = options.output ?? defaultFolder(data.task.name, "xprompt", options.seed);
    const label = resume === undefined ? undefined : modelLabel(resume, options.model);
    const model = await openModel(options.model, pickOptions(openOptions, options), {
      ...modelContext(terminal, signal),
      label,
    });
    try {
      const notices = sayTokenNotices(data, model.tokenizer, terminal);
      const pruned = await pruneWhole(
        model,
        data,
        { ...pickOptions(pruneTuneOptions, options), output },
        {
          observe: pruneProgress(terminal),
          signal,
          resume: resume !== undefined,
          configText: runConfigText(table, { ...options, output }, label),
        },
      );
      const { predictions } = pruned;
      const samples =
        predictions.length === 0 ? [] : [`${terminal.resultColors.bold("Samples")}\n${samplesText(predictions)}`];
      return {
        json: { ...pruned.record, notices, folder: output, report: pruned.report, adapter: join(output, "adapter") },
        text: `${[pruneText(pruned.record), ...samples].join("\n\n")}\n\nrun      ${output}\nadapter  ${join(output, "adapter")}\nreport   ${pruned.report}`,
      };
    } finally {
      await model.dispose();
    }
  },
});

/** Everything that decides a search, in the order of its config.yaml. */
const tables = { ...modelOptions, ...dataOptions, ...promptOptions, ...pruneTuneOptions };
const table: OptionTable = tables;
type PruneValues = OptionValues<typeof tables>;

const phases = {
  tune: "tuning the whole prompt",
  score: "scoring tokens and pieces",
  control: "control: tuning on without pruning",
  search: "retraining pruned candidates",
  report: "scoring what was chosen",
} satisfies Record<Extract<SearchEvent, { kind: "phase" }>["phase"], string>;

function pruneProgress(terminal: Terminal) {
  let watch = progress(terminal);
  let current = "";
  return (event: SearchEvent | WorkEvent) => {
    if (event.kind === "work" || event.kind === "baseline") watch(event);
    else if (event.kind === "phase") terminal.note(terminal.colors.bold(`${phases[event.phase]} …`));
    else if (event.kind === "tune") watch(event.event);
    else if (event.kind === "candidate") {
      if (event.name !== current) watch = progress(terminal);
      current = event.name;
      // Evaluations of every candidate would flood the screen; its outcome follows in one line.
      if (event.event.kind === "step" && terminal.live) watch(event.event);
    } else if (event.kind === "retrained") {
      const { name, counts, score, cost, finished } = event.candidate;
      terminal.note(
        `${name}: ${counts.tokens} tokens, ${counts.parameters} parameters, ${scoreText(score)}${finished ? "" : " (stopped)"} (${secondText(cost.seconds)})`,
      );
    }
  };
}
