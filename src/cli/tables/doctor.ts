/**
 * @file The options of softprompt doctor.
 */
import { type OptionValues, string } from "../../base/options.js";
import { modelOptions } from "../../tasks/options.js";

export const sections = {
  Model: {
    model: string({
      placeholder: "folder or hub id",
      help: "Base model whose products are timed in float32 and in 8 bits",
    }),
    revision: modelOptions.revision,
    offline: modelOptions.offline,
  },
};

export type DoctorValues = OptionValues<(typeof sections)["Model"]>;
