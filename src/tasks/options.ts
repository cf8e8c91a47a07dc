/**
 * @file The options that this room adds to those of the other rooms: which model, which prompt, where results go.
 */
import { bundledText } from "../base/bundled.js";
import { boolean, choice, integer, list, number, type OptionValues, optionsOf, string } from "../base/options.js";
import { type InitKind, initialisers } from "../method/init.js";
import { methodOptions } from "../method/options.js";
import { pruneOptions } from "../prune/options.js";
import { neuronScoreOptions } from "../schedule/neuron-options.js";
import { scheduleOptions } from "../schedule/options.js";
import { type PresetName, presets } from "../schedule/presets.js";
import { trainOptions } from "../train/options.js";

/** Which base model, and on what it runs. */
export const modelOptions = {
  model: string({
    required: true,
    placeholder: "folder or hub id",
    help: `Frozen base model: a folder as Hugging Face has it (T5, Llama, Mistral, Qwen 2 or 3, GPT-2, Pythia), a GGUF file, a hub id such as google/flan-t5-small, or a bundled one: ${bundledText}`,
  }),
  revision: string({ help: "Branch, tag or commit of a hub model", source: "default main" }),
  offline: boolean({ default: false, help: "Use the local cache only; never ask a hub" }),
  chat: boolean({
    default: false,
    help: "Put texts to the model as a user's message in its own chat template, behind the prompt; an adapter records it",
  }),
  ...engineOptions(),
};

function engineOptions() {
  return {
    device: choice({
      values: ["cpu", "webgpu", "cuda"],
      default: "cpu",
      help: "Where the model runs; softprompt doctor lists what this machine has",
    }),
    threads: integer({
      default: 0,
      min: 0,
      unit: "threads",
      help: "Threads inside one operator, at most four for each core that the process may use; 0 takes those that are good here",
    }),
    lowMemory: boolean({
      default: false,
      help: "Trade speed for memory: no pre-packed copies, 16-bit weights widened when used",
    }),
    precision: choice({
      values: ["float32", "int8", "auto", "stored", "int4"],
      default: "float32",
      help: "How the frozen linear layers are kept and computed; all but float32 keep them once more, in the user's cache folder. int8 is faster on processors with 8-bit products, and rounds: compare scores. auto times both here and takes int8 where it is clearly faster; a run records what it took, and is resumed with it. stored keeps a GGUF file's own 4- or 8-bit blocks, exactly; int4 rounds any model to 4 bits; both compute in float32 and need little memory",
    }),
    textCache: choice({
      values: ["float16", "bfloat16", "float32", "off"],
      default: "float16",
      source: "our choice",
      help: "How texts that stand before the virtual tokens are kept once the model has read them; off reads them in every pass",
    }),
    textCacheMemory: integer({
      default: 1024,
      min: 0,
      unit: "MiB",
      source: "our choice",
      help: "Memory for texts that were read; those beyond it are kept on disk",
    }),
    textCacheDisk: integer({
      default: 4096,
      min: 0,
      unit: "MiB",
      source: "our choice",
      help: "Disk for texts that were read, of all models together, in the user's cache folder; 0 is none",
    }),
    plainOps: boolean({ default: false, help: "Plain ONNX operators only, for runtimes without com.microsoft ones" }),
  };
}

/** The soft prompt and where it starts. */
export const promptOptions = {
  virtualTokens: integer({
    default: 20,
    min: 1,
    max: 1000,
    unit: "tokens",
    source: "fpt.md §2, xprompt.md §2",
    help: "Length of the soft prompt; each token adds one vector of the model's width to the adapter",
  }),
  init: choice({
    values: Object.keys(initialisers) as InitKind[],
    source: "default sampledVocab, Lester et al. 2021; behind a text that was read before, continuation",
    help: "Where the prompt starts: embeddings of sampled words, random numbers, the label words, a given text, a text that goes on from the task's, or an earlier prompt",
  }),
  initRange: number({ min: 0, help: "With init uniform: elements in ± this", source: "default 1/√width, fpt.md §2" }),
  initText: string({ help: "With init text or continuation: the words whose embeddings the prompt starts from" }),
  initFrom: string({ placeholder: "adapter folder", help: "With init fromPrompt: the adapter to start from" }),
  initAnyBase: boolean({
    default: false,
    help: "With init fromPrompt: start from it though it was tuned on another base model of the same width",
  }),
  trainEnd: boolean({
    default: false,
    source: "our choice",
    help: "With a decoder-only model, train the end token behind label words too, for a prompt that shall write its answer and stop; without it the label words alone are trained, as they are ranked. Texts that are written are always trained with it",
  }),
};

/** Where a run goes. */
export const runOptions = {
  output: string({
    placeholder: "folder",
    help: "Run folder: configuration, metrics, snapshots, adapter, result and report",
    source: "default runs/TASK-METHOD-seedN",
  }),
  baselines: boolean({
    default: true,
    help: "Also score the frozen model without any prompt, to say what was gained; costs one evaluation",
  }),
  tensorboard: boolean({
    default: true,
    help: "Write a TensorBoard event file too, event by event while it trains; one that is there is kept in step in any case",
  }),
};

/** All options of one tuning but the data's. */
export const tuneOptions = optionsOf("tune()", {
  ...methodOptions,
  ...promptOptions,
  ...trainOptions,
  ...scheduleOptions,
  ...neuronScoreOptions,
  ...runOptions,
});

/** All options of one search but the data's. */
export const pruneTuneOptions = optionsOf("prune()", {
  ...tuneOptions,
  ...pruneOptions,
  tensorboard: boolean({
    default: true,
    help: "When the search is done, write TensorBoard event files too: of the tuning, the control and every candidate",
  }),
  from: string({
    placeholder: "run folder",
    help: "Prune the prompt of this finished run instead of tuning one; its options are taken over, and what it cost is counted",
  }),
  retrainSchedule: choice({
    values: Object.keys(presets) as PresetName[],
    default: "vanilla",
    source: "xprompt.md §4; any schedule composes",
    help: "Schedule of the retrainings; --schedule is that of the tuning before",
  }),
});

/** Which base model, and on what it runs. */
export type ModelOptions = OptionValues<typeof modelOptions>;
export type PromptOptions = OptionValues<typeof promptOptions>;
/** All options of one tuning, with defaults filled in. */
export type TuneOptions = OptionValues<typeof tuneOptions>;

/** Names of the previous version, which calls still accept. */
export interface FormerTuneOptions {
  /** @deprecated snapshotEvery */
  readonly checkpointEvery?: number | undefined;
  /** @deprecated snapshotSeconds */
  readonly checkpointSeconds?: number | undefined;
  /** @deprecated scoreRows */
  readonly scoreExamples?: number | undefined;
}

/** The same of a search. */
export interface FormerPruneOptions extends FormerTuneOptions {
  /** @deprecated importanceRows */
  readonly importanceExamples?: number | undefined;
}

/** Which seeds a study repeats over. */
export const seedsOption = {
  seeds: list({
    of: "integer",
    min: 0,
    default: [0, 1, 2],
    help: "Repeat every run over these seeds; tables give mean ± deviation",
  }),
};
