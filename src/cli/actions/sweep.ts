/**
 * @file The work of softprompt sweep: table on the terminal; page, JSON and the configuration of the best setting in a folder.
 */
import { join } from "node:path";
import { SoftpromptError } from "../../base/errors.js";
import { writeFileAtomic } from "../../base/files.js";
import { flagName, pickOptions } from "../../base/options.js";
import { shellWord } from "../../base/shell-word.js";
import { claim, fileNames } from "../../run/layout.js";
import { studyMarkdown, studyPage } from "../../study/pages.js";
import { allSweepOptions, sweep } from "../../study/sweep.js";
import { triedOptions } from "../../study/sweep-options.js";
import { openModel, openOptions } from "../../tasks/model.js";
import type { Answer, CommandContext } from "../command.js";
import { configText, runConfigText, withResume } from "../config.js";
import { loadSaid, sayChat, sayTokenNotices } from "../data.js";
import { keepEarlierReport } from "../earlier-report.js";
import { valueFromText } from "../flags.js";
import { safeName } from "../output.js";
import { modelContext } from "../progress.js";
import { type SweepValues, sweepTable } from "../tables/sweep.js";
import { trainTable } from "../tables/train.js";
import { studyProgress } from "./study.js";

export async function sweepAnswer(options: SweepValues, { terminal, signal, given }: CommandContext): Promise<Answer> {
  const tried = triedValues(options.try);
  if (options.precision === "auto")
    throw new SoftpromptError(
      "usage",
      "the trainings of a sweep must be computed alike, also when it is gone on with",
      {
        where: flagName("precision"),
        expected: "float32 or int8",
        got: "auto",
        hint: "softprompt doctor --model NAME says what auto would take here",
      },
    );
  const loaded = await loadSaid(options, { terminal, signal });
  const folder = options.output ?? join("sweeps", safeName(loaded.task.name));
  // its files are written at its end, so a folder with a run, a search or the user's own files is refused here
  claim(folder, "study", true);
  const model = await openModel(options.model, {
    ...pickOptions(openOptions, options),
    ...modelContext(terminal, signal),
  });
  try {
    const notices = sayTokenNotices(loaded, model.tokenizer, terminal, options);
    await sayChat(model, terminal);
    const found = await withResume("study", folder, () =>
      sweep(model, loaded, {
        ...pickOptions(allSweepOptions, given),
        try: tried,
        output: folder,
        onEvent: studyProgress(terminal),
        signal,
      }),
    );
    const { study, best, settings } = found;
    const earlier = await keepEarlierReport(folder, sweepTable, options, study);
    if (earlier !== null) terminal.warn(`the report that was here ${earlier.differs}: it is kept in ${earlier.folder}`);
    const report = join(folder, fileNames.report);
    const config = join(folder, fileNames.best);
    // where rows and model are, as they were given, and what was found
    const training = {
      ...pickOptions(trainTable, given),
      ...Object.fromEntries(Object.keys(tried).map((key) => [key, undefined])),
      ...best,
    };
    writeFileAtomic(join(folder, fileNames.config), configText(sweepTable, { ...options, output: folder }));
    writeFileAtomic(config, runConfigText(trainTable, { ...training, output: undefined }, undefined));
    writeFileAtomic(
      join(folder, fileNames.result),
      `${JSON.stringify({ ...study, best, ranked: settings }, null, 2)}\n`,
    );
    writeFileAtomic(join(folder, fileNames.summary), `${studyMarkdown(study)}\n`);
    writeFileAtomic(report, studyPage(study));
    return {
      json: { ...study, best, ranked: settings, notices, report, config, earlier: earlier?.folder ?? null },
      text: [
        studyMarkdown(study),
        "",
        `best    ${settings[0]!.label}`,
        `train   softprompt train --config ${shellWord(config)}`,
        `report  ${report}`,
        ...(earlier === null ? [] : [`earlier report  ${join(earlier.folder, fileNames.report)}`]),
      ].join("\n"),
    };
  } finally {
    await model.dispose();
  }
}

/** The values of `--try`, by the options' own rules; a name may be that of the flag. @throws SoftpromptError "usage" */
function triedValues(texts: Readonly<Record<string, string>>): Record<string, unknown[]> {
  const found: Record<string, unknown[]> = {};
  for (const [name, text] of Object.entries(texts)) {
    const key = name.replace(/^--/, "").replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
    const where = `--try ${name}`;
    if (found[key] !== undefined)
      throw new SoftpromptError("usage", "an option is tried under two names", {
        where,
        expected: "each option once",
        got: name,
      });
    const option = Object.hasOwn(triedOptions, key) ? triedOptions[key]! : null;
    if (option?.kind === "list" || option?.kind === "map")
      throw new SoftpromptError("usage", "an option that is a list itself cannot be tried on the command line", {
        where,
        expected: "an option of one value",
        got: name,
        hint: "the library's sweep() takes lists of lists",
      });
    // sweep() refuses what is not known
    found[key] = text.split(",").map((value) => (option === null ? value : valueFromText(option, value.trim(), where)));
  }
  return found;
}
