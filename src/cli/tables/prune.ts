/**
 * @file The options of prune in one table.
 */
import type { OptionTable, OptionValues } from "../../base/options.js";
import { dataOptions } from "../../tasks/data.js";
import { modelOptions, promptOptions, pruneTuneOptions } from "../../tasks/options.js";

/** Everything that decides a search, in the order of its config.yaml. */
const tables = { ...modelOptions, ...dataOptions, ...promptOptions, ...pruneTuneOptions };
export const pruneTable: OptionTable = tables;
export type PruneValues = OptionValues<typeof tables>;
