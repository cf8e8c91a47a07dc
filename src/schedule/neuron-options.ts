/**
 * @file The options of neuron scores and of the greedy choice of layers, apart from the work: help texts and schemas need no engine.
 */
import { choice, integer, type OptionValues } from "../base/options.js";

/** Option table of what partial models are chosen by. */
export const neuronScoreOptions = {
  scoreRows: integer({
    formerly: "scoreExamples",
    default: 1000,
    min: 1,
    unit: "rows",
    source: "fpt.md §3.3",
    help: "Rows that neuron scores are computed on, drawn with the seed; all rows where there are fewer",
  }),
  scoreSplit: choice({
    values: ["validation", "train"],
    default: "validation",
    source: "fpt.md §3.3",
    help: "Which rows those are; train keeps the reported score free of any use of validation rows",
  }),
  layerRows: integer({
    default: 64,
    min: 1,
    unit: "rows",
    source: "our choice",
    help: "With --layer-choice greedy: training rows that the loss is measured on, drawn with the seed; all where there are fewer",
  }),
  scoreBatchSize: integer({
    default: 16,
    min: 1,
    unit: "rows",
    source: "our choice; the papers' 1 gives the same scores",
    help: "Rows scored at once",
  }),
};

/** How neurons are scored. */
export type NeuronScoreOptions = OptionValues<typeof neuronScoreOptions>;
