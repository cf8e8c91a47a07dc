/**
 * @file softprompt inspect, declared. The work itself is ../actions/inspect.ts.
 */
import { command } from "../command.js";
import { sections } from "../tables/inspect.js";

export const inspect = command({
  summary: "show what is in a base model, a partial model or an adapter",
  description:
    "For a base model: architecture, parameters, element types, sha256 of the weights, and the memory a training step will need. With --partial: what remains of it, its FLOPs and memory. For an adapter, or a run's or search's own: tokens, pieces, parameters, scores, the map of pruned pieces and, with --model, the vocabulary words nearest to each virtual token.",
  positionals: [
    {
      name: "target",
      help: "model folder, hub id, t5-nano, adapter folder, or the folder of a run or search with one",
      required: true,
    },
  ],
  sections,
  examples: [
    "softprompt inspect t5-nano",
    "softprompt inspect t5-nano --partial depth=0.5,width=0.25",
    "softprompt inspect runs/sst2/adapter --model t5-nano",
  ],
  run: async (options, [target], context) => (await import("../actions/inspect.js")).inspect(options, target!, context),
});
