/**
 * @file The content of an adapter from a method's result. In: the method and its settings, the final parameters. Out: a prompt, or the
 * parameters of a method that leaves no prompt.
 */
import { appliedModel, appliedSettings } from "../adapter/applied.js";
import type { Adapter } from "../adapter/types.js";
import type { Parameters } from "../base/tensor.js";
import type { Method } from "../method/method.js";
import type { MethodChoice } from "../method/options.js";
import type { ModelConfig } from "../model/architecture.js";

export function adapterContent(
  config: ModelConfig,
  options: MethodChoice,
  { leaves }: Pick<Method, "leaves">,
  left: Parameters,
): Pick<Adapter, "prompt" | "applied"> {
  if (left.prompt !== undefined) return { prompt: left.prompt };
  const settings = appliedSettings(options.method, options, leaves?.settings);
  return {
    prompt: { shape: [0, config.width], data: new Float32Array(0) },
    applied: { method: options.method, settings, parameters: left, model: appliedModel(config) },
  };
}
