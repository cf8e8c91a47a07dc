/**
 * @file The commands of the command line: name → how its declaration is loaded. One file per command.
 *
 * A command is loaded only when it is used: `softprompt --version` loads no command, `softprompt train --help` only that one's
 * options. The modules of its work (the engine, the tasks) are loaded by actions/ when it runs.
 */
import type { Command } from "./command.js";

export type Loaders = Readonly<Record<string, () => Promise<Command>>>;

/** In the order of `softprompt --help`. */
export const commands: Loaders = {
  quickstart: async () => (await import("./commands/quickstart.js")).quickstart,
  doctor: async () => (await import("./commands/doctor.js")).doctor,
  inspect: async () => (await import("./commands/inspect.js")).inspect,
  show: async () => (await import("./commands/show.js")).show,
  train: async () => (await import("./commands/train.js")).train,
  eval: async () => (await import("./commands/eval.js")).evaluate,
  predict: async () => (await import("./commands/predict.js")).predict,
  generate: async () => (await import("./commands/generate.js")).generate,
  serve: async () => (await import("./commands/serve.js")).serve,
  export: async () => (await import("./commands/export.js")).exportAdapter,
  prune: async () => (await import("./commands/prune.js")).prune,
  sweep: async () => (await import("./commands/sweep.js")).sweep,
  compare: async () => (await import("./commands/study.js")).compare,
  study: async () => (await import("./commands/study.js")).study,
  runs: async () => (await import("./commands/runs.js")).runs,
  studio: async () => (await import("./commands/studio.js")).studio,
  report: async () => (await import("./commands/report.js")).report,
  docs: async () => (await import("./commands/docs.js")).docs(() => loadCommands(commands)),
};

/** All declarations, for help and documentation of all commands. */
export async function loadCommands(loaders: Loaders = commands): Promise<Record<string, Command>> {
  const all: Record<string, Command> = {};
  for (const [name, load] of Object.entries(loaders)) all[name] = await load();
  return all;
}
