/**
 * @file softprompt generate, declared: a model continues a text. The work itself is ../actions/generate.ts.
 */
import { generateOptions } from "../../tasks/generate-options.js";
import { command } from "../command.js";
import { outputOptions } from "../tables/generate.js";
import { adapterOptions, recordedModel } from "../tables/predict.js";

export const generate = command({
  summary: "write on from a text, with a tuned prompt or without",
  description:
    "Writes what the model says after TEXT, or after all of standard input. The text stands as it is: no task's template is put around it (softprompt predict does that). With --chat, or under an adapter that was tuned with it, it is a user's message in the model's own chat template. A blank at the text's end belongs to the word that follows, so it is left to the model. The answer ends where the model ends it, at a stop string, after --max-tokens, or where the model knows no further position; --json says which. Equal seeds give equal texts.",
  positionals: [{ name: "text", help: "the text to go on from; without it, standard input", required: false }],
  sections: {
    Model: recordedModel,
    Prompt: adapterOptions,
    Generation: generateOptions,
    Output: outputOptions,
  },
  examples: [
    'softprompt generate "The capital of France is" --model HuggingFaceTB/SmolLM2-135M',
    'softprompt generate "Write a rhyme about snow." --model HuggingFaceTB/SmolLM2-135M-Instruct --chat --temperature 0.8 --top-p 0.9 --stream',
    'softprompt generate "summarize: …" --adapter runs/news --max-tokens 80 --stop "Question:"',
  ],
  run: async (options, [text], context) => (await import("../actions/generate.js")).generate(options, text, context),
});
