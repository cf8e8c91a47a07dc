/**
 * @file A task as the user declares it: checked, with every default filled in.
 *
 * In: name, template, verbalizer or free text, metrics. Out: Task. Wrong names are refused with the nearest right one.
 */
import { nearest, SoftpromptError } from "../base/errors.js";
import { isObject } from "../base/json.js";
import { type MetricName, metricNames } from "./metrics.js";
import type { Scoring, Task } from "./row.js";
import { compileTemplate, escapeTemplate, type PromptPosition, positioned } from "./template.js";
import { checkVerbalizer, type Verbalizer } from "./verbalizer.js";

/** A task as its user declares it. */
export interface TaskDefinition {
  /** Stands in results and reports. */
  readonly name: string;
  /** Text with `{column}` holes; `{{` and `}}` are braces. */
  readonly template: string;
  /** Label → words of the decoder, in ranking order; null or left out for free text. */
  readonly verbalizer?: Verbalizer | null;
  /** The first chooses the prompt that is kept. Default accuracy with a verbalizer, else exactMatch and tokenF1. */
  readonly metrics?: readonly MetricName[];
  /** Longest target in tokens. Default 10 with a verbalizer, else 200. */
  readonly maxTargetTokens?: number;
  /** Put before every target, e.g. "<extra_id_0>". Default "". */
  readonly targetPrefix?: string;
  /** Put before every input, e.g. "sst2 ": the task's name for models that know it. Default "". */
  readonly inputPrefix?: string;
  /** Where the virtual tokens stand, for a template without the marker `{prompt}`: "start", "end", "start:4,end:16". Default "start". */
  readonly promptPosition?: PromptPosition;
  readonly scoring?: Scoring;
  /** Default "first". */
  readonly selectBy?: Task["selectBy"];
  /** Default: where there is nothing to choose from. */
  readonly generative?: boolean;
  /** Default false. */
  readonly openAnswers?: boolean;
  /** Default: the template's own names, `label` and `target`. */
  readonly columns?: Task["columns"];
}

const known = [
  "name",
  "template",
  "verbalizer",
  "metrics",
  "maxTargetTokens",
  "targetPrefix",
  "inputPrefix",
  "promptPosition",
  "scoring",
  "selectBy",
  "generative",
  "openAnswers",
  "columns",
] as const satisfies readonly (keyof TaskDefinition)[];

const scoringValues = {
  positiveLabel: "a label",
  outOfLabel: ["wrong", "positive"],
  normalize: ["none", "squad"],
  referent: [true, false],
} as const satisfies Record<keyof Scoring, unknown>;

/** A checked Task. Throws SoftpromptError (usage) naming the option. */
export function defineTask(definition: TaskDefinition): Task {
  const task = typeof definition.name === "string" && definition.name !== "" ? definition.name : "task";
  const refuse = (option: string, problem: string, expected: string, got?: unknown, hint?: string): never => {
    throw new SoftpromptError("usage", problem, { where: `${task}, ${option}`, expected, got, hint });
  };
  checkKeys(definition, known, task);
  if (typeof definition.name !== "string" || definition.name === "")
    refuse("name", "a task needs a name", "a text", definition.name);
  if (typeof definition.template !== "string")
    refuse("template", "a task needs a template", "a text with {column} holes", definition.template);
  const template = compileTemplate(definition.template, `${task}, template`);
  if (template.fields.length === 0)
    refuse("template", "the template has no hole", "at least one {column}", definition.template);

  const verbalizer = definition.verbalizer ?? null;
  if (verbalizer !== null) {
    if (!isObject(verbalizer)) refuse("verbalizer", "a verbalizer is an object", "label: words", verbalizer);
    checkVerbalizer(verbalizer, `${task}, verbalizer`);
  }
  const metrics = definition.metrics ?? (verbalizer ? ["accuracy"] : ["exactMatch", "tokenF1"]);
  if (!Array.isArray(metrics) || metrics.length === 0)
    refuse("metrics", "a task needs a metric", metricNames.join(", "), metrics);
  for (const name of metrics as readonly MetricName[])
    if (!metricNames.includes(name)) {
      const near = nearest(String(name), metricNames);
      refuse("metrics", "no such metric", metricNames.join(", "), name, near ? `did you mean ${near}?` : undefined);
    }
  const maxTargetTokens = definition.maxTargetTokens ?? (verbalizer ? 10 : 200);
  if (!Number.isInteger(maxTargetTokens) || maxTargetTokens < 1 || maxTargetTokens > 4096)
    refuse("maxTargetTokens", "not a length", "1 … 4096", maxTargetTokens);
  const text = (option: "targetPrefix" | "inputPrefix"): string => {
    const value = definition[option] ?? "";
    return typeof value === "string" ? value : refuse(option, "not a text", "a text", value);
  };
  const scoring = checkScoring(definition.scoring, verbalizer, task);
  const selectBy = definition.selectBy ?? "first";
  if (selectBy !== "first" && selectBy !== "mean") refuse("selectBy", "no such choice", "first or mean", selectBy);
  for (const option of ["generative", "openAnswers"] as const)
    if (![undefined, true, false].includes(definition[option]))
      refuse(option, "not a yes or no", "true or false", definition[option]);
  const columns = checkColumns(definition.columns, task);
  return {
    name: definition.name,
    template: positioned(
      escapeTemplate(text("inputPrefix")) + definition.template,
      definition.promptPosition,
      `${task}, template`,
    ),
    verbalizer,
    metrics: [...metrics] as [MetricName, ...MetricName[]],
    maxTargetTokens,
    targetPrefix: text("targetPrefix"),
    ...(scoring ? { scoring } : {}),
    ...(selectBy === "first" ? {} : { selectBy }),
    ...(definition.generative === undefined ? {} : { generative: definition.generative }),
    ...(definition.openAnswers ? { openAnswers: true } : {}),
    ...(columns && { columns }),
  };
}

/** A task without the names of its columns, as results are kept by it: they decide no text and no score, and earlier versions did not record them. */
export function withoutColumns({ columns: _, ...decides }: Task): Omit<Task, "columns"> {
  return decides;
}

/** @returns undefined where no name differs */
function checkColumns(columns: Task["columns"], task: string): Task["columns"] {
  if (columns === undefined || columns === null) return undefined;
  const where = `${task}, columns`;
  checkKeys(columns, ["fields", "label", "target"], where);
  const { fields = {}, ...answers } = columns;
  if (!isObject(fields))
    throw new SoftpromptError("usage", "not an object", {
      where,
      expected: "{ fields: { name: column } }",
      got: fields,
    });
  for (const column of [...Object.values(fields), ...Object.values(answers)])
    if (column !== undefined && (typeof column !== "string" || column === ""))
      throw new SoftpromptError("usage", "not the name of a column", { where, expected: "a text", got: column });
  const own = {
    ...(Object.keys(fields).length > 0 && { fields: { ...fields } as Readonly<Record<string, string>> }),
    ...Object.fromEntries(Object.entries(answers).filter(([name, column]) => column !== undefined && column !== name)),
  };
  return Object.keys(own).length > 0 ? own : undefined;
}

function checkScoring(scoring: Scoring | undefined, verbalizer: Verbalizer | null, task: string): Scoring | undefined {
  if (scoring === undefined || scoring === null) return undefined;
  const where = `${task}, scoring`;
  checkKeys(scoring, Object.keys(scoringValues), where);
  for (const [key, value] of Object.entries(scoring)) {
    const allowed: readonly unknown[] =
      key === "positiveLabel"
        ? Object.keys(verbalizer ?? {})
        : (scoringValues[key as keyof Scoring] as readonly unknown[]);
    if (value !== undefined && !allowed.includes(value))
      throw new SoftpromptError("usage", `scoring.${key} is wrong`, {
        where,
        expected: allowed.join(", "),
        got: value,
      });
  }
  return scoring;
}

/** Refuses keys that are not known, with the nearest that is. */
export function checkKeys(value: object, keys: readonly string[], where: string): void {
  if (!isObject(value))
    throw new SoftpromptError("usage", "not an object", { where, expected: "an object", got: value });
  for (const key of Object.keys(value)) {
    if (keys.includes(key)) continue;
    const near = nearest(key, keys);
    throw new SoftpromptError("usage", `unknown option ${key}`, {
      where,
      expected: keys.join(", "),
      got: key,
      hint: near ? `did you mean ${near}?` : undefined,
    });
  }
}
