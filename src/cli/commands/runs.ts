/**
 * @file softprompt runs, declared. The work itself is ../actions/runs.ts.
 */
import { choice } from "../../base/options.js";
import { command } from "../command.js";

export const runs = command({
  summary: "list the runs under a folder: state, steps, best score, cost",
  description:
    "Finds every training, search and finished training of a comparison or study under the folder, from its files alone. The states: running (a process holds the folder), done, stopped (it can be resumed), failed (its last steps were not finite), unreadable (the line says why; the list goes on). The score is the best evaluation's, by the task's first metric; the rows it was measured on may differ from run to run. A search's steps are those of the chosen candidate's retraining; of one without a result, as within a study, steps and score are its tuning's. Links are not followed, and what a search trains is part of its one line.",
  positionals: [{ name: "folder", help: "where to look (default runs)", required: false }],
  sections: {
    List: {
      sort: choice({
        values: ["written", "score"],
        default: "written",
        help: "Newest first, or best score first",
      }),
    },
  },
  examples: ["softprompt runs", "softprompt runs experiments --sort score", "softprompt runs --json"],
  run: async (options, [folder]) => (await import("../actions/runs.js")).runs(options, folder),
});
