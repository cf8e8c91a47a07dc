/**
 * @file Adapters of any method for a model, made without training: parameters as the method starts them, and those that start as zeros
 * random, so that they change what the model says.
 */
import { adapterBase } from "../../src/adapter/adapter.js";
import { appliedModel, appliedSettings } from "../../src/adapter/applied.js";
import type { Adapter } from "../../src/adapter/types.js";
import { defaults } from "../../src/base/options.js";
import { random } from "../../src/base/random.js";
import type { Task } from "../../src/data/row.js";
import { openMethod } from "../../src/method/methods.js";
import { type MethodName, methodOptions } from "../../src/method/options.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";

/** @param scale of a prompt's elements: those of the embedding are about one */
export async function promptAdapter(
  checkpoint: Checkpoint,
  tokens: number,
  scale = 1,
  more: Partial<Adapter> = {},
): Promise<Adapter> {
  const rng = random(7, "prompt of a test");
  const D = checkpoint.config.width;
  return {
    prompt: { shape: [tokens, D], data: Float32Array.from({ length: tokens * D }, () => rng.uniform(-scale, scale)) },
    mask: null,
    base: await adapterBase(checkpoint),
    tokenizer: null,
    task: null,
    training: null,
    scores: null,
    kept: { config: {}, extras: {} },
    ...more,
  };
}

/** A task without labels that puts its prompt where the template says. */
export const placedTask = (template: string): Task => ({
  name: "placed",
  template,
  verbalizer: null,
  metrics: ["exactMatch"],
  maxTargetTokens: 4,
  targetPrefix: "",
});

export async function methodAdapter(
  checkpoint: Checkpoint,
  name: MethodName,
  settings: object = {},
  task: Task | null = null,
): Promise<Adapter> {
  const given = { ...defaults(methodOptions), virtualTokens: 3, seed: 0, ...settings, method: name };
  const rng = random(3, name);
  const started = await openMethod(given).start({
    checkpoint,
    random: rng,
    prompt: async () => {
      const shape = [given.virtualTokens, checkpoint.config.width] as const;
      return { shape, data: new Float32Array(shape[0] * shape[1]) };
    },
  });
  const parameters = Object.fromEntries(
    Object.entries(started).map(([key, { shape, data }]) => [
      key,
      { shape, data: data.some((v) => v !== 0) ? data : data.map(() => rng.uniform(-0.5, 0.5)) },
    ]),
  );
  return {
    ...(await promptAdapter(checkpoint, 0)),
    applied: {
      method: name,
      settings: appliedSettings(name, given),
      parameters,
      model: appliedModel(checkpoint.config),
    },
    task,
  };
}
