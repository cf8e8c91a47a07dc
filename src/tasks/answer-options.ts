/**
 * @file Options of the calls that answer and score, as option tables: what a program without types gives is checked as the command line's is.
 */
import {
  boolean,
  choice,
  integer,
  number,
  type OptionTable,
  optionsOf,
  pickOptions,
  readPartialOptions,
  string,
  unknownOption,
} from "../base/options.js";
import { trainOptions } from "../train/options.js";

/** How an adapter answers. Without a value, what the adapter was tuned with counts. */
export const skillOptions = {
  evaluateBy: choice({ values: trainOptions.evaluateBy.values, help: trainOptions.evaluateBy.help }),
  ranking: choice({ values: trainOptions.ranking.values, help: trainOptions.ranking.help }),
  maxInputTokens: integer({ min: 1, unit: "tokens", help: trainOptions.maxInputTokens.help }),
  minProbability: number({ min: 0, max: 1, help: "Withhold ranked answers that are less probable" }),
  anyBase: boolean({ help: "Use the prompt though the base model is not the recorded one" }),
} satisfies OptionTable;

/** What one pass holds. */
export const passOptions = {
  batchSize: integer({ min: 1, unit: "rows", help: "Rows of one pass" }),
} satisfies OptionTable;

/** A single call of a predictor. */
export const answerOptions = {
  skipBadRows: boolean({ help: "Answer an unusable input with its error" }),
} satisfies OptionTable;

/** How inputs without an answer are put to a model. */
export const predictOptions = optionsOf("predict()", { ...skillOptions, ...passOptions, ...answerOptions });

/** How rows with answers are scored. */
export const evaluateOptions = optionsOf("evaluate()", {
  ...skillOptions,
  ...passOptions,
  split: choice({ values: ["train", "validation", "test"], help: "Which rows of a Dataset" }),
  maxEvalRows: integer({ min: 0, unit: "rows", help: trainOptions.maxEvalRows.help }),
  seed: integer({ min: 0, help: "Without effect" }),
  loss: boolean({ help: "Also compute the loss of the targets" }),
  shots: integer({ min: 0, unit: "rows", help: "Training rows with their answers before each text" }),
  shotSeed: integer({ min: 0, help: "Draws these rows" }),
  instruction: string({ help: "Stands before each text" }),
});

/**
 * Refuses what a call does not know, and values that its table does not have.
 * @param beside keys of the call that are no options. @throws SoftpromptError "usage"
 */
export function checkCall(table: OptionTable, given: object, beside: readonly string[], where: string): void {
  const known = { ...table, ...Object.fromEntries(beside.map((key) => [key, null])) };
  for (const key of Object.keys(given))
    if (!Object.hasOwn(known, key)) throw unknownOption(key, Object.keys(known), where);
  readPartialOptions(table, pickOptions(table, given), where);
}
