/**
 * @file What a method leaves, as an adapter holds it. In: the method and its settings, the parameters that are left. Out: a prompt, or
 * parameters of a method that leaves none.
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
