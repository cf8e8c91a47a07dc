/**
 * @file Masking a tuned prompt without retraining: low-importance tokens against as many at random (XPrompt Fig. 2, xprompt.md §9).
 *
 * In: XPromptStudyInput. Out: score against the number of masked tokens; evaluation only. The random curve is the mean of five draws.
 */
import { interrupted } from "../base/errors.js";
import { random } from "../base/random.js";
import type { Tensor } from "../base/tensor.js";
import { evaluatePrepared, evaluationOptions, prepareEvaluation } from "../evaluate/evaluate.js";
import { applyMask, maskFromScores, type PromptMask, randomMask } from "../method/mask.js";
import { fullModel } from "../model/partial.js";
import { keptRun } from "./kept-runs.js";
import { type Cell, type Chart, type SeedScore, type StudyResult, spread, type Table } from "./study.js";
import { forEachSearch, lengthOf, type SearchPlace, settingsOf } from "./xprompt-runs.js";
import type { VariantSearch, XPromptStudyInput } from "./xprompt-types.js";

const draws = 5;

/** Which tokens are masked; each gives the masks whose mean score is the curve's point. */
const maskings = {
  "least important": (search: VariantSearch, count: number) => [byScore(search, count, "lowest")],
  "at random": (search: VariantSearch, count: number) =>
    Array.from({ length: draws }, (_, n) =>
      randomMask(byScore(search, count, "lowest"), random(search.seed, `masking/${count}/${n}`)),
    ),
  "most important": (search: VariantSearch, count: number) => [byScore(search, count, "highest")],
} as const;

type Masking = keyof typeof maskings;

export async function masking(input: XPromptStudyInput): Promise<StudyResult> {
  const P = lengthOf(input, { label: "" }, input.init);
  // score[task][masking][count] over seeds
  const scores = new Map<string, number[]>();
  const each: SeedScore[] = [];
  const put = ({ task, seed, dataset }: SearchPlace, how: Masking, count: number, score: number) => {
    const key = `${task}\n${how}\n${count}`;
    scores.set(key, [...(scores.get(key) ?? []), 100 * score]);
    const metric = dataset.task.metrics[0];
    each.push({ line: `${how}: ${count} masked`, task, seed, metric, score: 100 * score });
  };
  const get = (task: string, how: Masking, count: number) => spread(scores.get(`${task}\n${how}\n${count}`) ?? []);
  await forEachSearch(input, [{ label: "" }], async (search, place) => {
    const score = scorer(search);
    for (const how of Object.keys(maskings) as Masking[]) {
      put(place, how, 0, await score(search.tuned.prompt));
      for (let count = 1; count < P; count++) {
        const drawn: number[] = [];
        for (const mask of maskings[how](search, count)) drawn.push(await score(applyMask(search.tuned.prompt, mask)));
        put(place, how, count, drawn.reduce((a, b) => a + b, 0) / drawn.length);
      }
    }
  });
  const names = Object.keys(maskings) as Masking[];
  const counts = Array.from({ length: P }, (_, n) => n);
  const charts = input.tasks.map(
    ({ task }): Chart => ({
      title: `${task.name}: masked tokens, not retrained`,
      x: "value",
      xLabel: `masked tokens of ${P}`,
      yLabel: task.metrics[0],
      series: names.map((how) => ({
        name: how,
        points: counts.map((n) => [n, get(task.name, how, n)?.mean ?? Number.NaN] as const),
      })),
    }),
  );
  const tables = input.tasks.map(
    ({ task }): Table => ({
      title: `${task.name} ${task.metrics[0]} after masking`,
      columns: [{ name: "masked tokens", digits: 0 }, ...names.map((name) => ({ name, digits: 2 }))],
      rows: counts.map((n): Cell[] => [n, ...names.map((how) => get(task.name, how, n))]),
    }),
  );
  return {
    study: "masking",
    title: "Masking a tuned prompt without retraining",
    tables,
    charts,
    dots: [],
    matrices: [],
    scores: each,
    notes: [
      "Nothing is retrained: the tuned prompt is evaluated with some tokens set to zero.",
      `“At random” is the mean of ${draws} draws per count; ± is the sample standard deviation over seeds.`,
    ],
    settings: settingsOf(input),
  };
}

function byScore(search: VariantSearch, tokensPruned: number, prune: "lowest" | "highest"): PromptMask {
  return maskFromScores(search.importance, { tokensPruned, piecesPruned: 0, prune });
}

/** Score of a prompt on the reported rows, kept by the prompt's bytes so that a repeated study evaluates nothing twice. */
function scorer(search: VariantSearch): (prompt: Tensor) => Promise<number> {
  const { engine, tokenizer, settings, signal } = search.input;
  const { task, validation } = search.dataset;
  const prepared = prepareEvaluation(tokenizer, task, search.input.reportOn?.(task.name) ?? validation, {
    ...evaluationOptions(settings),
    maxEvalRows: settings.maxEvalRows,
    loss: false,
  });
  const full = fullModel(engine.checkpoint.config);
  return (prompt) =>
    keptRun(search.folder, "masked", { prompt: prompt.data, rows: prepared.rows.map((row) => row.id) }, async () => {
      const found = await evaluatePrepared(engine, full, tokenizer, prepared, { prompt }, signal);
      if (found === null)
        throw interrupted(signal, "the study was stopped", { where: "masking", hint: "what was scored is kept" });
      return found.scores[task.metrics[0]] ?? Number.NaN;
    });
}
