/**
 * @file The forms that an adapter is exported in, and their options: the command line's and the library's.
 */
import { boolean, choice, optionsOf } from "../base/options.js";

/** Every form, and what it is. */
export const exportFormats = {
  onnx: "a model with the prompt in it, for transformers.js",
  "onnx-adapter": "the prompt as .onnx_adapter, for ONNX Runtime and a model written with a prompt input",
  npy: "the prompt's vectors as .npy",
  raw: "the prompt's vectors as float32, described by a JSON file",
  vllm: "the body of a request to vLLM that carries embeddings",
  sglang: "the body of a request to SGLang that carries embeddings",
} as const;

/** Options that a form takes beside those that all take. */
export const takenOptions = {
  onnx: ["dtype", "promptInput"],
  "onnx-adapter": [],
  npy: [],
  raw: [],
  vllm: ["maxTokens"],
  sglang: ["maxTokens"],
} as const satisfies Record<ExportFormat, readonly string[]>;

/** Name of a form that an adapter is exported in. */
export type ExportFormat = keyof typeof exportFormats;

/** Option table of an exported ONNX model. */
export const exportOptions = optionsOf("exportModel()", {
  dtype: choice({
    values: ["fp32", "int8"],
    default: "fp32",
    help: "Numbers of the linear layers in the blocks of the ONNX model; int8 is transformers.js' q8, and rounds: compare scores",
  }),
  promptInput: boolean({
    default: false,
    help: "Leave the prompt of the ONNX model open, without --adapter: optional inputs take it from an .onnx_adapter file at run time",
  }),
});
