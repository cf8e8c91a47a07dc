/**
 * @file softprompt study and compare: the papers' experiments as commands: table on the terminal, page and JSON in a folder.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { nearest, SoftpromptError } from "../../base/errors.js";
import { ownFolder, refuseForeign, writeFileAtomic } from "../../base/files.js";
import {
  flagName,
  integer,
  map,
  type OptionTable,
  type OptionValues,
  pickOptions,
  string,
} from "../../base/options.js";
import type { Dataset } from "../../data/row.js";
import { pruneOptions } from "../../prune/options.js";
import { plainTable } from "../../report/markdown.js";
import { neuronScoreOptions } from "../../schedule/neuron-scores.js";
import { scheduleOptions } from "../../schedule/options.js";
import { withPlannedSteps } from "../../schedule/schedule.js";
import { type FptStudy, type FptStudyName, fptStudies } from "../../study/fpt.js";
import { studyMarkdown, studyPage } from "../../study/pages.js";
import { checkSeeds, type StudyEvent } from "../../study/runs.js";
import type { StudyResult } from "../../study/study.js";
import { type XPromptStudy, xpromptStudies } from "../../study/xprompt.js";
import type { XPromptStudyEvent } from "../../study/xprompt-runs.js";
import { dataOptions, quickstartTask } from "../../tasks/data.js";
import { openModel, openOptions } from "../../tasks/model.js";
import { modelOptions, promptOptions, seedsOption } from "../../tasks/options.js";
import { initSpec } from "../../tasks/tune.js";
import { trainOptions } from "../../train/options.js";
import { type Answer, type CommandContext, command } from "../command.js";
import { configText, readConfig } from "../config.js";
import { loadSaid, sayTokenNotices } from "../data.js";
import { modelContext, progress, scoresText } from "../progress.js";
import type { Terminal } from "../terminal.js";

const { seed: _seed, ...repeated } = trainOptions;

const sections = {
  Model: modelOptions,
  Tasks: {
    tasks: map({
      required: true,
      help: `Task and its folder of official files, or a YAML file with data options (train, template, …); ${quickstartTask}= for the bundled rows`,
    }),
    trainRows: integer({ min: 1, unit: "rows", help: "Train on so few rows of each task, drawn with seed 0" }),
    ...seedsOption,
  },
  Prompt: promptOptions,
  Training: repeated,
  Schedule: { ...scheduleOptions, ...neuronScoreOptions },
  Study: {
    output: string({
      placeholder: "folder",
      help: "Finished runs, result.json and report.html; an interrupted study goes on from here",
      source: "default studies/NAME",
    }),
  },
};
const studySections = { ...sections, "Pruning (XPrompt studies)": pruneOptions };

type StudyValues = OptionValues<typeof modelOptions> &
  OptionValues<(typeof sections)["Tasks"]> &
  OptionValues<typeof promptOptions> &
  OptionValues<typeof repeated> &
  OptionValues<typeof scheduleOptions> &
  OptionValues<typeof neuronScoreOptions> &
  OptionValues<(typeof sections)["Study"]>;

const studies: Readonly<Record<string, FptStudy | XPromptStudy>> = { ...fptStudies, ...xpromptStudies };
const names = Object.keys(studies);

export const study = command({
  summary: "run one of the papers' experiments; without a name, list them",
  description:
    "Runs an experiment over tasks and seeds and prints its tables; report.html has its curves and pictures. Every finished run is kept in the folder, so an interrupted study goes on with the same command. Options that the named study does not read are refused.",
  positionals: [{ name: "name", help: "which study; without it, the list", required: false }],
  sections: {
    ...studySections,
    Model: { ...modelOptions, model: { ...modelOptions.model, required: false } },
    Tasks: { ...sections.Tasks, tasks: { ...sections.Tasks.tasks, required: false } },
  },
  examples: [
    "softprompt study",
    "softprompt study partial-alone --model t5-nano --tasks sst2=datasets/SST-2 --steps 500",
    "softprompt study sub-prompts --model t5-nano --tasks rte=datasets/RTE --tasks cb=datasets/CB --seeds 0,1,2",
  ],
  async run(options, [name], context) {
    if (name === undefined) return studyList();
    for (const key of ["model", "tasks"] as const)
      if (options[key] === undefined)
        throw new SoftpromptError("usage", `${key} is missing`, {
          where: `softprompt study ${name}`,
          expected: `--${key}`,
        });
    return studyAnswer(name, options as StudyValues & OptionValues<typeof pruneOptions>, context);
  },
});

export const compare = command({
  summary: "prompt tuning against Fast Prompt Tuning over seeds: the papers' Table 2",
  description:
    "Trains vanilla prompt tuning, FPT-LD, FPT-FR and FPT-CR on every task and seed, and prints scores, FLOPs and wall clock relative to vanilla, and what vanilla scores at equal FLOPs. The same as `softprompt study compare`.",
  positionals: [],
  sections,
  examples: [
    "softprompt compare --model t5-nano --tasks sst2=datasets/SST-2 --tasks rte=datasets/RTE --steps 600 --seeds 0,1,2",
  ],
  run: (options, _, context) => studyAnswer("compare", options as StudyValues, context),
});

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

async function studyAnswer(
  name: string,
  options: StudyValues & Partial<OptionValues<typeof pruneOptions>>,
  { terminal, signal, given }: CommandContext,
): Promise<Answer> {
  if (!names.includes(name)) {
    const near = nearest(name, names);
    throw new SoftpromptError("usage", "no such study", {
      where: "softprompt study",
      expected: names.join(", "),
      got: name,
      hint: near === undefined ? "softprompt study lists them" : `did you mean ${near}?`,
    });
  }
  const { unread } = studies[name]!;
  refuseUnread(name, unread, given);
  checkSeeds(options.seeds);
  if (options.init === "classLabels" && Object.keys(options.tasks).length > 1)
    throw new SoftpromptError("usage", "init classLabels is of one task, and a study starts all its tasks alike", {
      where: `softprompt study ${name}`,
      expected: "one task, or another init",
      got: Object.keys(options.tasks).join(", "),
      hint: "run the study for each task by itself, or use sampledVocab",
    });
  const folder = options.output ?? join("studies", name);
  refuseRuns(folder);
  const tasks: Dataset[] = [];
  for (const [task, place] of Object.entries(options.tasks))
    tasks.push(await taskData(task, place, options.trainRows, { terminal, signal }));
  const model = await openModel(options.model, pickOptions(openOptions, options), modelContext(terminal, signal));
  try {
    const notices = tasks.flatMap((data) =>
      sayTokenNotices(data, model.tokenizer, terminal, data.task.name).map((notice) => `${data.task.name}: ${notice}`),
    );
    const shared = {
      engine: model.engine,
      tokenizer: model.tokenizer,
      tasks,
      seeds: options.seeds,
      settings: { ...(pickOptions(repeated, options) as OptionValues<typeof repeated>), seed: options.seeds[0] ?? 0 },
      schedule: withPlannedSteps(pickOptions(scheduleOptions, options) as OptionValues<typeof scheduleOptions>),
      promptLength: options.virtualTokens,
      init: await initSpec(options, tasks[0]!, model),
      scoring: pickOptions(neuronScoreOptions, options) as OptionValues<typeof neuronScoreOptions>,
      folder: ownFolder(folder, "runs"),
      signal,
    };
    const observe = studyProgress(terminal);
    const result: StudyResult = Object.hasOwn(fptStudies, name)
      ? await fptStudies[name as FptStudyName].run({ ...shared, observe })
      : await xpromptStudies[name as keyof typeof xpromptStudies].run({
          ...shared,
          observe,
          prune: pickOptions(pruneOptions, options) as OptionValues<typeof pruneOptions>,
        });
    const report = join(folder, "report.html");
    const read = Object.fromEntries(Object.entries(table).filter(([key]) => !unread.includes(key)));
    writeFileAtomic(join(folder, "config.yaml"), configText(read, { ...options, output: folder }));
    writeFileAtomic(join(folder, "result.json"), `${JSON.stringify(result, null, 2)}\n`);
    writeFileAtomic(join(folder, "result.md"), `${studyMarkdown(result)}\n`);
    writeFileAtomic(report, studyPage(result));
    return { json: { ...result, notices, report }, text: `${studyMarkdown(result)}\n\nreport  ${report}` };
  } finally {
    await model.dispose();
  }
}

const table = Object.assign({}, ...Object.values(studySections)) as OptionTable;

/** @throws SoftpromptError "usage" for options that would be accepted and change nothing. */
function refuseUnread(name: string, unread: readonly string[], given: CommandContext["given"]): void {
  const flags = unread.filter((key) => Object.hasOwn(given, key)).map(flagName);
  if (flags.length > 0)
    throw new SoftpromptError("usage", "this study does not read every option that is given", {
      where: `softprompt study ${name}`,
      expected: "options that change what it does",
      got: flags.join(", "),
      hint: `leave ${flags.length > 1 ? "them" : "it"} out, of the --config file too`,
    });
}

/** A study writes its files at its end: not over those of a run, a search or the user's own. @throws SoftpromptError "run". */
function refuseRuns(folder: string): void {
  const own = existsSync(join(folder, "runs")) ? [] : ["config.yaml", "result.json", "result.md", "report.html"];
  const found = ["run.json", "search.json", ...own].filter((name) => existsSync(join(folder, name)));
  refuseForeign(folder, "study", "a study's folder, or an empty one", found);
}

/** A task by its folder of official files, or by a YAML file of data options. */
async function taskData(
  task: string,
  place: string,
  trainRows: number | undefined,
  context: Pick<CommandContext, "terminal" | "signal">,
): Promise<Dataset> {
  const few = trainRows === undefined ? {} : { fewShot: trainRows };
  if (task === quickstartTask) return loadSaid({ task, ...few }, context, task);
  if (/\.(ya?ml|json)$/.test(place))
    return loadSaid({ ...(await readConfig(place, dataOptions, table)), task, ...few }, context, task);
  return loadSaid({ task, data: place, ...few }, context, task);
}

function studyProgress(terminal: Terminal): (event: StudyEvent | XPromptStudyEvent) => void {
  let watch = progress(terminal);
  const { colors: c } = terminal;
  const start = (index: number, total: number, what: string) => {
    watch = progress(terminal);
    terminal.note(c.bold(`${index + 1}/${total} ${what}`));
  };
  // Hundreds of evaluations would flood the screen; the outcome of each run follows in one line.
  const steps = (event: Parameters<typeof watch>[0]) => {
    if (event.kind === "step" || event.kind === "start" || event.kind === "skip") watch(event);
  };
  return (event) => {
    if (event.kind === "run") start(event.index, event.total, `${event.task}, seed ${event.seed}: ${event.label}`);
    else if (event.kind === "done")
      terminal.note(`  ${scoresText({ score: event.score })} in ${event.seconds.toFixed(1)} s`);
    else if (event.kind === "train") steps(event.event);
    else if (event.kind === "case") start(event.index, event.total, `${event.task}, seed ${event.seed} ${event.label}`);
    else if (event.kind === "outcome")
      terminal.note(
        `  ${event.outcome.variant}: ${scoresText({ score: event.outcome.score })}, ${event.outcome.counts.parameters} parameters`,
      );
    else if (event.event.kind === "tune" || event.event.kind === "candidate") steps(event.event.event);
  };
}
