/**
 * @file softprompt export, declared: a tuned prompt for other programs. The work itself is ../actions/export.ts.
 */
import { command } from "../command.js";
import { outputOptions } from "../tables/export.js";
import { adapterOptions, recordedModel } from "../tables/predict.js";

export const exportAdapter = command({
  summary: "write a tuned prompt for other programs: ONNX for transformers.js, .npy, requests to vLLM or SGLang",
  description:
    "FORMAT onnx writes a folder that pipeline(…) of @huggingface/transformers runs unchanged, in Node and in a browser: the model with the prompt, prefix, LoRA or trained weights in it, its tokenizer and configs. Without --adapter it is the frozen model; with --prompt-input that model takes a prompt at run time, and onnx-adapter writes each prompt as one .onnx_adapter file for it, which ONNX Runtime loads. npy and raw write the vectors alone. vllm and sglang write the body of a request that carries the embeddings of prompt and TEXT, for decoder-only models. What a form cannot say (a prompt behind the text, LoRA as vectors) is refused with the reason. docs/use-your-prompt.md compares the ways.",
  positionals: [
    { name: "format", help: "onnx, onnx-adapter, npy, raw, vllm or sglang", required: true },
    { name: "text", help: "the text of a vllm or sglang request, as it stands", required: false },
  ],
  sections: { Prompt: adapterOptions, Output: outputOptions, Model: recordedModel },
  examples: [
    "softprompt export onnx --adapter runs/reviews --output reviews-onnx",
    "softprompt export onnx --prompt-input --model t5-nano --output base-onnx",
    "softprompt export onnx-adapter --adapter runs/reviews --output reviews.onnx_adapter",
    "softprompt export npy --adapter runs/reviews --output reviews-npy",
    'softprompt export vllm "review: a charming film" --adapter runs/reviews --output request.json',
  ],
  run: async (options, [format, text], context) =>
    (await import("../actions/export.js")).exportAs(options, format!, text, context),
});
