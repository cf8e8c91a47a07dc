/**
 * @file The commands of the command line: one table, one file per command.
 */
import type { Command } from "./command.js";
import { docs } from "./commands/docs.js";
import { doctor } from "./commands/doctor.js";
import { evaluate } from "./commands/eval.js";
import { inspect } from "./commands/inspect.js";
import { predict } from "./commands/predict.js";
import { prune } from "./commands/prune.js";
import { quickstart } from "./commands/quickstart.js";
import { report } from "./commands/report.js";
import { show } from "./commands/show.js";
import { compare, study } from "./commands/study.js";
import { train } from "./commands/train.js";

/** Name → command, in the order of `softprompt --help`. */
export const commands: Readonly<Record<string, Command>> = {
  quickstart,
  doctor,
  inspect,
  show,
  train,
  eval: evaluate,
  predict,
  prune,
  compare,
  study,
  report,
  docs: docs(() => commands),
};
