/**
 * @file The options of softprompt export.
 */
import { integer, type OptionValues, string } from "../../base/options.js";
import { exportOptions } from "../../tasks/export-options.js";
import type { adapterOptions, recordedModel } from "./predict.js";

export const outputOptions = {
  output: string({
    placeholder: "folder or file",
    help: "A new or empty folder for onnx, a folder for npy and raw, a file for onnx-adapter, vllm and sglang (default of the last two: standard output)",
  }),
  ...exportOptions,
  maxTokens: integer({
    default: 64,
    min: 1,
    unit: "tokens",
    help: "Longest answer that a vllm or sglang request asks for",
  }),
};

export type ExportValues = OptionValues<typeof recordedModel> &
  OptionValues<typeof adapterOptions> &
  OptionValues<typeof outputOptions>;
