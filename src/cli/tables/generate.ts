/**
 * @file The options of softprompt generate.
 */
import { boolean, type OptionValues } from "../../base/options.js";
import type { generateOptions } from "../../tasks/generate-options.js";
import type { adapterOptions, recordedModel } from "./predict.js";

export const outputOptions = {
  stream: boolean({
    default: false,
    help: "Show the text as it is written; with --json one line per token, and a last one with the whole",
  }),
};

export type GenerateValues = OptionValues<typeof recordedModel> &
  OptionValues<typeof adapterOptions> &
  OptionValues<typeof generateOptions> &
  OptionValues<typeof outputOptions>;
