/**
 * @file A frozen model with a tuned prompt in it, as one folder of ONNX that transformers.js runs without knowing of prompts.
 *
 * In: a base model, an adapter, an empty folder. Out: `onnx/*.onnx` and the files beside them. A prompt becomes a constant (of a decoder-only
 * model its keys and values), pruned entries stay zeros; LoRA and trained weights are folded into the weights; a prefix stands before the
 * keys. Adapters that this form cannot express are refused with the reason. Without an adapter, the prompt may be left to optional inputs.
 */
import { join } from "node:path";
import { runnable } from "../adapter/applied.js";
import type { Adapter } from "../adapter/types.js";
import { SoftpromptError } from "../base/errors.js";
import { writeFileAtomic } from "../base/files.js";
import { compileTemplate } from "../data/template.js";
import { plannedEightBits } from "../engine/eight-bit.js";
import { architectureOf } from "../model/architectures.js";
import type { CausalConfig } from "../model/causal/config.js";
import type { Checkpoint } from "../model/checkpoint.js";
import type { T5Config } from "../model/t5/config.js";
import { lowerFor } from "../onnx/lower.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { type BakedKeys, bakedKeys } from "./baked.js";
import { causalDraft } from "./causal.js";
import type { Draft } from "./draft.js";
import { folderFiles } from "./folder.js";
import { refuseFull } from "./output.js";
import { exportReadme } from "./readme.js";
import { seq2seqDrafts } from "./seq2seq.js";
import { type ExportType, exportWeights, placeWeights, type WeightLimits } from "./weights.js";

export interface OnnxExport {
  readonly checkpoint: Checkpoint;
  /** As the adapter wants its rows. */
  readonly tokenizer: Tokenizer;
  /** null is the frozen model alone. */
  readonly adapter: Adapter | null;
  /** Numbers of the linear layers in the blocks. Default "fp32". */
  readonly dtype?: ExportType | undefined;
  /** No adapter, but optional inputs that give a prompt at each run (onnx-adapter.ts). Default false. */
  readonly promptInput?: boolean | undefined;
  /** Where the weights' bytes go; for tests. */
  readonly limits?: WeightLimits;
}

/** What was written. */
export interface Exported {
  readonly folder: string;
  readonly files: readonly { readonly name: string; readonly bytes: number }[];
  /** The pipeline of transformers.js that runs it. */
  readonly pipeline: "text2text-generation" | "text-generation";
}

/** @throws SoftpromptError "adapter" for what has no such form, "usage" for a folder that holds something, "checkpoint", "io". */
export async function exportOnnx(
  { checkpoint, tokenizer, adapter, dtype = "fp32", promptInput = false, limits }: OnnxExport,
  folder: string,
): Promise<Exported> {
  if (promptInput && adapter !== null)
    throw new SoftpromptError("usage", "a model with an adapter in it takes no prompt at run time", {
      where: "adapter",
      expected: "promptInput without an adapter",
      hint: "write the adapter as .onnx_adapter beside it",
    });
  if (adapter !== null) refusePlaced(adapter, "an ONNX model can have it nowhere else");
  refuseFull(folder);
  const { config } = checkpoint;
  const run = adapter === null ? null : runnable(adapter, config);
  const fold = run?.method.folded?.(config, run.parameters);
  const method = run === null || fold !== undefined ? null : run.method;
  const parameters = run?.parameters ?? {};
  // as the same model is trained and used in 8 bits, but for the smoothing, which only the cache's file has
  const plan = dtype === "int8" ? await plannedEightBits(checkpoint) : undefined;
  const weights = exportWeights(checkpoint, fold, plan);
  const baking = { weights, method, parameters, promptInput };
  const causal = architectureOf(config).taskType === "CAUSAL_LM";
  const baked: BakedKeys = causal ? await bakedKeys(checkpoint, method, parameters) : { length: 0, layers: [] };
  const drafts = causal
    ? [causalDraft(config as CausalConfig, baking, baked)]
    : seq2seqDrafts(config as T5Config, baking);
  const written: { name: string; bytes: number }[] = [];
  const write = (name: string, content: string | Uint8Array) => {
    writeFileAtomic(join(folder, name), content);
    written.push({ name, bytes: Buffer.byteLength(content) });
  };
  const beside: Record<string, number> = {};
  for (const draft of drafts) {
    const name = `${draft.file}${theirTypes[dtype].suffix}.onnx`;
    const { bytes, files } = await modelFile(draft, name, weights, join(folder, "onnx"), limits);
    write(`onnx/${name}`, bytes);
    beside[name] = files;
  }
  const pipeline = causal ? "text-generation" : "text2text-generation";
  const { dtype: theirs } = theirTypes[dtype];
  const source = { checkpoint, tokenizer, task: adapter?.task ?? null, before: baked.length, beside, dtype: theirs };
  const readme = exportReadme({ adapter, checkpoint, pipeline, promptInput, models: drafts });
  // the config last, so that a folder with one is complete
  const { "config.json": configText, ...others } = folderFiles(source);
  for (const [name, content] of Object.entries({ ...others, "README.md": readme, "config.json": configText! }))
    write(name, content);
  return { folder, files: written, pipeline };
}

/**
 * What transformers.js calls these numbers, and the end of a file's name by which it finds them. `q8` is what it loads in a browser unless
 * told otherwise.
 */
const theirTypes = {
  fp32: { dtype: "fp32", suffix: "" },
  int8: { dtype: "q8", suffix: "_quantized" },
} satisfies Record<ExportType, { readonly dtype: string; readonly suffix: string }>;

async function modelFile(
  { graph, outside }: Draft,
  name: string,
  weights: ReturnType<typeof exportWeights>,
  folder: string,
  limits: WeightLimits | undefined,
): Promise<{ bytes: Uint8Array; files: number }> {
  const { once } = outside;
  const graphs = once === undefined ? [graph] : [graph, once.graph];
  const placed = await placeWeights(graphs, weights, { folder, name }, limits);
  const [main, other] = placed.graphs;
  const whole = once === undefined ? outside : { ...outside, once: { ...once, graph: other! } };
  const { bytes } = lowerFor(whole, main!, { plain: true, widenPerUse: false });
  return { bytes, files: placed.files };
}

/** A prompt inside or behind the text needs to know where the task's text ends, but a caller of the exported model feeds only a text. */
export function refusePlaced(adapter: Adapter, why: string): void {
  const template = adapter.task?.template;
  if (template === undefined || !compileTemplate(template).marked) return;
  throw new SoftpromptError("adapter", `this prompt does not stand before the text, and ${why}`, {
    where: "adapter",
    expected: "a prompt before the text",
    got: template,
    hint: "tune a prompt without {prompt} in its template, or use it with softprompt predict",
  });
}
