/**
 * @file The options of softprompt show.
 */
import { boolean, integer, type OptionValues, string } from "../../base/options.js";
import type { dataOptions } from "../../tasks/data.js";
import { modelOptions } from "../../tasks/options.js";

const { model: _, ...engine } = modelOptions;

export const showOptions = {
  examples: integer({ default: 3, min: 0, unit: "rows", help: "Rows of each split to print" }),
  maxInputTokens: integer({
    default: 492,
    min: 1,
    unit: "tokens",
    help: "Longest input, to count rows that would be cut",
  }),
  model: string({
    placeholder: "folder or hub id",
    help: "Count tokens with this model's tokenizer; of an adapter, its base model",
  }),
  revision: engine.revision,
  offline: engine.offline,
};

export const wordOptions = {
  anyBase: boolean({ default: false, help: "Use the adapter though the base model is not the recorded one" }),
  nearest: boolean({
    default: false,
    help: "Print the vocabulary words nearest to each virtual token; with data also the score when they stand in its place",
  }),
};

export type ShowValues = OptionValues<typeof dataOptions> &
  OptionValues<typeof showOptions> &
  OptionValues<typeof wordOptions>;
