/**
 * @file softprompt.json, our file beside PEFT's: data that PEFT's files cannot hold, and the compact form of a pruned prompt.
 *
 * In: an Adapter. Out: JSON text, and back; every field checked. Holds mask, surviving values (enough to rebuild the dense
 * prompt without PEFT's file), base model and tokenizer by sha256, task, training, scores, and the sha256 of the prompt.
 */
import { z } from "zod";
import { SoftpromptError } from "../base/errors.js";
import { sha256 } from "../base/files.js";
import { floatBytes, floatsFromText, floatsToText } from "../base/floats.js";
import { isObject, type JsonObject, parseJson } from "../base/json.js";
import type { Parameters, Tensor } from "../base/tensor.js";
import { defineTask } from "../data/define.js";
import type { MetricName } from "../data/metrics.js";
import type { Scoring, Task } from "../data/row.js";
import { applyMask, gatherLive, maskFromJson, packMask, scatterLive } from "../method/mask.js";
import { livingParameters, parametersSha256 } from "./applied.js";
import type { Adapter } from "./types.js";

export const extrasFile = "softprompt.json";
export const extrasLimits = { bytes: 1 << 26 } as const;

const text = z.string().max(1_000_000);
const hash = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.number().int().min(0).max(1e12);
const size = count.min(1).max(65_536);
/** Label → words. Kept as it is: z.record drops a label that is called `__proto__`. */
const words = z.custom<Readonly<Record<string, string>>>(
  (value) => isObject(value) && Object.values(value).every((w) => typeof w === "string" && w.length <= 1_000_000),
  "expected label words",
);
const scores = z.record(z.string().max(100), z.number());

const format = z.looseObject({
  format: z.literal("softprompt-adapter"),
  version: z.literal(1),
  /** null if the method leaves no prompt; then `applied` holds its result. */
  prompt: z.looseObject({ tokens: size, width: size, sha256: hash }).nullable(),
  applied: z
    .looseObject({
      method: z.string().max(100),
      settings: z.custom<JsonObject>((value) => isObject(value), "expected settings"),
      sha256: hash,
      model: z.object({
        taskType: z.enum(["SEQ_2_SEQ_LM", "CAUSAL_LM"]),
        layers: size.nullable(),
        keyHeads: size.nullable(),
        headWidth: size.nullable(),
        transposed: z.boolean(),
      }),
    })
    .nullable()
    .optional(),
  mask: z.unknown().nullable(),
  /** Surviving values in row-major order, float32 little-endian, base64; null where nothing is pruned, and beside PEFT's file. */
  surviving: z.looseObject({ count, data: z.string().max(extrasLimits.bytes) }).nullable(),
  base: z.looseObject({
    name: text,
    revision: text.nullable(),
    sha256: hash.nullable(),
    family: z.string().nullable(),
    width: size.nullable(),
    layers: size.nullable(),
    heads: size.nullable(),
  }),
  tokenizer: z.looseObject({ sha256: hash }).nullable(),
  task: z
    .looseObject({
      name: text,
      template: text,
      verbalizer: words.nullable(),
      metrics: z.array(z.string().max(100)).min(1).max(100),
      maxTargetTokens: size,
      targetPrefix: text,
      scoring: z.record(z.string().max(100), z.unknown()).optional(),
      selectBy: z.enum(["first", "mean"]).optional(),
      generative: z.boolean().optional(),
      openAnswers: z.boolean().optional(),
      columns: z.looseObject({ fields: words.optional(), label: text.optional(), target: text.optional() }).optional(),
    })
    .nullable(),
  chat: z.boolean().optional(),
  training: z
    .looseObject({
      method: text,
      schedule: z.array(z.looseObject({ partial: text, steps: count })).max(10_000),
      seed: z.number(),
      settings: z.record(z.string(), z.unknown()),
    })
    .nullable(),
  scores: z.looseObject({ split: text, rows: count, values: scores }).nullable(),
});

const ownFields = Object.keys(format.shape);

/** Checks the task by the same rules as a declared one. Otherwise an unknown metric or scoring would fail only when rows are scored. */
function checkedTask(task: NonNullable<z.infer<typeof format>["task"]>, where: string): Task {
  const { name, template, verbalizer, metrics, maxTargetTokens, targetPrefix } = task;
  const { scoring, selectBy, generative, openAnswers } = task;
  const { fields, label, target } = task.columns ?? {};
  try {
    return defineTask({
      name,
      template,
      verbalizer,
      metrics: metrics as MetricName[],
      maxTargetTokens,
      targetPrefix,
      ...(scoring && { scoring: scoring as Scoring }),
      selectBy,
      generative,
      openAnswers,
      columns: { fields, label, target },
    });
  } catch (error) {
    if (!(error instanceof SoftpromptError)) throw error;
    const { expected, got } = error.parts;
    throw new SoftpromptError("adapter", `the task is wrong: ${error.problem}`, {
      where: `${where}: ${error.parts.where}`,
      expected,
      got,
      cause: error,
    });
  }
}

/** sha256 of a prompt's values as little-endian float32, row-major: the same for the dense and the compact form. */
export function promptSha256(prompt: Tensor): string {
  return sha256(floatBytes(prompt.data));
}

/**
 * The file's text. Fields that others added (`kept.extras`) stay.
 * @param alone whether there is no PEFT file beside it. Then it must hold the surviving values (all values of a prompt that is not pruned);
 * beside PEFT's file they would be stored twice
 */
export function extrasText(adapter: Adapter, alone: boolean): string {
  const { prompt, mask, applied } = adapter;
  const [tokens, width] = prompt.shape;
  const live = alone ? (mask ? gatherLive(prompt, mask) : prompt.data) : null;
  const json: Record<string, unknown> = {
    ...adapter.kept.extras,
    format: "softprompt-adapter",
    version: 1,
    prompt: applied ? null : { tokens, width, sha256: promptSha256(prompt) },
    ...(applied && {
      applied: {
        method: applied.method,
        settings: applied.settings,
        model: applied.model,
        sha256: parametersSha256(applied.parameters),
      },
    }),
    mask: mask && packMask(mask),
    surviving: live && { count: live.length, data: floatsToText(live) },
    base: adapter.base,
    tokenizer: adapter.tokenizer && { sha256: adapter.tokenizer },
    task: adapter.task,
    ...(adapter.chat ? { chat: true } : {}),
    training: adapter.training,
    scores: adapter.scores,
  };
  // without indentation if there is a mask too, so that pruning does not make an adapter larger
  return `${JSON.stringify(json, null, mask ? 0 : 2)}\n`;
}

/**
 * Reads the file. @param dense the prompt of PEFT's file, or null to rebuild it from the surviving values.
 * @param parameters parameters of a method that leaves no prompt, from PEFT's file or our own; null if there are none
 * @throws SoftpromptError "adapter" when a field is wrong or the two forms are not the same prompt.
 */
export function readExtras(
  bytes: Uint8Array,
  dense: Tensor | null,
  where: string,
  parameters: Parameters | null = null,
): Omit<Adapter, "kept"> & { extras: JsonObject } {
  const raw = parseJson(new TextDecoder().decode(bytes), where, "adapter", { length: extrasLimits.bytes });
  const parsed = format.safeParse(raw);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new SoftpromptError("adapter", `${issue.path.join(".") || "the file"} is wrong: ${issue.message}`, {
      where,
      expected: "the fields softprompt writes, version 1",
    });
  }
  const json = parsed.data;
  const wrong = (problem: string, expected: string, got: unknown, hint?: string) =>
    new SoftpromptError("adapter", problem, { where, expected, got, hint });
  const told = {
    base: json.base,
    tokenizer: json.tokenizer?.sha256 ?? null,
    task: json.task && checkedTask(json.task, where),
    ...(json.chat ? { chat: true } : {}),
    training: json.training,
    scores: json.scores && { ...json.scores, values: json.scores.values as Partial<Record<MetricName, number>> },
    extras: Object.fromEntries(Object.entries(json).filter(([key]) => !ownFields.includes(key))),
  };
  const mask = json.mask === null ? null : maskFromJson(json.mask, where);
  if (json.prompt === null || json.applied) {
    if (!json.applied || json.prompt !== null)
      throw wrong("there is not one of a prompt and a method's parameters", "prompt or applied", "both or neither");
    const { method, settings, model, sha256: recorded } = json.applied;
    if (parameters === null)
      throw wrong(
        "the method's parameters are missing",
        "adapter_model.safetensors or softprompt.safetensors",
        "neither",
      );
    const found = parametersSha256(parameters);
    if (found !== recorded)
      throw wrong("the parameters are not those that this file describes", `values with sha256 ${recorded}`, found);
    const empty: Tensor = { shape: [0, json.base.width ?? 0], data: new Float32Array(0) };
    const applied = { method, settings, model, parameters };
    const living = livingParameters(applied, mask, where);
    if (mask && parametersSha256(living) !== recorded)
      throw wrong(
        "entries that the mask prunes are not zero",
        `values with sha256 ${recorded}`,
        parametersSha256(living),
      );
    return { prompt: empty, mask, applied, ...told };
  }
  const { tokens, width } = json.prompt;
  if (mask && mask.tokens.length !== tokens)
    throw wrong("the mask is for another number of tokens", `${tokens}`, mask.tokens.length);
  const values = json.surviving && floatsFromText(json.surviving.data, `${where}: surviving.data`, "adapter");
  if (values && !mask && values.length !== tokens * width)
    throw wrong("there is another number of values than the prompt has", `${tokens * width}`, values.length);
  const surviving = values && (mask ? scatterLive(values, mask, width) : { shape: [tokens, width], data: values });
  const prompt = dense ?? surviving;
  if (!prompt)
    throw wrong("there are no prompt values", "surviving values, or PEFT's adapter_model.safetensors", "neither");
  if (prompt.shape[0] !== tokens || prompt.shape[1] !== width)
    throw wrong("the prompt has another shape than recorded", `[${tokens}, ${width}]`, `[${prompt.shape.join(", ")}]`);
  for (const form of [prompt, surviving, mask && applyMask(prompt, mask)])
    if (form && promptSha256(form) !== json.prompt.sha256)
      throw wrong(
        "the prompt is not the one this file describes",
        `values with sha256 ${json.prompt.sha256}`,
        promptSha256(form),
        "a file was changed or replaced; to go by PEFT's files alone, remove softprompt.json",
      );
  return { prompt, mask, ...told };
}
