/**
 * @file The work of softprompt quickstart: train with fixed settings in a free folder; for another model the settings are adapted.
 */
import { join } from "node:path";
import { readOptions } from "../../base/options.js";
import { packageFile } from "../../base/package.js";
import { shellWord } from "../../base/shell-word.js";
import { vocabularySize } from "../../method/init.js";
import { architectureOf } from "../../model/architectures.js";
import { type Checkpoint, openCheckpoint } from "../../model/checkpoint.js";
import { fileNames, freeFolder } from "../../run/layout.js";
import { modelFolder } from "../../tasks/model.js";
import type { Answer, CommandContext } from "../command.js";
import { modelContext } from "../progress.js";
import {
  largeModel,
  largeSettings,
  quickstartContinued,
  quickstartScale,
  quickstartSettings,
} from "../quickstart-settings.js";
import type { QuickstartValues } from "../tables/quickstart.js";
import { type TrainValues, trainTable } from "../tables/train.js";
import { trainAnswer } from "./train.js";

export async function quickstart(
  { output, ...given }: QuickstartValues,
  { terminal, signal }: Pick<CommandContext, "terminal" | "signal">,
): Promise<Answer> {
  const model = given.model ?? quickstartSettings.model;
  const own =
    given.model === undefined
      ? {}
      : await settingsFor(
          await openCheckpoint((await modelFolder(model, given, modelContext(terminal, signal))).folder, {
            name: model,
          }),
        );
  const settings = {
    ...quickstartSettings,
    ...own,
    ...given,
    model,
    output: output ?? freeFolder(join("runs", "quickstart")),
  };
  const options = readOptions(trainTable, settings, "softprompt quickstart") as TrainValues;
  const { resultColors: c } = terminal;
  const timed = given.model !== undefined;
  const answer = await trainAnswer(options, { terminal, signal, resume: false, rateGiven: true, timed });
  if (answer.exitCode) return answer;
  // npm or npx started this: the bare name need not be on the path
  const program = process.env.npm_command === undefined ? "softprompt" : "npx softprompt";
  const next = [
    "",
    c.bold("Next"),
    `  ${program} predict "your own text" --model ${shellWord(model)} --adapter ${shellWord(join(options.output!, fileNames.adapter))}`,
    `  ${program} train --help`,
  ];
  return { ...answer, text: `${answer.text}\n${next.join("\n")}` };
}

async function settingsFor(checkpoint: Checkpoint): Promise<Record<string, unknown>> {
  const { config, parameters } = checkpoint;
  const architecture = architectureOf(config);
  const size = await vocabularySize(checkpoint);
  const { task, ...rows } = quickstartContinued;
  return {
    learningRate: Number(((quickstartSettings.learningRate * size) / quickstartScale).toPrecision(2)),
    ...(parameters > largeModel ? largeSettings : {}),
    ...(architecture.taskType === "CAUSAL_LM"
      ? { ...rows, task, train: packageFile(rows.train), validation: packageFile(rows.validation) }
      : {}),
  };
}
