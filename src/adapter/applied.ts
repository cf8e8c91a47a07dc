/**
 * @file Adapters of methods that leave no prompt: LoRA's factors, a prefix, changed weights. Makes the engine's Method from an Adapter, and
 * reads and writes the file of parameters for which PEFT has no form.
 *
 * In: an Adapter, a model's config. Out: a Method and its parameters, each checked against the model.
 */
import { SoftpromptError } from "../base/errors.js";
import { sha256 } from "../base/files.js";
import { floatBytes } from "../base/floats.js";
import type { JsonObject } from "../base/json.js";
import { integer, type OptionTable, readOptions } from "../base/options.js";
import { type Parameters, shapeText } from "../base/tensor.js";
import { applyMask, type PromptMask } from "../method/mask.js";
import type { Method } from "../method/method.js";
import { methods } from "../method/methods.js";
import { type MethodName, type MethodSettings, ownMethodOptions } from "../method/options.js";
import { promptTuning } from "../method/prompt.js";
import { maskRows } from "../method/rows.js";
import type { ModelConfig } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import { parseSafetensors, writeSafetensors } from "../model/safetensors.js";
import type { Adapter, Applied, AppliedModel } from "./types.js";

/** File of parameters in our own form, used where PEFT has none. */
export const appliedFile = "softprompt.safetensors";
/** Fine-tuned weights are as large as the model. */
export const appliedBytes = 2 ** 30;

/** A method and its parameters, ready for an engine. */
export interface Runnable {
  readonly method: Method;
  readonly parameters: Parameters;
}

/** @throws SoftpromptError "adapter" for settings or parameters that no such method on this model has. */
export function runnable(adapter: Pick<Adapter, "prompt" | "mask" | "applied">, config: ModelConfig): Runnable {
  const { applied, mask } = adapter;
  // files hold pruned entries as zeros, but an adapter that a program made may hold them as they were
  if (applied === undefined) {
    const prompt = mask === null ? adapter.prompt : applyMask(adapter.prompt, mask);
    return { method: promptTuning, parameters: { prompt } };
  }
  const method = openApplied(applied);
  const where = `adapter of method ${applied.method}`;
  const expected = new Map(specsOf(method, config, where).map(({ name, shape }) => [name, shape]));
  for (const name of new Set([...expected.keys(), ...Object.keys(applied.parameters)])) {
    const shape = expected.get(name);
    const found = Object.hasOwn(applied.parameters, name) ? applied.parameters[name] : undefined;
    if (shape !== undefined && found !== undefined && shape.join() === found.shape.join()) continue;
    throw new SoftpromptError("adapter", `${name} does not fit the base model`, {
      where,
      expected: shape === undefined ? "no such tensor" : shapeText("float32", shape),
      got: found === undefined ? "nothing" : shapeText("float32", found.shape),
      hint: "load the base model that the adapter was tuned on",
    });
  }
  return { method, parameters: livingParameters(applied, mask, where) };
}

/** The parameters with pruned entries as zeros. @throws SoftpromptError "adapter" for a mask that cannot belong to them. */
export function livingParameters(applied: Applied, mask: PromptMask | null, where: string): Parameters {
  if (mask === null) return applied.parameters;
  const refuse = (problem: string, expected: string, got: unknown, cause?: unknown) =>
    new SoftpromptError("adapter", problem, { where, expected, got, cause });
  if (openApplied(applied).rows === undefined)
    throw refuse("the adapter has a mask, but nothing of its method can be pruned", "no mask", applied.method);
  try {
    return maskRows(applied.parameters, mask);
  } catch (error) {
    if (!(error instanceof SoftpromptError)) throw error;
    const { expected = "a mask of these parameters", got } = error.parts;
    throw refuse(`the mask does not fit: ${error.problem}`, expected, got, error);
  }
}

/** Settings that name layers which this model does not have are the adapter's fault, not the user's. */
function specsOf(method: Method, config: ModelConfig, where: string) {
  try {
    return method.parameters(config);
  } catch (error) {
    if (!(error instanceof SoftpromptError)) throw error;
    throw new SoftpromptError("adapter", `the adapter does not fit the base model: ${error.problem}`, {
      ...error.parts,
      where,
      cause: error,
    });
  }
}

const recorded = {
  ...ownMethodOptions,
  virtualTokens: integer({ default: 20, min: 1, max: 1 << 16, help: "length of a prefix" }),
  seed: integer({ default: 0, min: 0, help: "of fixed random matrices" }),
};

/** Methods that leave parameters of their own: `prompt` where it enters late. The others leave a prompt. */
const appliedMethods: readonly string[] = ["lora", "prefix", "full", "prompt"] satisfies MethodName[];

function openApplied({ method, settings }: Pick<Applied, "method" | "settings">): Method {
  const where = `adapter of method ${JSON.stringify(method)}`;
  if (!appliedMethods.includes(method))
    throw new SoftpromptError("adapter", "the adapter is of an unknown method", {
      where,
      expected: appliedMethods.join(", "),
      got: method,
    });
  try {
    return methods[method as MethodName].open(readOptions(recorded, settings, where) as MethodSettings);
  } catch (error) {
    if (!(error instanceof SoftpromptError)) throw error;
    throw new SoftpromptError("adapter", `the method's settings are wrong: ${error.problem}`, {
      ...error.parts,
      where,
      cause: error,
    });
  }
}

/** The record in an adapter of a method that was trained with these settings. */
export function appliedSettings(name: MethodName, settings: MethodSettings, instead: object = {}): JsonObject {
  const own: OptionTable = methods[name].options;
  const all: Record<string, unknown> = { ...settings, ...instead };
  const kept = [...Object.keys(own), "virtualTokens", "seed"].map((key) => [key, all[key]]);
  return JSON.parse(JSON.stringify(Object.fromEntries(kept))) as JsonObject;
}

export function appliedModel(config: ModelConfig): AppliedModel {
  const architecture = architectureOf(config);
  const { heads, headWidth } = architecture.keys(config);
  return {
    taskType: architecture.taskType,
    layers: architecture.stacks(config).at(-1)!.layers,
    keyHeads: heads,
    headWidth,
    transposed: architecture.tensors(config).some(({ transposed }) => transposed === true),
  };
}

/** sha256 over names, shapes and values, in the order of the names. */
export function parametersSha256(parameters: Parameters): string {
  const hashes = Object.keys(parameters)
    .sort()
    .map((name) => {
      const { shape, data } = parameters[name]!;
      return `${JSON.stringify(name)} ${shape.join("x")} ${sha256(floatBytes(data))}`;
    });
  return sha256(hashes.join("\n"));
}

export function writeParameters(parameters: Parameters): Uint8Array {
  return writeSafetensors(parameters, { format: "pt" });
}

/** Every tensor of the file. @throws SoftpromptError "adapter". */
export function readParameters(bytes: Uint8Array, where: string): Parameters {
  const file = parseSafetensors(bytes, where, "adapter");
  return Object.fromEntries([...file.entries.keys()].map((name) => [name, file.tensor(name)]));
}

/** @throws SoftpromptError "adapter" for a value that is NaN or infinite. */
export function checkParameters(parameters: Parameters, where: string): void {
  for (const [name, { data }] of Object.entries(parameters)) {
    const at = data.findIndex((value) => !Number.isFinite(value));
    if (at >= 0)
      throw new SoftpromptError("adapter", "the adapter holds a value that is not a finite number", {
        where: `${where}: ${name}, element ${at}`,
        expected: "finite numbers",
        got: data[at],
      });
  }
}
