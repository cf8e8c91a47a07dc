/**
 * @file The options of softprompt inspect.
 */
import { boolean, integer, type OptionValues, string } from "../../base/options.js";
import { modelOptions } from "../../tasks/options.js";

export const sections = {
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
    anyBase: boolean({ default: false, help: "Use this base model though it is not the recorded one" }),
    nearest: integer({ default: 5, min: 0, unit: "words", help: "Nearest vocabulary words per virtual token" }),
  },
};

export type InspectValues = OptionValues<(typeof sections)["Model"]> &
  OptionValues<(typeof sections)["Shape of the step"]> &
  OptionValues<(typeof sections)["Adapter"]>;
