/** @file The families of models, listed by hand. In: config.json, or a config read from it. Out: its Architecture. */
import { SoftpromptError } from "../base/errors.js";
import { isObject, own, parseJson } from "../base/json.js";
import type { Architecture, ModelConfig } from "./architecture.js";
import { t5 } from "./t5/t5.js";
import { parameterCount } from "./tensors.js";

export const architectures: readonly Architecture[] = [t5];

/** Characters and containers of a config.json, each well above any published one. */
export const configLimits = { length: 1_000_000, containers: 10_000 } as const;

/** 10¹² is ninety times T5-XXL. */
const maxParameters = 1e12;

/** The family that a config belongs to. */
export function architectureOf(config: ModelConfig): Architecture {
  const found = architectures.find((a) => a.name === config.family);
  if (found === undefined) throw new RangeError(`no architecture ${config.family}`);
  return found;
}

/**
 * Reads the text of a config.json. @param where the file's name, for errors.
 * @throws SoftpromptError("checkpoint") for anything that is not a model this project can run, naming the families that it can.
 */
export function readConfig(text: string, where: string): ModelConfig {
  const raw = parseJson(text, where, "checkpoint", configLimits);
  if (!isObject(raw)) throw new SoftpromptError("checkpoint", "config.json must hold one object", { where, got: raw });
  const type = own(raw, "model_type");
  const found = architectures.find((a) => typeof type === "string" && a.modelTypes.includes(type));
  if (found === undefined)
    throw new SoftpromptError("checkpoint", "this model is not of a supported family", {
      where,
      expected: `model_type one of ${architectures.flatMap((a) => a.modelTypes).join(", ")}`,
      got: type,
      hint: "Any T5 will do: t5-small, google/t5-v1_1-base, google/flan-t5-small, …",
    });
  const config = found.readConfig(raw, where);
  const parameters = parameterCount(found.tensors(config));
  if (parameters > maxParameters)
    throw new SoftpromptError("checkpoint", "this model is absurdly large", {
      where,
      expected: `at most ${maxParameters} parameters`,
      got: parameters,
    });
  return config;
}
