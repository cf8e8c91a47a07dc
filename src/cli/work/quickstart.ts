/**
 * @file The work of softprompt quickstart: train with fixed settings in a free folder.
 */
import { join } from "node:path";
import { readOptions } from "../../base/options.js";
import { shellWord } from "../../tasks/shell.js";
import type { Answer, CommandContext } from "../command.js";
import { freeFolder } from "../output.js";
import { quickstartSettings } from "../quickstart-settings.js";
import { type TrainValues, trainTable } from "../tables/train.js";
import { trainAnswer } from "./train.js";

export async function quickstart(output: string | undefined, { terminal, signal }: CommandContext): Promise<Answer> {
  const settings = {
    ...quickstartSettings,
    output: output ?? freeFolder(join("runs", "quickstart")),
  };
  const options = readOptions(trainTable, settings, "softprompt quickstart") as TrainValues;
  const { resultColors: c } = terminal;
  const answer = await trainAnswer(options, { terminal, signal, resume: false });
  if (answer.exitCode) return answer;
  const next = [
    "",
    c.bold("Next"),
    `  softprompt predict "your own text" --model t5-nano --adapter ${shellWord(join(options.output!, "adapter"))}`,
    "  softprompt train --help",
  ];
  return { ...answer, text: `${answer.text}\n${next.join("\n")}` };
}
