/**
 * @file The commands of the command line: one table, one file per command.
 */
import type { Command } from "./command.js";
import { docs } from "./commands/docs.js";
import { doctor } from "./commands/doctor.js";
import { inspect } from "./commands/inspect.js";

/** Name → command, in the order of `softprompt --help`. */
export const commands: Readonly<Record<string, Command>> = {
  doctor,
  inspect,
  docs: docs(() => commands),
};
