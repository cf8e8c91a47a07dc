/**
 * @file The work of softprompt study and compare: table on the terminal, page and JSON in a folder.
 */
import { join } from "node:path";
import { SoftpromptError } from "../../base/errors.js";
import { ownFolder } from "../../base/files.js";
import { type FolderLock, lockFolder } from "../../base/lock.js";
import { type OptionValues, pickOptions } from "../../base/options.js";
import type { Dataset } from "../../data/row.js";
import { pruneOptions } from "../../prune/options.js";
import { plainTable } from "../../report/markdown.js";
import { claim, fileNames } from "../../run/layout.js";
import { neuronScoreOptions } from "../../schedule/neuron-options.js";
import { scheduleOptions } from "../../schedule/options.js";
import { withPlannedSteps } from "../../schedule/schedule.js";
import { checkSharedInit, checkStudyName, ignoredOptions, unreadOptions } from "../../study/call.js";
import { type FptStudy, type FptStudyName, fptStudies } from "../../study/fpt.js";
import type { RunsLeft } from "../../study/left.js";
import { type ComparisonOptions, comparisonOptions } from "../../study/method-options.js";
import { compareMethods, methodStudies } from "../../study/methods.js";
import { studyMarkdown } from "../../study/pages.js";
import { withReference } from "../../study/reference.js";
import { checkSeeds, type StudyEvent } from "../../study/runs.js";
import type { StudyResult } from "../../study/study.js";
import { type XPromptStudy, xpromptStudies } from "../../study/xprompt.js";
import type { XPromptStudyEvent } from "../../study/xprompt-types.js";
import { answersFor, dataOptions, quickstartTask } from "../../tasks/data.js";
import { ownRate, sayRate } from "../../tasks/learning-rate.js";
import { openModel, openOptions } from "../../tasks/model.js";
import { initSpec } from "../../tasks/planning.js";
import { forPrompt } from "../../tasks/readied.js";
import { repeatedOptions } from "../../train/options.js";
import type { Answer, CommandContext } from "../command.js";
import { readConfig, withResume } from "../config.js";
import { loadSaid, sayNotices, sayTokenNotices } from "../data.js";
import { leftText } from "../overall.js";
import { modelContext, progress, scoresText } from "../progress.js";
import { refuseAuto, writeStudyReport } from "../study-report.js";
import { type StudyValues, studyTable } from "../tables/study.js";
import type { Terminal } from "../terminal.js";
import { refuseUnread } from "../unread.js";

const studies: Readonly<Record<string, Pick<FptStudy | XPromptStudy, "title" | "source">>> = {
  ...fptStudies,
  ...methodStudies,
  ...xpromptStudies,
};

/** @param name of the study; without it, the list of them. */
export async function study(
  options: Partial<StudyValues>,
  name: string | undefined,
  context: CommandContext,
): Promise<Answer> {
  if (name === undefined) return studyList();
  checkName(name);
  for (const key of ["model", "tasks"] as const)
    if (options[key] === undefined)
      throw new SoftpromptError("usage", `${key} is missing`, {
        where: `softprompt study ${name}`,
        expected: `--${key}`,
      });
  return studyAnswer(name, options as StudyValues, context);
}

function studyList(): Answer {
  const rows = Object.entries(studies).map(([name, { title, source }]) => [
    name,
    title,
    /^(Table|Fig)/.test(source) ? `XPrompt ${source}` : source,
  ]);
  return {
    json: rows.map(([name, title, source]) => ({ name, title, source })),
    text: plainTable([["study", "question", "where the paper has it"], ...rows]),
  };
}

const checkName = (name: string) => checkStudyName(name, "softprompt study", "softprompt study lists them");

export async function studyAnswer(
  name: string,
  asked: StudyValues,
  { terminal, signal, given, flags }: CommandContext,
): Promise<Answer> {
  checkName(name);
  const ignored = ignoredOptions(name, given);
  const unread = unreadOptions[name]!.filter((key) => Object.hasOwn(flags, key) || ignored.includes(key));
  refuseUnread("this study", `softprompt study ${name}`, unread, given);
  checkSeeds(asked.seeds);
  refuseAuto(asked.precision, "the runs of a study");
  checkSharedInit(asked, Object.keys(asked.tasks).length, `softprompt study ${name}`);
  const folder = asked.output ?? join("studies", name);
  // a study writes its files at its end, so a folder with a run, a search or the user's own files is refused here
  claim(folder, "study", true);
  const loaded: Dataset[] = [];
  for (const [task, place] of Object.entries(asked.tasks))
    loaded.push(await taskData(task, place, asked.fewShot, { terminal, signal }));
  const model = await openModel(asked.model, {
    ...pickOptions(openOptions, asked),
    ...modelContext(terminal, signal),
  });
  const options =
    given.learningRate === undefined ? { ...asked, learningRate: await ownRate("prompt", model.checkpoint) } : asked;
  const say = ({ message }: { readonly message: string }) => terminal.warn(message);
  // the methods study has rates of its own
  if (!unreadOptions[name]!.includes("learningRate")) await sayRate(model, { ...options, method: "prompt" }, say);
  const tasks = loaded.map((data) => answersFor(data, model, options));
  let lock: FolderLock | undefined;
  try {
    // a second command would train the same runs, and replace this one's report
    lock = lockFolder(folder);
    const notices = tasks.flatMap((data) =>
      sayTokenNotices(data, model.tokenizer, terminal, { of: data.task.name }).map(
        (notice) => `${data.task.name}: ${notice}`,
      ),
    );
    const shared = {
      engine: model.engine,
      tokenizer: forPrompt(model, options.virtualTokens).tokenizer,
      tasks,
      seeds: options.seeds,
      settings: {
        ...(pickOptions(repeatedOptions, options) as OptionValues<typeof repeatedOptions>),
        seed: options.seeds[0] ?? 0,
      },
      schedule: withPlannedSteps(pickOptions(scheduleOptions, options) as OptionValues<typeof scheduleOptions>),
      virtualTokens: options.virtualTokens,
      init: await initSpec(options, tasks[0]!, model, {
        onEvent: say,
        signal,
      }),
      scoring: pickOptions(neuronScoreOptions, options) as OptionValues<typeof neuronScoreOptions>,
      folder: ownFolder(folder, fileNames.runs),
      signal,
    };
    const observe = studyProgress(terminal);
    const prune = pickOptions(pruneOptions, options) as OptionValues<typeof pruneOptions>;
    const comparison = pickOptions(comparisonOptions, options) as ComparisonOptions;
    const made: StudyResult = await withResume("study", folder, async () =>
      Object.hasOwn(fptStudies, name)
        ? fptStudies[name as FptStudyName].run({ ...shared, observe })
        : Object.hasOwn(methodStudies, name)
          ? compareMethods({ ...shared, observe, prune, comparison })
          : xpromptStudies[name as keyof typeof xpromptStudies].run({ ...shared, observe, prune }),
    );
    const result = withReference(made, options.reference);
    const table = Object.fromEntries(Object.entries(studyTable).filter(([key]) => !unreadOptions[name]!.includes(key)));
    const { report, earlier, lines } = await writeStudyReport({ folder, table, options, result }, terminal);
    return {
      json: { ...result, notices, report, earlier },
      text: [studyMarkdown(result), "", ...lines].join("\n"),
    };
  } finally {
    lock?.release();
    await model.dispose();
  }
}

/** A task by its folder of official files, or by a YAML file of data options. */
async function taskData(
  task: string,
  place: string,
  fewShot: number | undefined,
  context: Pick<CommandContext, "terminal" | "signal">,
): Promise<Dataset> {
  const few = fewShot === undefined ? {} : { fewShot };
  if (task === quickstartTask) {
    if (place !== "" && place !== quickstartTask)
      throw new SoftpromptError("usage", "the bundled rows have no place of their own", {
        where: "--tasks",
        expected: `${quickstartTask}=`,
        got: `${quickstartTask}=${place}`,
        hint: "for rows of your own give the task another name: --tasks mine=data.yaml",
      });
    return loadSaid({ task, ...few }, context, task);
  }
  if (/\.(ya?ml|json)$/.test(place))
    return loadSaid({ ...(await dataConfig(place, context)), task, ...few }, context, task);
  return loadSaid({ task, data: place, ...few }, context, task);
}

/** Reads a YAML file of data options and warns about renamed ones. */
async function dataConfig(file: string, { terminal }: Pick<CommandContext, "terminal">) {
  const renamed: string[] = [];
  const options = await readConfig(file, dataOptions, studyTable, (message) => renamed.push(message));
  sayNotices(renamed, terminal, file);
  return options;
}

/** Shows a study's events: a line for each run, its steps as they come. */
export function studyProgress(terminal: Terminal): (event: StudyEvent | XPromptStudyEvent) => void {
  let watch = progress(terminal);
  const { colors: c } = terminal;
  const warned = new Set<string>();
  const start = (index: number, total: number, what: string, { seconds }: RunsLeft) => {
    watch = progress(terminal);
    const left = seconds === null ? "" : c.dim(` · ${leftText(seconds)}`);
    terminal.note(`${c.bold(`${index + 1}/${total} ${what}`)}${left}`);
  };
  // Hundreds of evaluations would flood the screen; the outcome of each run follows in one line.
  const steps = (event: Parameters<typeof watch>[0]) => {
    if (event.kind === "warning" && !warned.has(event.message)) {
      // of many runs that are warned of alike, one is
      warned.add(event.message);
      watch(event);
    }
    if (event.kind === "step" || event.kind === "start" || event.kind === "skip" || event.kind === "rows") watch(event);
  };
  return (event) => {
    if (event.kind === "run")
      start(event.index, event.total, `${event.task}, seed ${event.seed}: ${event.label}`, event.left);
    else if (event.kind === "done")
      terminal.note(
        `  ${event.label === undefined ? "" : `${event.label}: `}${event.failed === undefined ? scoresText({ score: event.score }) : `failed: ${event.failed},`} ${event.kept ? "kept from before" : `in ${event.seconds.toFixed(1)} s`}`,
      );
    else if (event.kind === "train") steps(event.event);
    else if (event.kind === "case")
      start(event.index, event.total, `${event.task}, seed ${event.seed} ${event.label}`, event.left);
    else if (event.kind === "outcome")
      terminal.note(
        `  ${event.outcome.variant}: ${scoresText({ score: event.outcome.score })}, ${event.outcome.counts.parameters} parameters`,
      );
    else if (event.event.kind === "rows") watch(event.event);
    else if (event.event.kind === "tune" || event.event.kind === "candidate") steps(event.event.event);
  };
}
