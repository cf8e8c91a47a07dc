/**
 * @file softprompt study and compare, declared: the papers' experiments as commands. The work itself is ../actions/study.ts.
 */
import { modelOptions } from "../../tasks/options.js";
import { command } from "../command.js";
import { compareSections, sections, studySections } from "../tables/study.js";

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
  saves: "finishing this step and saving",
  run: async (options, [name], context) => (await import("../actions/study.js")).study(options, name, context),
});

export const compare = command({
  summary: "prompt tuning against Fast Prompt Tuning (the papers' Table 2), or any methods beside each other",
  description:
    "With --methods: trains each of these methods on every task and seed at a learning rate that is searched on held out training rows, asks the frozen model with examples (few-shot) or an instruction, and prints scores, sizes, cost of training and search, scores after so many steps and at equal FLOPs, and pairs against prompt tuning. Without it: trains vanilla prompt tuning, FPT-LD, FPT-FR and FPT-CR on every task and seed, and prints scores, FLOPs and wall clock relative to vanilla, and what vanilla scores at equal FLOPs. The same as `softprompt study methods`, and `softprompt study compare`.",
  positionals: [],
  sections: compareSections,
  examples: [
    "softprompt compare --model t5-nano --tasks sst2=datasets/SST-2 --methods prompt,prefix,lora,full,few-shot --steps 200 --eval-every 25",
    "softprompt compare --model t5-nano --tasks sst2=datasets/SST-2 --tasks rte=datasets/RTE --steps 600 --seeds 0,1,2",
  ],
  saves: "finishing this step and saving",
  run: async (options, _, context) =>
    (await import("../actions/study.js")).studyAnswer(
      options.methods === undefined ? "compare" : "methods",
      options,
      context,
    ),
});
