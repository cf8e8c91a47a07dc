/**
 * @file softprompt train: learns a soft prompt and leaves a run folder with adapter, result and report.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type OptionTable, type OptionValues, pickOptions, readOptions, string } from "../../base/options.js";
import { stepFlops } from "../../engine/flops.js";
import { evaluationBatch } from "../../evaluate/evaluate.js";
import { fullModel } from "../../model/partial.js";
import { byteText, flopText } from "../../report/format.js";
import { neuronScoreOptions } from "../../schedule/neuron-scores.js";
import { scheduleOptions } from "../../schedule/options.js";
import { needsNeuronScores, withPlannedSteps } from "../../schedule/schedule.js";
import { dataOptions } from "../../tasks/data.js";
import { availableMemory, forwardMemory, trainingMemory } from "../../tasks/memory.js";
import { openModel, openOptions } from "../../tasks/model.js";
import { modelOptions, promptOptions, runOptions, tuneOptions } from "../../tasks/options.js";
import { resumeCommand } from "../../tasks/shell.js";
import { runFiles, type Tuned, tune } from "../../tasks/tune.js";
import { encodeRows } from "../../text/rows.js";
import { trainOptions } from "../../train/options.js";
import { type Answer, command } from "../command.js";
import { modelLabel, resumedOptions, runConfigText } from "../config.js";
import { loadSaid, sayTokenNotices } from "../data.js";
import { defaultFolder } from "../output.js";
import { modelContext, progress } from "../progress.js";
import { resultText, samplesText } from "../summary.js";
import type { Terminal } from "../terminal.js";

/** Everything that decides a run, in the order of its config.yaml. */
export const trainSections = {
  Model: modelOptions,
  Data: dataOptions,
  Prompt: promptOptions,
  Training: trainOptions,
  "Schedule (Fast Prompt Tuning)": { ...scheduleOptions, ...neuronScoreOptions },
  Run: runOptions,
};
export const trainTable = Object.assign({}, ...Object.values(trainSections)) as OptionTable;

// --resume takes model and data from the run's own config.yaml, so nothing is required on the command line then.
export const optionalModel = { ...modelOptions, model: { ...modelOptions.model, required: false } };

export const train = command({
  summary: "learn a soft prompt on a frozen model",
  description:
    "Learns the vectors of a soft prompt for one task; the base model is never changed. The run folder holds config.yaml, metrics.jsonl, checkpoints, the adapter (PEFT's format), result.json, report.html and a TensorBoard file (tensorboard --logdir runs shows it while it grows). Ctrl-C finishes the step, saves and says how to resume; a second Ctrl-C ends at once, with nothing damaged.",
  positionals: [],
  sections: {
    ...trainSections,
    Model: optionalModel,
    Run: {
      ...runOptions,
      resume: string({ placeholder: "run folder", help: "Go on with an interrupted run exactly where it stopped" }),
    },
  },
  examples: [
    "softprompt train --model t5-nano --task sst2 --data datasets/SST-2 --steps 500",
    "softprompt train --model google/flan-t5-small --train train.csv --validation dev.csv --template 'review: {text}' --label-column stars --verbalizer 0=terrible --verbalizer 1=great",
    "softprompt train --config run.yaml --schedule fpt-cr --seed 1",
    "softprompt train --resume runs/sst2-prompt-tuning-seed0",
  ],
  async run({ resume, ...given }, _, { terminal, signal, given: { resume: _resume, ...said } }) {
    const options = resume === undefined ? given : await resumedOptions("train", resume, trainTable, said);
    const checked = withPlannedSteps(readOptions(trainTable, options, "softprompt train") as TrainValues);
    return trainAnswer(checked, { terminal, signal, resume: resume !== undefined });
  },
});

export type TrainValues = OptionValues<typeof modelOptions> &
  OptionValues<typeof dataOptions> &
  OptionValues<typeof promptOptions> &
  OptionValues<typeof trainOptions> &
  OptionValues<typeof scheduleOptions> &
  OptionValues<typeof neuronScoreOptions> &
  OptionValues<typeof runOptions>;

/** Runs one training for the terminal; `quickstart` is this with other defaults. */
export async function trainAnswer(
  options: TrainValues,
  { terminal, signal, resume }: { terminal: Terminal; signal: AbortSignal; resume: boolean },
): Promise<Answer> {
  const { tuned, notices } = await runTraining(options, { terminal, signal, resume });
  const { result, folder } = tuned;
  if (result.run.reason === "interrupted") {
    const exitCode = signal.reason === "SIGTERM" ? 143 : 130;
    const how = resumeCommand("train", folder!);
    return {
      json: { interrupted: true, step: result.run.steps, folder, resume: how, exitCode },
      text: `Stopped after step ${result.run.steps}; everything is saved. Go on with:\n  ${how}`,
      exitCode,
    };
  }
  const { resultColors: c } = terminal;
  return {
    json: { ...result, notices, folder, report: tuned.report, adapter: join(folder!, runFiles.adapter) },
    text: [
      resultText(result),
      ...(tuned.predictions.length > 0 ? ["", c.bold("Samples"), samplesText(tuned.predictions)] : []),
      "",
      `run      ${folder}`,
      `adapter  ${join(folder!, runFiles.adapter)}`,
      `report   ${tuned.report}`,
    ].join("\n"),
  };
}

async function runTraining(
  options: TrainValues,
  { terminal, signal, resume }: { terminal: Terminal; signal: AbortSignal; resume: boolean },
): Promise<{ tuned: Tuned; notices: readonly string[] }> {
  const data = await loadSaid(options, { terminal, signal });
  const label = resume ? modelLabel(options.output!, options.model) : undefined;
  const model = await openModel(options.model, pickOptions(openOptions, options), {
    ...modelContext(terminal, signal),
    label,
  });
  try {
    const output = options.output ?? defaultOutput(data.task.name, options);
    terminal.note(
      `${data.task.name}: ${data.train.length} training rows, ${data.validation.length} validation rows; ${model.checkpoint.name}: ${model.checkpoint.parameters} parameters, frozen`,
    );
    const notices = sayTokenNotices(data, model.tokenizer, terminal);
    await sayCost(
      model.checkpoint.config,
      encodeRows(data.task, data.train, model.tokenizer, options.maxInputTokens),
      encodeRows(data.task, data.validation, model.tokenizer, options.maxInputTokens),
      options,
      terminal,
    );
    const tuned = await tune(
      model,
      data,
      { ...pickOptions(tuneOptions, options), output },
      {
        observe: progress(terminal),
        signal,
        resume,
        configText: runConfigText(trainTable, { ...options, output }, label),
      },
    );
    return { tuned, notices };
  } finally {
    await model.dispose();
  }
}

/** Says before the run what it will need, and warns where that may be too much. */
async function sayCost(
  config: Parameters<typeof trainingMemory>[0],
  encoded: readonly { input: Int32Array; target: Int32Array }[],
  validation: readonly { input: Int32Array }[],
  options: TrainValues,
  terminal: Terminal,
): Promise<void> {
  const batch = Math.min(options.microBatchSize, options.batchSize, encoded.length);
  const longest = (rows: readonly Int32Array[]) => rows.reduce((most, r) => Math.max(most, r.length), 1);
  const shape = {
    batch,
    prompt: options.virtualTokens,
    input: longest(encoded.map((r) => r.input)),
    target: longest(encoded.map((r) => r.target)),
  };
  // evaluations and neuron scores take more rows at once, and may meet longer ones
  const forward = (rows: readonly { input: Int32Array }[], most: number) =>
    forwardMemory(
      config,
      { ...shape, batch: Math.min(most, rows.length), input: longest(rows.map((r) => r.input)) },
      options,
    );
  const needs = [trainingMemory(config, shape, options), forward(validation, evaluationBatch(options))];
  if (needsNeuronScores(options))
    needs.push(forward(options.scoreSplit === "train" ? encoded : validation, options.scoreBatchSize));
  const need = { total: Math.max(...needs.map((n) => n.total)) };
  const free = await availableMemory();
  const mean = encoded.reduce((sum, r) => sum + r.input.length, 0) / Math.max(1, encoded.length);
  const flops = stepFlops(config, fullModel(config), {
    ...shape,
    batch: options.batchSize,
    input: Math.ceil(mean),
  }).honest;
  terminal.note(
    `needs about ${byteText(need.total)} of memory (${byteText(free)} free) and ${flopText(flops * options.steps)} on the full model`,
  );
  if (need.total > 0.9 * free)
    terminal.warn(
      `this may not fit: about ${byteText(need.total)} needed, ${byteText(free)} free; try --low-memory, a smaller --micro-batch-size or --max-input-tokens`,
    );
}

/** runs/TASK-METHOD-seedN, with a number behind it where that is taken. */
function defaultOutput(task: string, { schedule, seed }: TrainValues): string {
  const name = defaultFolder(task, schedule === "vanilla" ? "prompt-tuning" : schedule, seed);
  for (let n = 1; ; n++) {
    const folder = n === 1 ? name : `${name}-${n}`;
    if (!existsSync(join(folder, "run.json"))) return folder;
  }
}
