/**
 * @file softprompt quickstart, declared: a whole tuning on the bundled model and data. The work itself is ../work/quickstart.ts.
 */
import { string } from "../../base/options.js";
import { command } from "../command.js";

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
  saves: true,
  run: async ({ output }, _, context) => (await import("../work/quickstart.js")).quickstart(output, context),
});
