/**
 * @file softprompt quickstart: a whole tuning on the bundled model and data, in under three minutes on two cores.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { readOptions, string } from "../../base/options.js";
import { shellWord } from "../../tasks/shell.js";
import { command } from "../command.js";
import { quickstartSettings } from "../quickstart-settings.js";
import { type TrainValues, trainAnswer, trainTable } from "./train.js";

export const quickstart = command({
  summary: "tune a prompt on the bundled model and data; under three minutes on two cores",
  description:
    "Learns 20 virtual tokens on the bundled t5-nano with bundled labelled rows, shows the curve as it goes, and prints the score before (no prompt) and after, the majority-class baseline, seconds, FLOPs, adapter size, sample predictions, and where the run folder and its report are. Needs no network.",
  positionals: [],
  sections: {
    Quickstart: {
      output: string({
        placeholder: "folder",
        help: "Run folder",
        source: "default runs/quickstart, or the next free runs/quickstart-N",
      }),
    },
  },
  examples: ["softprompt quickstart", "npm run quickstart"],
  async run({ output }, _, { terminal, signal }) {
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
  },
});

/** The folder, or the next free one with a number behind it. */
function freeFolder(name: string): string {
  for (let n = 1; ; n++) {
    const folder = n === 1 ? name : `${name}-${n}`;
    if (!existsSync(join(folder, "run.json"))) return folder;
  }
}
