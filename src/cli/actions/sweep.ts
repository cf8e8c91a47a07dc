/**
 * @file The work of softprompt sweep: table on the terminal; page, JSON and the configuration of the best setting in a folder.
 */
import { join } from "node:path";
import { SoftpromptError } from "../../base/errors.js";
import { writeFileAtomic } from "../../base/files.js";
import { parseJson } from "../../base/json.js";
import { pickOptions, readOptions } from "../../base/options.js";
import { shellWord } from "../../base/shell-word.js";
import { claim, fileNames } from "../../run/layout.js";
import { owning } from "../../study/call.js";
import { studyMarkdown } from "../../study/pages.js";
import { allSweepOptions, checkTried, planSweep, runSweep } from "../../study/sweep.js";
import { triedOptions } from "../../study/sweep-options.js";
import { openModel, openOptions } from "../../tasks/model.js";
import type { Answer, CommandContext } from "../command.js";
import { runConfigText, withResume } from "../config.js";
import { loadSaid, sayChat, sayTokenNotices } from "../data.js";
import { valueFromText } from "../flags.js";
import { safeName } from "../output.js";
import { modelContext } from "../progress.js";
import { refuseAuto, writeStudyReport } from "../study-report.js";
import { type SweepValues, sweepTable } from "../tables/sweep.js";
import { trainTable } from "../tables/train.js";
import { studyProgress } from "./study.js";

export async function sweepAnswer(
  options: SweepValues,
  { terminal, signal, given, flags }: CommandContext,
): Promise<Answer> {
  const tried = triedValues(options.try);
  // as flags override a configuration, so does what is tried; a run's configuration names every option
  const own = Object.fromEntries(
    Object.entries(given).filter(([key]) => Object.hasOwn(flags, key) || !Object.hasOwn(tried, key)),
  );
  checkTried(tried, own);
  refuseAuto(options.precision, "the trainings of a sweep");
  const loaded = await loadSaid(options, { terminal, signal });
  // a configuration without anything to try is a run's, and its folder that run's
  const output = (flags.try === undefined ? options.output : flags.output) as string | undefined;
  const folder = output ?? join("sweeps", safeName(loaded.task.name));
  // its files are written at its end, so a folder with a run, a search or the user's own files is refused here
  claim(folder, "study", true);
  const model = await openModel(options.model, {
    ...pickOptions(openOptions, options),
    ...modelContext(terminal, signal),
  });
  try {
    const notices = sayTokenNotices(loaded, model.tokenizer, terminal, options);
    await sayChat(model, terminal);
    const planned = await planSweep(model, loaded, {
      ...pickOptions(allSweepOptions, own),
      try: tried,
      output: folder,
      onEvent: studyProgress(terminal),
      signal,
    });
    return await owning(folder, () =>
      withResume("study", folder, async () => {
        const { study, best, settings } = await runSweep(planned);
        const recorded = { ...own, try: tried };
        const result = { ...study, best, ranked: settings };
        const read = readOptions(sweepTable, { ...recorded, output: folder }, "softprompt sweep");
        const told = await writeStudyReport({ folder, table: sweepTable, options: read, recorded, result }, terminal);
        const config = join(folder, fileNames.best);
        // where model and rows are, as they were given; of a training's options those that the best setting reads
        const training = { ...withoutKeys(pickOptions(trainTable, own), allSweepOptions), ...best };
        writeFileAtomic(config, runConfigText(trainTable, training, undefined));
        const { report, earlier, lines } = told;
        return {
          json: { ...result, notices, report, config, earlier },
          text: [
            studyMarkdown(study),
            "",
            `best    ${settings[0]!.label}`,
            `train   softprompt train --config ${shellWord(config)}`,
            ...lines,
          ].join("\n"),
        };
      }),
    );
  } finally {
    await model.dispose();
  }
}

/** Whether the values of `--try` can be tried beside the other options. @throws SoftpromptError "usage" */
export function checkTries(options: Readonly<Record<string, unknown>>): void {
  checkTried(triedValues(options.try as Readonly<Record<string, string>>), options);
}

const withoutKeys = (from: object, table: object) =>
  Object.fromEntries(Object.entries(from).filter(([key]) => !Object.hasOwn(table, key)));

/**
 * The values of `--try`, by the options' own rules: between commas, or a list in JSON. A name may be that of the flag. @throws SoftpromptError
 * "usage"
 */
function triedValues(texts: Readonly<Record<string, string>>): Record<string, readonly unknown[]> {
  const found: Record<string, readonly unknown[]> = {};
  for (const [name, text] of Object.entries(texts)) {
    const key = name.replace(/^--/, "").replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
    const where = `--try ${name}`;
    if (Object.hasOwn(found, key))
      throw new SoftpromptError("usage", "an option is tried under two names", {
        where,
        expected: "each option once",
        got: name,
      });
    if (Object.hasOwn(sweepTable, key) && !Object.hasOwn(triedOptions, key))
      throw new SoftpromptError("usage", "this option cannot be tried", {
        where,
        expected: "an option of the method, the prompt, the training or the schedule",
        got: name,
        hint: "run a sweep for each of its values",
      });
    const listed = text.startsWith("[") ? parseJson(text, where, "usage") : null;
    found[key] = Array.isArray(listed) ? listed : valuesBetween(text, key, where);
  }
  return found;
}

/** @throws SoftpromptError "usage" for what is no value of the option, and for an option whose values have commas themselves */
function valuesBetween(text: string, key: string, where: string): readonly unknown[] {
  const option = Object.hasOwn(triedOptions, key) ? triedOptions[key]! : null;
  if (option?.kind === "list" || option?.kind === "map")
    throw new SoftpromptError("usage", "the values of this option have commas themselves", {
      where,
      expected: `a list of values in JSON: ${option.kind === "list" ? "[[10,20],[5,25]]" : '[{"a":"b"}]'}`,
      got: text,
    });
  // checkTried refuses what is not known
  return text.split(",").map((value) => (option === null ? value : valueFromText(option, value.trim(), where)));
}
