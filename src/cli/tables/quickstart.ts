/**
 * @file The options of softprompt quickstart.
 */
import { type OptionValues, string } from "../../base/options.js";
import { modelOptions } from "../../tasks/options.js";

export const quickstartModel = {
  ...modelOptions,
  model: string({
    placeholder: modelOptions.model.placeholder,
    help: modelOptions.model.help,
    source: "default t5-nano, the smaller bundled one",
  }),
};

export const quickstartOptions = {
  output: string({
    placeholder: "folder",
    help: "Run folder",
    source: "default runs/quickstart, or the next free runs/quickstart-N",
  }),
};

export type QuickstartValues = OptionValues<typeof quickstartModel> & OptionValues<typeof quickstartOptions>;
