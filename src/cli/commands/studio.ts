/**
 * @file softprompt studio, declared: a page in the browser over a folder of runs. The work itself is ../actions/studio.ts.
 */
import { boolean } from "../../base/options.js";
import { studioOptions } from "../../studio/options.js";
import { command } from "../command.js";

export const studio = command({
  summary: "open a page in the browser: watch runs, start and stop them, compare, try prompts",
  description:
    "Serves a page on this machine alone (127.0.0.1) and tells its address, which holds a token. The page shows every run under the folder with its curves as it trains, on steps, time or FLOPs; starts trainings, searches, sweeps and comparisons from forms made of the same options as the command line, one after another, each in a process of its own; stops them, so that they save, and goes on with them; puts runs beside each other; shows what a prompt got wrong and the words nearest to its vectors; and asks several prompts, and the frozen model without one, the same question. Nothing is fetched from elsewhere. Ctrl-C stops what the studio has started, waits until it is saved, and ends. From another machine: ssh -L 8018:127.0.0.1:8018.",
  positionals: [{ name: "folder", help: "folder of the runs (default runs)", required: false }],
  sections: {
    Studio: { ...studioOptions, open: boolean({ default: false, help: "Open the page in this machine's browser" }) },
  },
  examples: ["softprompt studio", "softprompt studio experiments --port 9000", "softprompt studio --read-only --open"],
  saves: "stopping what runs and waiting until it is saved",
  run: async (options, [folder], context) => (await import("../actions/studio.js")).studio(options, folder, context),
});
