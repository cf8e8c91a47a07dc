/**
 * @file Real tasks as rows of a decoder-only model: a template of each task's columns, label words, and how many rows. In: the files of the
 * tasks' owners. Out: datasets of `softprompt`'s. Tasks of T5's are loaded by `loadData` itself.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loadData } from "softprompt";
import { majorityBaseline } from "softprompt/train";
import { evenly } from "./jobs.mjs";

/** The records of a file of lines. */
export const linesOf = (file) =>
  readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

/** A record as columns of its task's template, where they are not its own. */
const columnsOf = {
  // COPA's premise goes on with either choice
  copa: ({ premise, choice1, choice2, question, label }) => ({
    premise: premise.replace(/\.$/, ""),
    joint: question === "cause" ? "because" : "so",
    choice1: choice1[0].toLowerCase() + choice1.slice(1),
    choice2: choice2[0].toLowerCase() + choice2.slice(1),
    label: label === 0 ? "choice1" : "choice2",
  }),
};

/**
 * Rows that differ by task alone: training rows drawn once with data seed 0, validation rows evenly spaced.
 * @param put the task as a decoder-only model is asked: `{ folder, template, verbalizer }`; without a verbalizer a label's words are the row's own
 * @param more options of loadData
 */
export async function causalData(datasets, { task, put, trainingRows, validationRows, ...more }) {
  const { folder, template, verbalizer } = put;
  const read = (split) =>
    linesOf(join(datasets, folder, `${split}.jsonl`))
      .map(columnsOf[task] ?? ((record) => record))
      .map(({ label, ...record }) => ({ ...record, label: String(label) }));
  const [train, validation] = [read("train"), evenly(read("validation"), validationRows)];
  const data = await loadData({
    ...{ rows: train, validationRows: validation, template },
    verbalizer: verbalizer ?? { choice1: "choice1", choice2: "choice2" },
    ...(train.length > trainingRows && { fewShot: trainingRows }),
    ...(task === "copa" && { maxTargetTokens: 40 }),
    ...more,
  });
  if (verbalizer !== undefined) return { ...data, task: { ...data.task, name: task } };
  // a row's id has the number of its record
  const withChoices = (records, rows) =>
    rows.map((row) => {
      const { choice1, choice2 } = records[Number(/\[(\d+)\]$/.exec(row.id)[1])];
      const choices = { choice1, choice2 };
      return { ...row, choices, target: choices[row.label], references: [choices[row.label]] };
    });
  return {
    ...{ ...data, task: { ...data.task, name: task, verbalizer: null, generative: false } },
    ...{ train: withChoices(train, data.train), validation: withChoices(validation, data.validation) },
  };
}

/** A task's template with the virtual tokens where its marker stands, or in front of the text. */
export const templateOf = ({ template }, behind) => (behind ? template : template.replace("{prompt}", ""));

/** The share of rows that the label most frequent in training is right on. */
export const majorityOf = ({ task, train, validation }) => majorityBaseline(task, train, validation).scores.accuracy;
