/**
 * @file The work of softprompt inspect: shows the content of a base model, a partial one, or an adapter, without running it.
 */
import { checkBase, isAdapter } from "../../adapter/adapter.js";
import { adapterReportText, inspectAdapter } from "../../adapter/inspect.js";
import { partialParameters, stepFlops } from "../../engine/flops.js";
import type { ModelConfig, Stack } from "../../model/architecture.js";
import { architectureOf } from "../../model/architectures.js";
import { storedBlocks } from "../../model/block-weights.js";
import { type Checkpoint, openCheckpoint } from "../../model/checkpoint.js";
import { fullModel, type PartialModel, parsePartial, partialModel } from "../../model/partial.js";
import { byteText, flopText, scaled } from "../../report/format.js";
import { plainTable } from "../../report/markdown.js";
import { holds } from "../../run/layout.js";
import { readAdapter } from "../../tasks/adapter-place.js";
import { trainingMemory } from "../../tasks/memory.js";
import { type ModelContext, modelFolder } from "../../tasks/model.js";
import { loadTokenizer } from "../../text/load.js";
import type { Answer, CommandContext } from "../command.js";
import { modelContext } from "../progress.js";
import { type InspectValues, sections } from "../tables/inspect.js";
import { refuseUnread } from "../unread.js";

export async function inspect(
  options: InspectValues,
  target: string,
  { terminal, signal, given }: CommandContext,
): Promise<Answer> {
  const listen = modelContext(terminal, signal);
  const where = `softprompt inspect ${target}`;
  // a run that has no adapter yet is refused as one, not as a model
  if (isAdapter(target) || holds(target, "run") || holds(target, "search")) {
    const { revision, offline, ...ofModel } = sections.Model;
    refuseUnread("an adapter", where, Object.keys({ ...ofModel, ...sections["Shape of the step"] }), given);
    if (options.model === undefined)
      refuseUnread("an adapter without --model", where, Object.keys({ revision, ...sections.Adapter }), given);
    return adapterAnswer(target, options, listen);
  }
  refuseUnread("a model", where, Object.keys(sections.Adapter), given);
  const { folder, label, gguf } = await modelFolder(target, options, listen);
  const checkpoint = await openCheckpoint(folder, { name: label, gguf });
  const shape = {
    batch: options.batchSize,
    prompt: options.virtualTokens,
    input: options.inputTokens,
    target: options.targetTokens,
  };
  const facts = await modelFacts(checkpoint, shape, options.hash);
  if (options.partial === undefined) return { json: facts.json, text: facts.text };
  // Which neurons stay depends on data; how many, and so cost and memory, does not.
  const partial = partialModel(checkpoint.config, { ...parsePartial(options.partial), neuronChoice: "first" });
  return partialAnswer(checkpoint.config, partial, shape, facts);
}

type Shape = { batch: number; prompt: number; input: number; target: number };

async function adapterAnswer(
  folder: string,
  {
    model,
    nearest,
    anyBase,
    revision,
    offline,
  }: Pick<InspectValues, "model" | "nearest" | "anyBase" | "revision" | "offline">,
  listen: ModelContext,
): Promise<Answer> {
  const adapter = readAdapter(folder);
  let base: { checkpoint: Checkpoint; tokenizer: Awaited<ReturnType<typeof loadTokenizer>> } | undefined;
  if (model !== undefined) {
    const place = await modelFolder(model, { revision, offline }, listen);
    const checkpoint = await openCheckpoint(place.folder, { name: place.label });
    base = { checkpoint, tokenizer: await loadTokenizer(checkpoint.folder) };
    await checkBase(adapter, checkpoint, { anyBase, tokenizer: base.tokenizer });
  }
  const report = await inspectAdapter(adapter, base, nearest);
  return { json: report, text: adapterReportText(report) };
}

async function modelFacts(checkpoint: Checkpoint, shape: Shape, hash: boolean) {
  const { config } = checkpoint;
  const dtypes = new Map<string, number>();
  for (const { dtype } of checkpoint.tensors.values()) dtypes.set(dtype, (dtypes.get(dtype) ?? 0) + 1);
  const sha256 = hash ? await checkpoint.sha256() : null;
  const full = fullModel(config);
  const memory = trainingMemory(config, shape);
  const low = trainingMemory(config, shape, { lowMemory: true });
  const flops = stepFlops(config, full, shape);
  const stored = await storedBlocks(checkpoint);
  const json = {
    name: checkpoint.name,
    folder: checkpoint.folder,
    config,
    parameters: checkpoint.parameters,
    bytes: checkpoint.bytes,
    dtypes: Object.fromEntries(dtypes),
    sha256,
    ...(stored === null ? {} : { storedBlocks: stored }),
    warnings: checkpoint.warnings,
    step: { shape, flops, memory: { ...memory, lowMemory: low.total } },
  };
  const text = plainTable([
    ["model", checkpoint.name],
    ["architecture", architectureOf(config).describe(config)],
    ["parameters", `${scaled(checkpoint.parameters)} (${checkpoint.parameters})`],
    [
      "stored as",
      `${[...dtypes].map(([d, n]) => `${d} × ${n}`).join(", ")}; ${byteText(checkpoint.bytes)} in ${checkpoint.files.length} file${checkpoint.files.length === 1 ? "" : "s"}`,
    ],
    ...(stored === null ? [] : [["--precision stored", `${stored.text}; ${byteText(stored.bytes)}`]]),
    ["sha256", sha256 ?? "not computed"],
    ["training step", `${shape.batch} rows × (${shape.prompt} + ${shape.input}) tokens, ${shape.target} target tokens`],
    [
      "  matrix products",
      `${flopText(flops.total)} forward and backward (${flopText(flops.paper)} as the papers count)`,
    ],
    ["  memory, about", `${byteText(memory.total)} (${byteText(low.total)} with --low-memory)`],
    ...checkpoint.warnings.map((w) => ["note", w]),
  ]);
  return { json, text, flops, memory };
}

function partialAnswer(
  config: ModelConfig,
  partial: PartialModel,
  shape: Shape,
  full: Awaited<ReturnType<typeof modelFacts>>,
): Answer {
  const flops = stepFlops(config, partial, shape);
  const memory = trainingMemory(config, shape, { partial });
  const parameters = partialParameters(config, partial);
  const share = (part: number, whole: number) => `${((100 * part) / whole).toFixed(1)} %`;
  const stacks = architectureOf(config).stacks(config);
  const stackText = (stack: Stack) => {
    const { layers, neurons } = partial.stacks[stack.name]!;
    const width = neurons?.[0]?.length ?? config.feedForwardWidth;
    return `layers ${layers.join(",")} (${layers.length} of ${stack.layers}); ${width} of ${config.feedForwardWidth} neurons`;
  };
  return {
    json: {
      ...full.json,
      partial: {
        name: partial.name,
        ...Object.fromEntries(stacks.map(({ name }) => [name, partial.stacks[name]!.layers])),
        parameters,
        flops,
        memory,
      },
    },
    text: `${full.text}\n\n${plainTable([
      ["partial model", partial.name],
      ...stacks.map((stack): [string, string] => [`  ${stack.name}`, stackText(stack)]),
      ["  parameters", `${scaled(parameters)} (${share(parameters, partialParameters(config, fullModel(config)))})`],
      [
        "  matrix products",
        `${flopText(flops.total)} (${share(flops.total, full.flops.total)}; as the papers count ${share(flops.paper, full.flops.paper)})`,
      ],
      ["  memory, about", `${byteText(memory.total)} (${share(memory.total, full.memory.total)})`],
    ])}`,
  };
}
