/**
 * @file A tuned prompt as `.onnx_adapter`: ONNX Runtime's file of named tensors, which fill optional inputs of a model at each run.
 *
 * In: a base model, an adapter. Out: the inputs of a model that was exported with them (draft.ts: promptInputs), and the file's bytes. The
 * file is a flatbuffer. Only what inputs can give has this form: changed weights have not, and an encoder-decoder takes vectors alone.
 */
import { Builder } from "flatbuffers";
import { runnable } from "../adapter/applied.js";
import type { Adapter } from "../adapter/types.js";
import { SoftpromptError } from "../base/errors.js";
import { floatBytes } from "../base/floats.js";
import { dtypes, type Parameters, type Tensor } from "../base/tensor.js";
import { architectureOf } from "../model/architectures.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { bakedKeys } from "./baked.js";
import { promptInputs } from "./draft.js";
import { refusePlaced } from "./onnx.js";
import { plainPrompt } from "./prompt-files.js";

/** What the model's optional inputs are given. @throws SoftpromptError "adapter" for what they cannot take. */
export async function promptTensors(checkpoint: Checkpoint, adapter: Adapter): Promise<Parameters> {
  const { config } = checkpoint;
  refusePlaced(adapter, "the inputs of an ONNX model put it nowhere else");
  const architecture = architectureOf(config);
  if (architecture.taskType === "SEQ_2_SEQ_LM") return { [promptInputs.vectors]: plainPrompt(adapter) };
  const { method, parameters } = runnable(adapter, config);
  if (method.folded !== undefined)
    throw new SoftpromptError("adapter", "this adapter changes weights, and an .onnx_adapter gives a prompt alone", {
      where: "adapter",
      expected: "a prompt or a prefix",
      got: `method ${method.name}`,
      hint: "softprompt export onnx writes a model with it in",
    });
  const { length, layers } = await bakedKeys(checkpoint, method, parameters);
  const { heads: G, headWidth: K } = architecture.keys(config);
  const joined = (part: "key" | "value"): Tensor => {
    const data = new Float32Array(layers.length * G * length * K);
    for (const [i, layer] of layers.entries()) data.set(layer[part], i * G * length * K);
    return { shape: [layers.length, G, length, K], data };
  };
  return { [promptInputs.keys]: joined("key"), [promptInputs.values]: joined("value") };
}

const fileIdentifier = "TORT";
/** Of the format; those of adapter and model are their makers' own, and ONNX Runtime reads neither. */
const versions = { format: 1, adapter: 1, model: 1 };
/** Of the numbers, as the schema asks. They are read in place. */
const alignment = 8;

/** The file: {versions, parameters: [{name, dims, type, bytes}]}. */
export function adapterFile(tensors: Parameters): Uint8Array {
  const b = new Builder(1024);
  const parameters = Object.entries(tensors).map(([name, { shape, data }]) => {
    const bytes = floatBytes(data);
    b.prep(alignment, bytes.length);
    const rawData = b.createByteVector(bytes);
    b.startVector(8, shape.length, 8);
    for (const size of shape.toReversed()) b.addInt64(BigInt(size));
    const dims = b.endVector();
    const text = b.createString(name);
    b.startObject(4);
    b.addFieldOffset(0, text, 0);
    b.addFieldOffset(1, dims, 0);
    b.addFieldInt32(2, dtypes.float32.onnx, 0);
    b.addFieldOffset(3, rawData, 0);
    return b.endObject();
  });
  b.startVector(4, parameters.length, 4);
  for (const parameter of parameters.toReversed()) b.addOffset(parameter);
  const list = b.endVector();
  b.startObject(4);
  for (const [i, version] of [versions.format, versions.adapter, versions.model].entries())
    b.addFieldInt32(i, version, 0);
  b.addFieldOffset(3, list, 0);
  b.finish(b.endObject(), fileIdentifier);
  return b.asUint8Array();
}
