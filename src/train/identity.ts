/**
 * @file The inputs of a run as facts, so that a resume can detect changes. In: TrainInput. Out: named facts.
 *
 * Facts are plain strings: settings in full, so that a change can be shown; prompts, rows, weights and neurons as sha256.
 */
import { SoftpromptError } from "../base/errors.js";
import { floatBytes } from "../base/floats.js";
import { sha256Hex } from "../base/sha256.js";
import type { Tensor } from "../base/tensor.js";
import { withoutColumns } from "../data/define.js";
import type { Row } from "../data/row.js";
import type { Engine } from "../engine/types.js";
import { scoredRows } from "../evaluate/evaluate.js";
import { maskToJson } from "../method/mask.js";
import { promptTuning } from "../method/prompt.js";
import type { PartialStack } from "../model/partial.js";
import { roundingFacts } from "../model/quantise.js";
import { freeSettings, type TrainSettings, trainOptions } from "./options.js";
import type { Identity, TrainInput } from "./types.js";

export type { Identity } from "./types.js";

/** Options of the engine that change the last digits of results. They must not change within a run. */
const arithmetic = ["device", "lowMemory", "plainOps"] as const satisfies readonly (keyof Engine["options"])[];

/** Facts about everything that decides the result of a training. */
export async function identityOf(input: Omit<TrainInput, "run">): Promise<Identity> {
  const { schedule, settings, task, mask } = input;
  const facts: Record<string, string> = {
    "model weights": await input.engine.checkpoint.sha256(),
    "model config": sha256Hex(JSON.stringify(input.engine.checkpoint.config)),
    tokenizer: input.tokenizer.sha256,
    ...(input.tokenizer.rules?.chat === undefined
      ? {}
      : { "chat template": sha256Hex(JSON.stringify(input.tokenizer.rules.chat)) }),
    "training rows": rowsHash(input.train),
    "validation rows": rowsHash(input.validation),
    ...Object.fromEntries(
      Object.entries(input.parameters).map(([name, tensor]) => [`start ${name}`, tensorHash(tensor)]),
    ),
    mask: mask === null ? "none" : sha256Hex(JSON.stringify(maskToJson(mask))),
    "schedule.resetOptimizerOnGrow": String(schedule.resetOptimizerOnGrow),
    "schedule.plateau": JSON.stringify(schedule.plateau),
    "schedule.stages": String(schedule.stages.length),
    keep: JSON.stringify(input.keep ?? []),
  };
  // runs of version 0.1 do not name it: they trained a prompt
  if (input.engine.method.key !== promptTuning.key) facts.method = input.engine.method.key;
  // recorded only if it is used, so that runs of earlier versions can be resumed
  for (const [what, how] of Object.entries(roundingFacts(input.engine))) facts[`engine.${what}`] = how;
  for (const key of arithmetic) facts[`engine.${key}`] = String(input.engine.options[key]);
  // identifies the drawn rows: an earlier version drew other rows for each seed
  const scored = scoredRows(input.validation, settings);
  if (scored.length < input.validation.length) facts["rows of an evaluation"] = rowsHash(scored);
  for (const [key, value] of Object.entries(withoutColumns(task))) facts[`task.${key}`] = JSON.stringify(value);
  // only keys of the table, because a caller's settings may have more keys than the trainer reads
  for (const key of Object.keys(trainOptions) as (keyof TrainSettings)[])
    if (!freeSettings.has(key)) facts[`settings.${key}`] = String(settings[key]);
  for (const [i, { partial, steps, rate }] of schedule.stages.entries()) {
    facts[`schedule.stage ${i + 1}.steps`] = String(steps);
    if (rate !== undefined) facts[`schedule.stage ${i + 1}.rate`] = String(rate);
    facts[`schedule.stage ${i + 1}.model`] =
      `${partial.name} ${Object.values(partial.stacks).map(stackHash).join(" ")}`;
  }
  return facts;
}

/** @throws SoftpromptError "run" naming every fact that differs, with both values. */
export function checkIdentity(saved: Identity, now: Identity, where: string): void {
  const names = new Set([...Object.keys(saved), ...Object.keys(now)]);
  const of = (facts: Identity, name: string) => (Object.hasOwn(facts, name) ? facts[name] : undefined);
  const changed = [...names].filter((name) => of(saved, name) !== of(now, name));
  if (changed.length === 0) return;
  // an untrusted file may name anything, at any length
  const told = changed.slice(0, 12);
  const more = changed.length > told.length ? `, and ${changed.length - told.length} more` : "";
  const cut = (text: string) => (text.length > 120 ? `${text.slice(0, 119)}…` : text);
  const value = (facts: Identity, name: string) => {
    const text = of(facts, name);
    if (text === undefined) return "absent";
    return /^[0-9a-f]{64}$/.test(text) ? `sha256 ${text.slice(0, 12)}…` : cut(text);
  };
  const list = (facts: Identity) => told.map((name) => `${cut(name)} = ${value(facts, name)}`).join("; ");
  throw new SoftpromptError(
    "run",
    `the run cannot be resumed: changed since it began: ${told.map(cut).join(", ")}${more}`,
    {
      where,
      expected: list(saved),
      got: list(now),
      hint: `put back what changed${changed.some(isStageSteps) ? ` (${stageStepsFrom})` : ""}${changed.includes("task.openAnswers") ? " (task.openAnswers follows from --train-end: runs of earlier versions were trained with it)" : ""}, or start a new run in another folder`,
    },
  );
}

/** A schedule's facts describe its stages, but the user gave options. */
const isStageSteps = (fact: string) => /^schedule\.stage \d+\.steps$/.test(fact);
const stageStepsFrom = "a stage's steps follow from --steps, --stage-steps, --stage-fractions and --budget";

/** sha256 of a prompt's shape and bytes. */
export function tensorHash({ shape, data }: Tensor): string {
  return sha256Hex(joined(new TextEncoder().encode(`${shape.join("x")}:`), floatBytes(data)));
}

function rowsHash(rows: readonly Row[]): string {
  return sha256Hex(rows.map((row) => JSON.stringify(row)).join("\n"));
}

function stackHash({ layers, neurons }: PartialStack): string {
  const kept = neurons === null ? "all" : sha256Hex(neurons.map((n) => n.join()).join(";")).slice(0, 16);
  return `layers ${layers.join()} neurons ${kept}`;
}

function joined(head: Uint8Array, body: Uint8Array): Uint8Array {
  const whole = new Uint8Array(head.length + body.length);
  whole.set(head);
  whole.set(body, head.length);
  return whole;
}
