/**
 * @file softprompt inspect, declared. The work itself is ../work/inspect.ts.
 */
import { boolean, integer, type OptionValues, string } from "../../base/options.js";
import { modelOptions } from "../../tasks/options.js";
import { command } from "../command.js";

const sections = {
  Model: {
    revision: modelOptions.revision,
    offline: modelOptions.offline,
    partial: string({
      placeholder: "depth=6,width=0.25",
      help: "Partial model to show: layers and feed-forward neurons to keep, as shares or numbers",
    }),
    hash: boolean({ default: true, help: "Compute the sha256 of the weights" }),
  },
  "Shape of the step": {
    batchSize: integer({ default: 8, min: 1, unit: "rows", help: "Rows of one pass" }),
    inputTokens: integer({ default: 128, min: 1, unit: "tokens", help: "Text tokens of a row" }),
    virtualTokens: integer({ default: 20, min: 1, unit: "tokens", help: "Length of the soft prompt" }),
    targetTokens: integer({ default: 4, min: 1, unit: "tokens", help: "Target tokens of a row" }),
  },
  Adapter: {
    model: string({ placeholder: "folder or hub id", help: "Base model of the adapter, for the nearest words" }),
    nearest: integer({ default: 5, min: 0, unit: "words", help: "Nearest vocabulary words per virtual token" }),
  },
};

export const inspect = command({
  summary: "show what is in a base model, a partial model or an adapter",
  description:
    "For a base model: architecture, parameters, element types, sha256 of the weights, and the memory a training step will need. With --partial: what remains of it, its FLOPs and memory. For an adapter: tokens, pieces, parameters, scores, the map of pruned pieces and, with --model, the vocabulary words nearest to each virtual token.",
  positionals: [{ name: "target", help: "model folder, hub id, t5-nano, or adapter folder", required: true }],
  sections,
  examples: [
    "softprompt inspect t5-nano",
    "softprompt inspect t5-nano --partial depth=0.5,width=0.25",
    "softprompt inspect runs/sst2/adapter --model t5-nano",
  ],
  run: async (options, [target], context) => (await import("../work/inspect.js")).inspect(options, target!, context),
});

export type InspectValues = OptionValues<(typeof sections)["Model"]> &
  OptionValues<(typeof sections)["Shape of the step"]> &
  OptionValues<(typeof sections)["Adapter"]>;
