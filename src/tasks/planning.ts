/**
 * @file Plans a training: the rows that its schedule may use, the schedule, the start prompt. `tune`, `prune` and every study use it.
 *
 * In: an engine with its tokenizer, a Dataset, options. Out: Schedule, the cost of planning, the start prompt.
 */
import { checkBase } from "../adapter/adapter.js";
import { SoftpromptError } from "../base/errors.js";
import { flagName, type OptionTable } from "../base/options.js";
import type { Tensor } from "../base/tensor.js";
import type { Dataset, Row } from "../data/row.js";
import { compileTemplate, promptMarker } from "../data/template.js";
import { placeOf, worksAt } from "../engine/place.js";
import { type InitKind, type InitSpec, initPrompt } from "../method/init.js";
import type { Method } from "../method/method.js";
import { type MethodKind, methods } from "../method/methods.js";
import type { MethodChoice } from "../method/options.js";
import type { PruneOptions } from "../prune/options.js";
import { holdOut } from "../prune/space.js";
import { outlineSchedule, type Plan, type PlanOptions, planSchedule } from "../schedule/plan.js";
import { retrainingSteps } from "../schedule/schedule.js";
import type { Schedule } from "../train/stage.js";
import { givenAdapter } from "./adapter-place.js";
import type { CallContext, NoticeEvent } from "./call.js";
import type { Model } from "./model.js";
import { type PromptOptions, promptOptions } from "./options.js";
import { continuation } from "./texts.js";

/** What a plan needs of a model. */
export type Planner = Pick<Model, "engine" | "tokenizer">;

/** What a plan needs of the options of a training. */
export type PlannedOptions = PlanOptions & Pick<PromptOptions, "virtualTokens">;

/** The schedule's sizes and steps; runs no model. @throws SoftpromptError "usage", "data", as outlineSchedule. */
export function outlineFor({ engine, tokenizer }: Planner, data: Dataset, options: PlannedOptions): Schedule {
  return outlineSchedule(engine.checkpoint.config, tokenizer, data, options, options.virtualTokens);
}

/**
 * Neuron scores where the schedule needs them, and the stages.
 * @param folder where neuron scores are kept; null keeps nothing. @throws SoftpromptError as planSchedule.
 */
export function scheduleFor(
  { engine, tokenizer }: Planner,
  data: Dataset,
  options: PlannedOptions,
  { folder, signal }: { readonly folder: string | null; readonly signal?: AbortSignal | undefined },
): Promise<Plan> {
  const { virtualTokens } = options;
  return planSchedule(engine, tokenizer, data, options, { virtualTokens, folder, signal });
}

/**
 * The two trainings of a search, as input for planning: the rows they may use, and their options. With a holdout the validation rows must
 * not be used before the end, also not for neuron scores.
 * @param retrained options of the retrainings; their number of steps is `retrainSteps`, else their own `steps`.
 */
export function searchTrainings<O extends PlannedOptions>(
  data: Dataset,
  { holdout, retrainSteps }: Pick<PruneOptions, "holdout" | "retrainSteps">,
  tuned: O,
  retrained: O,
): { readonly seen: Dataset; readonly tuned: O; readonly retrained: O } {
  const train: readonly Row[] = holdOut(data.train, holdout, tuned.seed).train;
  const steps = retrainingSteps(retrained, retrainSteps);
  return {
    seen: { ...data, train },
    tuned: unseenValidation(tuned, holdout),
    retrained: { ...unseenValidation(retrained, holdout), steps },
  };
}

/** Options under a holdout: neurons are scored on training rows. */
export function unseenValidation<O extends Pick<PlannedOptions, "scoreSplit">>(options: O, holdout: number): O {
  return holdout > 0 ? { ...options, scoreSplit: "train" } : options;
}

/** Refuses a method that cannot be used where the rows' virtual tokens stand. @throws SoftpromptError "usage" */
export function checkPlaceOf(
  method: Pick<Method, "before" | "behind">,
  { train }: Pick<Dataset, "train">,
  { checkpoint }: Pick<Model, "checkpoint">,
  options: Pick<MethodChoice, "method" | "insertLayer">,
): void {
  if (worksAt(method, placeOf(checkpoint.config, train))) return;
  const late = options.insertLayer > 0;
  throw new SoftpromptError("usage", "this method does not work with the virtual tokens at this place", {
    where: "promptPosition",
    expected: "start, or a template without a marker {prompt}",
    got: `another place, with ${late ? `insertLayer ${options.insertLayer}` : `method ${options.method}`}`,
    hint: late ? "leave one of the two out" : "method prompt works at every place",
  });
}

/**
 * The options with the default initialiser filled in. It depends on the place: behind a text, the prompt starts as a continuation of the
 * text.
 */
export function withInit<O extends Pick<PromptOptions, "init">>(
  options: O,
  { task }: Pick<Dataset, "task">,
  { checkpoint }: Pick<Model, "checkpoint">,
): O & { readonly init: InitKind } {
  const { parts, inDecoder } = compileTemplate(task.template);
  // a prompt in several parts begins before (a part of) the text
  const behind = placeOf(checkpoint.config, parts.length === 1 && !inDecoder ? [{ promptAt: 0 }] : []) === "behind";
  return { ...options, init: options.init ?? (behind ? "continuation" : "sampledVocab") };
}

/** The start prompt [P, D] that the options ask for. */
export async function startPrompt(
  model: Model,
  data: Dataset,
  options: PromptOptions & Drawn,
  context: CallContext<NoticeEvent>,
): Promise<Tensor> {
  return drawPrompt(model, await initSpec(options, data, model, context), options);
}

/** Which initialisers read an option of the start prompt. */
const startReads = {
  initRange: ["uniform"],
  initText: ["text", "continuation"],
  initFrom: ["fromPrompt"],
  initAnyBase: ["fromPrompt"],
} as const satisfies Partial<Record<keyof PromptOptions, readonly InitKind[]>>;

/** What decides which options are read. */
type Reader = Pick<MethodChoice, "method"> & { readonly init: InitKind };

/** With what an option would be read, and what there is instead; null where it is read. */
export function unreadWith(
  key: string,
  { method, init }: Reader,
): { readonly expected: string; readonly got: string } | null {
  const kind: MethodKind = methods[method];
  const owner = Object.entries(methods).find(([, { options }]) => Object.hasOwn(options, key));
  if (owner !== undefined && !Object.hasOwn(kind.options, key))
    return { expected: `method ${owner[0]}`, got: `method ${method}` };
  if (!Object.hasOwn(startReads, key)) return null;
  const inits: readonly InitKind[] = startReads[key as keyof typeof startReads];
  if (kind.ownStart) return { expected: "a method that starts from a prompt", got: `method ${method}` };
  return inits.includes(init) ? null : { expected: `init ${inits.join(" or ")}`, got: `init ${init}` };
}

/**
 * Refuses options of another method or another start than the ones that are used: who gives them expects an effect. A value that is the
 * default says nothing. @throws SoftpromptError "usage"
 */
export function checkEffect(options: Reader & PromptOptions): void {
  const own: OptionTable = Object.assign({}, ...Object.values(methods).map((kind: MethodKind) => kind.options));
  const starts = Object.keys(startReads) as (keyof typeof startReads)[];
  const table: OptionTable = { ...own, ...Object.fromEntries(starts.map((key) => [key, promptOptions[key]])) };
  for (const [key, option] of Object.entries(table)) {
    const value = (options as Readonly<Record<string, unknown>>)[key];
    if (value === undefined || JSON.stringify(value) === JSON.stringify(option.default)) continue;
    const unread = unreadWith(key, options);
    if (unread !== null) throw noEffect(key, unread.expected, unread.got);
  }
}

/** The error for an option that is given and would not be read. @param expected with what it would be */
export function noEffect(key: string, expected: string, got: string): SoftpromptError {
  const where = flagName(key);
  return new SoftpromptError("usage", `${key} has no effect here`, {
    where,
    expected,
    got,
    hint: `leave ${where} out`,
  });
}

/** What a random prompt depends on besides its initialiser. */
type Drawn = Pick<PlannedOptions, "virtualTokens" | "seed">;

/** The start prompt of an initialiser. One seed gives the same prompt, whatever is trained from it. */
export function drawPrompt(
  { engine: { checkpoint }, tokenizer }: Planner,
  init: InitSpec,
  { virtualTokens, seed }: Drawn,
): Promise<Tensor> {
  return initPrompt(init, { checkpoint, tokenizer, virtualTokens, seed });
}

/** Which initialiser the options mean. @throws SoftpromptError "usage", "adapter" (an earlier prompt of another base model). */
export async function initSpec(
  options: PromptOptions,
  { task }: Pick<Dataset, "task">,
  { checkpoint, tokenizer, offline }: Pick<Model, "checkpoint" | "tokenizer" | "offline">,
  context: CallContext<NoticeEvent>,
): Promise<InitSpec> {
  const { init } = withInit(options, { task }, { checkpoint });
  const missing = (option: string) =>
    new SoftpromptError("usage", `init ${init} needs ${option}`, {
      where: "--init",
      expected: `${flagName(option)}, or ${option} in the config`,
      hint: "softprompt train --help",
    });
  switch (init) {
    case "uniform":
      return { kind: "uniform", range: options.initRange };
    case "classLabels":
      if (task.verbalizer === null)
        throw new SoftpromptError("usage", "this task has no label words to start from", {
          where: "init",
          hint: "use sampledVocab or text",
        });
      return { kind: "classLabels", labels: Object.values(task.verbalizer) };
    case "text":
      if (options.initText === undefined) throw missing("initText");
      return { kind: "text", text: options.initText };
    case "continuation":
      return { kind: "continuation", text: options.initText ?? continuation(task, promptMarker) };
    case "fromPrompt": {
      if (options.initFrom === undefined) throw missing("initFrom");
      const earlier = await givenAdapter({ offline }, options.initFrom, context);
      if (earlier.applied)
        throw new SoftpromptError("usage", "this adapter is no prompt to start from", {
          where: options.initFrom,
          expected: "an adapter of a method that leaves a prompt",
          got: earlier.applied.method,
        });
      await checkBase(earlier, checkpoint, { anyBase: options.initAnyBase, tokenizer, flag: "--init-any-base" });
      return { kind: "fromPrompt", prompt: earlier.prompt };
    }
    default:
      return { kind: init };
  }
}
