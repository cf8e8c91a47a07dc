/**
 * @file The work of softprompt train: one training for the terminal. `quickstart` is this with other defaults.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { SoftpromptError, signalExitCode } from "../../base/errors.js";
import { pickOptions, readOptions } from "../../base/options.js";
import { shellWord } from "../../base/shell-word.js";
import type { Dataset } from "../../data/row.js";
import { stepFlops } from "../../engine/flops.js";
import { openMethod, sizeOf } from "../../method/methods.js";
import { fullModel } from "../../model/partial.js";
import { byteText, flopText, secondText } from "../../report/format.js";
import { fileNames, freeFolder } from "../../run/layout.js";
import { readResult } from "../../run/result.js";
import { typicalShape } from "../../schedule/plan.js";
import { withPlannedSteps } from "../../schedule/schedule.js";
import { answersFor } from "../../tasks/data.js";
import { ownRate } from "../../tasks/learning-rate.js";
import { availableMemory } from "../../tasks/memory.js";
import { tuningMemory } from "../../tasks/memory-warning.js";
import { type Model, openModel, openOptions, precisionOf } from "../../tasks/model.js";
import { tuneOptions } from "../../tasks/options.js";
import { forPrompt } from "../../tasks/readied.js";
import { resumeCommand } from "../../tasks/shell.js";
import { tuningSeconds } from "../../tasks/step-time.js";
import { type Tuned, tune } from "../../tasks/tune.js";
import type { Answer, CommandContext } from "../command.js";
import { modelLabel, resumedOptions, runConfigText, withResume } from "../config.js";
import { loadSaid, sayChat, sayTokenNotices } from "../data.js";
import { defaultFolder } from "../output.js";
import { modelContext, progress } from "../progress.js";
import { resultText, samplesText, warningOf } from "../summary.js";
import { type TrainValues, trainTable } from "../tables/train.js";
import type { Terminal } from "../terminal.js";

export async function train(
  { resume, ...given }: { readonly resume?: string | undefined; readonly [key: string]: unknown },
  { terminal, signal, given: { resume: _resume, ...said } }: CommandContext,
): Promise<Answer> {
  const options = resume === undefined ? given : await resumedOptions("train", resume, trainTable, said);
  const read = readOptions(trainTable, options, "softprompt train") as TrainValues;
  const further = resume !== undefined && said.steps !== undefined ? resume : undefined;
  const checked = said.steps === undefined ? read : withStepsGiven(read, said, { further, terminal });
  return trainAnswer(withPlannedSteps(checked), {
    terminal,
    signal,
    resume: resume !== undefined,
    ...(further !== undefined && { longer: await longerConfig(further, checked) }),
    rateGiven: resume !== undefined || said.learningRate !== undefined,
  });
}

/**
 * What --steps mean beside counts of the stages that hold all steps. A new run takes the stages' sum, which is said; a run that shall go on
 * has one stage, whose count then follows from --steps, or it is refused.
 * @param further the run that shall go on to so many steps
 */
function withStepsGiven(
  read: TrainValues,
  said: Readonly<Record<string, unknown>>,
  { further, terminal }: { readonly further: string | undefined; readonly terminal: Terminal },
): TrainValues {
  const { steps } = withPlannedSteps(read);
  if (steps === read.steps) return read;
  const counts = read.stageSteps!;
  if (further === undefined || said.stageSteps !== undefined) {
    terminal.warn(`--steps ${read.steps} is not used: --stage-steps ${counts} says how many steps there are, ${steps}`);
    return read;
  }
  if (counts.length === 1) return { ...read, stageSteps: undefined };
  throw new SoftpromptError("run", "the run cannot go on to more steps: its stages have their own", {
    where: further,
    expected: `${steps} steps (--stage-steps ${counts})`,
    got: read.steps,
    hint: `start a new run from its prompt: --init fromPrompt --init-from ${shellWord(join(further, fileNames.adapter))} with another --output`,
  });
}

/** config.yaml of a run that goes on to more steps, so that the next resume needs no flag. */
async function longerConfig(folder: string, { steps, stageSteps }: TrainValues): Promise<string> {
  const begun = await resumedOptions("train", folder, trainTable, {});
  return runConfigText(trainTable, { ...begun, steps, stageSteps }, modelLabel(folder, String(begun.model)));
}

/** How a training is run for the terminal. */
interface TrainingContext {
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
  readonly resume: boolean;
  /** A resume goes on to more steps than the run was begun with: its new config.yaml. */
  readonly longer?: string;
  /** False: the options' learning rate is a mere default, and the method's and the model's own is taken. */
  readonly rateGiven: boolean;
  /** Says before the training how long it will take. */
  readonly timed?: boolean;
}

/** Runs one training for the terminal; `quickstart` is this with other defaults. */
export async function trainAnswer(options: TrainValues, how: TrainingContext): Promise<Answer> {
  const { terminal, signal } = how;
  const { tuned, notices } = await runTraining(options, how);
  const { result, folder } = tuned;
  if (result.run.reason === "interrupted") {
    const exitCode = signalExitCode(signal);
    const how = resumeCommand("train", folder!);
    const kept = finishedSteps(folder!);
    const stays = kept === null ? "" : ` The adapter and the result are still those of step ${kept}.`;
    return {
      json: {
        interrupted: true,
        step: result.run.steps,
        ...(kept !== null && { adapterSteps: kept }),
        folder,
        resume: how,
        exitCode,
      },
      text: `Stopped after step ${result.run.steps}; everything is saved.${stays} Go on with:\n  ${how}`,
      exitCode,
    };
  }
  const { resultColors: c } = terminal;
  const warning = warningOf(result);
  return {
    json: {
      ...result,
      notices,
      ...(warning !== null && { warning }),
      folder,
      report: tuned.report,
      adapter: join(folder!, fileNames.adapter),
    },
    text: [
      resultText(result),
      ...(warning === null ? [] : ["", `${c.yellow("note")}  ${warning}`]),
      ...(tuned.predictions.length > 0 ? ["", c.bold("Samples"), samplesText(tuned.predictions)] : []),
      "",
      `run      ${folder}`,
      `adapter  ${join(folder!, fileNames.adapter)}`,
      `report   ${tuned.report}`,
    ].join("\n"),
  };
}

/** Steps of the finished run whose result the folder holds; null where it has none yet. */
function finishedSteps(folder: string): number | null {
  return existsSync(join(folder, fileNames.result)) ? readResult(folder).run.steps : null;
}

async function runTraining(
  asked: TrainValues,
  { terminal, signal, resume, longer, rateGiven, timed = false }: TrainingContext,
): Promise<{ tuned: Tuned; notices: readonly string[] }> {
  const loaded = await loadSaid(asked, { terminal, signal });
  const label = resume ? modelLabel(asked.output!, asked.model) : undefined;
  const opened = await openModel(asked.model, {
    ...pickOptions(openOptions, asked),
    ...modelContext(terminal, signal),
    label,
  });
  const options = rateGiven ? asked : { ...asked, learningRate: await ownRate(asked.method, opened.checkpoint) };
  const model = forPrompt(opened, options.virtualTokens);
  const data = answersFor(loaded, model, options);
  try {
    const output = options.output ?? defaultOutput(data.task.name, options);
    terminal.note(
      `${data.task.name}: ${data.train.length} training rows, ${data.validation.length} validation rows; ${model.checkpoint.name}: ${model.checkpoint.parameters} parameters, frozen`,
    );
    const began = performance.now();
    const notices = sayTokenNotices(data, model.tokenizer, terminal, options);
    await sayChat(model, terminal);
    await sayCost(model, data, options, terminal);
    // the notices needed the rows as ids; the training reuses them, so their time is counted as reading
    const read = { ...data, seconds: (data.seconds ?? 0) + (performance.now() - began) / 1000 };
    // the estimate runs a step, which is not worth its time for every training
    if (timed)
      terminal.note(`takes about ${secondText(await tuningSeconds(model, data, options))} by one step of its own`);
    const tuned = await withResume("run", output, () =>
      tune(model, read, {
        ...pickOptions(tuneOptions, options),
        output,
        onEvent: progress(terminal),
        signal,
        resume,
        further: longer !== undefined,
        configText: longer ?? runConfigText(trainTable, { ...options, output, precision: precisionOf(model) }, label),
      }),
    );
    return { tuned, notices };
  } finally {
    await model.dispose();
  }
}

/** Shows before the run what it will need; `tune` warns if that is too much. */
async function sayCost(model: Model, data: Dataset, options: TrainValues, terminal: Terminal): Promise<void> {
  const { config } = model.checkpoint;
  const free = await availableMemory();
  const method = openMethod(options);
  const { tokens } = sizeOf(method, config, options.virtualTokens);
  const shape = typicalShape(config, model.tokenizer, data, options, tokens);
  const flops = stepFlops(config, fullModel(config), shape, method).total;
  terminal.note(
    `needs about ${byteText(tuningMemory(model, data, options))} of memory (${byteText(free)} free) and ${flopText(flops * options.steps)} on the full model`,
  );
}

/** runs/TASK-METHOD-seedN, with a number appended if that is taken. */
function defaultOutput(task: string, { method, schedule, seed }: TrainValues): string {
  const trained = method === "prompt" ? [] : [method];
  const names = schedule === "vanilla" ? trained : [...trained, schedule];
  return freeFolder(defaultFolder(task, names.join("-") || "prompt-tuning", seed));
}
