/**
 * @file How text is generated, as an option table: the command line's `generate` and the library's have one.
 */
import { integer, list, number, type OptionValues, optionsOf } from "../base/options.js";

/** Option table of `generate`: how a text is written. */
export const generateOptions = optionsOf("generate()", {
  maxTokens: integer({ default: 64, min: 1, unit: "tokens", help: "Longest text that is written" }),
  temperature: number({
    default: 0,
    min: 0,
    help: "0 takes the likeliest token each time; 1 draws as the model's probabilities say, more flattens and less sharpens them",
    source: "transformers: temperature, then top-k, then top-p",
  }),
  topK: integer({
    default: 0,
    min: 0,
    unit: "tokens",
    help: "Draw from so many of the likeliest tokens only; 0 is all",
  }),
  topP: number({
    default: 1,
    min: 0,
    max: 1,
    help: "Draw from the likeliest tokens that reach this probability together; 1 is all",
  }),
  seed: integer({ default: 0, min: 0, help: "Draws are the same for the same seed" }),
  stop: list({
    of: "string",
    whole: true,
    default: [],
    help: "Texts that end the answer; they are not part of it, wherever they fall in its tokens. A text stands as it is: a line break is $'\\n' in bash and zsh, and \\n is a backslash and an n",
  }),
  maxInputTokens: integer({
    min: 1,
    unit: "tokens",
    help: "Longest text to go on from; a longer one loses its end",
    source: "default what the adapter was tuned with, else what the model's context window holds, else 492",
  }),
});

/** How a text is written, with defaults filled in. */
export type GenerateOptions = OptionValues<typeof generateOptions>;
