/**
 * @file Are prompts of partial models similar? This is the observation on which FPT is based, with controls (fpt.md §10).
 *
 * In: StudyInput, partial sizes. Out: matrices over {sizes, full} × tasks by four measures, controls (other task, other
 * seed, the common start), overlap of activated neurons, and zero-shot transfer to the full model. Shares its trainings
 * with `partialAlone`: with one folder they are run once.
 */
import { interrupted } from "../base/errors.js";
import type { Tensor } from "../base/tensor.js";
import { placeOf } from "../engine/place.js";
import { evaluatePrepared, evaluationOptions, type Prepared, prepareEvaluation } from "../evaluate/evaluate.js";
import { architectureOf } from "../model/architectures.js";
import { fullModel } from "../model/partial.js";
import { makeBatch } from "../text/batch.js";
import { encodeRows } from "../text/rows.js";
import { aloneVariant, distinctSizes, ownScore, type PartialSize, tableOneSizes } from "./partial-alone.js";
import { currentInput, type FinishedRun, runAll, type StudyInput, startPrompt, vanilla, whatIsKept } from "./runs.js";
import { type Measure, measures, moveCosine, neuronOverlap, similarityMatrix } from "./similar.js";
import { type Cell, type Matrix, type StudyResult, spread, type Table } from "./study.js";

/** A prompt in the study. */
interface Labelled {
  readonly name: string;
  readonly task: string;
  readonly seed: number;
  readonly size: string;
  readonly prompt: Tensor;
  readonly start: Tensor;
  /** Mean |activation| on the full model, [L][F], over rows that are the same for every prompt. */
  readonly neurons: readonly Float32Array[];
  readonly startNeurons: readonly Float32Array[];
}

/** How two different prompts of the study are related; every pair falls into one kind or none. */
const relations = {
  "same task, same seed, other size": (a: Labelled, b: Labelled) => a.task === b.task && a.seed === b.seed,
  "same task, other seed, same size": (a: Labelled, b: Labelled) =>
    a.task === b.task && a.seed !== b.seed && a.size === b.size,
  "same task, other seed, other size": (a: Labelled, b: Labelled) =>
    a.task === b.task && a.seed !== b.seed && a.size !== b.size,
  "other task, same seed, same size": (a: Labelled, b: Labelled) =>
    a.task !== b.task && a.seed === b.seed && a.size === b.size,
  "other task, same seed, other size": (a: Labelled, b: Labelled) =>
    a.task !== b.task && a.seed === b.seed && a.size !== b.size,
  "other task, other seed": (a: Labelled, b: Labelled) => a.task !== b.task && a.seed !== b.seed,
} as const;

/** Share of each layer's neurons that count as activated. */
const activatedShare = 0.1;

/** Validation rows on which activated neurons are compared, of all tasks together. */
const activationRows = 64;

/** Are prompts tuned on partial models similar? Cosine similarities of the prompts of one start (fpt.md §10). */
export async function similarity(
  given: StudyInput,
  wanted: readonly PartialSize[] = tableOneSizes(),
): Promise<StudyResult> {
  const input = currentInput(given, "similarity()");
  const sizes = distinctSizes(input.engine.checkpoint.config, wanted);
  const runs = await runAll(input, [vanilla, ...sizes.map(aloneVariant)]);
  const starts: { name: string; seed: number; prompt: Tensor; neurons: readonly Float32Array[] }[] = [];
  for (const seed of input.seeds) {
    const prompt = await startPrompt(input, seed);
    starts.push({ name: `start s${seed}`, seed, prompt, neurons: await activatedBy(input, prompt) });
  }
  const prompts: Labelled[] = [];
  for (const run of runs) {
    prompts.push({
      name: `${run.task} ${run.label}${input.seeds.length > 1 ? ` s${run.seed}` : ""}`,
      task: run.task,
      seed: run.seed,
      size: run.label,
      prompt: run.result.best.parameters.prompt!,
      start: run.start,
      neurons: await activatedBy(input, run.result.best.parameters.prompt!),
      startNeurons: starts.find(({ seed }) => seed === run.seed)!.neurons,
    });
  }
  const first = input.seeds[0]!;
  const shown = [
    ...prompts.filter((p) => p.seed === first),
    ...prompts.filter((p) => p.seed !== first && p.size === vanilla.label),
  ];
  const pictured = [...shown, ...starts];
  const names = pictured.map((p) => p.name);
  const matrices = (Object.keys(measures) as Measure[]).map(
    (measure): Matrix => ({
      title: `Prompts: ${measures[measure].label}`,
      rows: names,
      columns: names,
      values: similarityMatrix(
        pictured.map((p) => p.prompt),
        measure,
      ),
      range: measures[measure].range,
    }),
  );
  const moves: Matrix = {
    title: "Prompts less their start: cosine of the moves",
    rows: shown.map((p) => p.name),
    columns: shown.map((p) => p.name),
    values: shown.map((a) => shown.map((b) => moveCosine(a.prompt, a.start, b.prompt, b.start))),
    range: [-1, 1],
  };
  const overlap: Matrix = {
    title: `Overlap of the ${100 * activatedShare} % most active neurons of each layer (full model)`,
    rows: names,
    columns: names,
    values: pictured.map((a) => pictured.map((b) => neuronOverlap(a.neurons, b.neurons, activatedShare))),
    range: [0, 1],
  };
  return {
    study: "similarity",
    title: "Prompts of partial models, compared",
    tables: [relationTable(prompts, starts), await transferTable(input, runs, sizes)],
    dots: [],
    charts: [],
    matrices: [...matrices, moves, overlap],
    notes: [
      "All prompts of one seed start from the same values, so a high cosine at equal seed may only say that they moved little: compare with the rows of another seed, and with the cosine of the moves.",
      "Active neurons are those of the full model on rows that are the same for every prompt, as many of each task. How far they overlap without any training is the line of the starts.",
      "Zero-shot transfer: the prompt tuned on a partial model is scored on the full model without any further step.",
    ],
    settings: {
      steps: input.schedule.steps,
      seeds: input.seeds,
      model: input.engine.checkpoint.name,
      virtualTokens: input.virtualTokens,
    },
  };
}

/** Each measure's mean over all pairs of a relation. */
function relationTable(prompts: readonly Labelled[], starts: readonly Pick<Labelled, "prompt" | "neurons">[]): Table {
  const pairs = prompts.flatMap((a, i) => prompts.slice(i + 1).map((b) => [a, b] as const));
  const rows = Object.entries(relations).flatMap(([name, holds]): Cell[][] => {
    const mine = pairs.filter(([a, b]) => holds(a, b));
    if (mine.length === 0) return []; // one seed, or one task
    const mean = (of: (a: Labelled, b: Labelled) => number) => spread(mine.map(([a, b]) => of(a, b)));
    return [
      [
        name,
        mine.length,
        ...(Object.keys(measures) as Measure[]).map((m) => mean((a, b) => measures[m].of(a.prompt, b.prompt))),
        mean((a, b) => moveCosine(a.prompt, a.start, b.prompt, b.start)),
        mean((a, b) => neuronOverlap(a.neurons, b.neurons, activatedShare)),
      ],
    ];
  });
  const each = Object.keys(measures) as Measure[];
  const toStart: Cell[] = [
    "a prompt and its start",
    prompts.length,
    ...each.map((m) => spread(prompts.map((p) => measures[m].of(p.prompt, p.start)))),
    null,
    spread(prompts.map((p) => neuronOverlap(p.neurons, p.startNeurons, activatedShare))),
  ];
  const untrained = starts.flatMap((a, i) => starts.slice(i + 1).map((b) => [a, b] as const));
  const between: Cell[] = [
    "two starts, never trained",
    untrained.length,
    ...each.map((m) => spread(untrained.map(([a, b]) => measures[m].of(a.prompt, b.prompt)))),
    null,
    spread(untrained.map(([a, b]) => neuronOverlap(a.neurons, b.neurons, activatedShare))),
  ];
  return {
    title: "Similarity by relation (mean ± deviation over pairs)",
    columns: [
      { name: "pairs of prompts" },
      { name: "pairs", digits: 0 },
      ...Object.values(measures).map(({ label }) => ({ name: label, digits: 3 })),
      { name: "cosine of the moves", digits: 3 },
      { name: "neuron overlap", digits: 3 },
    ],
    rows: [...rows, toStart, ...(untrained.length > 0 ? [between] : [])],
  };
}

/** Score of each prompt on its own model, and on the full model untrained there. */
async function transferTable(
  input: StudyInput,
  runs: readonly FinishedRun[],
  sizes: readonly PartialSize[],
): Promise<Table> {
  const { engine, tokenizer, settings, signal } = input;
  const options = { ...evaluationOptions(settings), maxEvalRows: settings.maxEvalRows, loss: false };
  const prepared = input.tasks.map(({ task, validation }) => prepareEvaluation(tokenizer, task, validation, options));
  const onFull = async (rows: Prepared, prompt: Tensor): Promise<number> => {
    const full = fullModel(engine.checkpoint.config);
    const found = await evaluatePrepared(engine, full, tokenizer, rows, { prompt }, signal);
    if (found === null)
      throw interrupted(signal, "the study was stopped before every row was scored", {
        where: rows.task.name,
        hint: whatIsKept(input),
      });
    return 100 * (found.scores[rows.task.metrics[0]] ?? Number.NaN);
  };
  const rows: Cell[][] = [];
  const labels = [vanilla.label, ...sizes.map((s) => s.label)];
  for (const label of ["start", ...labels]) {
    const cells: Cell[] = [label];
    for (const [n, dataset] of input.tasks.entries()) {
      const own: number[] = [];
      const full: number[] = [];
      for (const seed of input.seeds) {
        const run = runs.find((r) => r.task === dataset.task.name && r.seed === seed && r.label === label);
        if (run !== undefined) own.push(100 * ownScore(run, dataset));
        const prompt = run?.result.best.parameters.prompt ?? (await startPrompt(input, seed));
        full.push(await onFull(prepared[n]!, prompt));
      }
      cells.push(spread(own), spread(full));
    }
    rows.push(cells);
  }
  return {
    title: "Zero-shot transfer of partial models' prompts to the full model",
    columns: [
      { name: "tuned on" },
      ...input.tasks.flatMap(({ task }) => [
        { name: `${task.name}, own model`, digits: 2 },
        { name: `${task.name}, full model`, digits: 2 },
      ]),
    ],
    rows,
  };
}

/** Mean |activation| of every layer of the full model under a prompt, on the first validation rows of every task. */
async function activatedBy(input: StudyInput, prompt: Tensor): Promise<Float32Array[]> {
  const { engine, tokenizer, settings, tasks, signal } = input;
  const { config } = engine.checkpoint;
  const F = config.feedForwardWidth;
  const sums = architectureOf(config)
    .stacks(config)
    .map(({ name, layers }) => ({ name, layers: Array.from({ length: layers }, () => new Float32Array(F)) }));
  const most = Math.ceil(activationRows / tasks.length);
  for (const { task, validation } of tasks) {
    const rows = encodeRows(task, validation.slice(0, most), tokenizer, settings.maxInputTokens);
    const program = await engine.activations(placeOf(config, rows));
    for (let first = 0; first < rows.length; first += 16) {
      if (signal?.aborted)
        throw interrupted(signal, "the study was stopped while activations were measured", {
          where: task.name,
          hint: whatIsKept(input),
        });
      const batch = makeBatch(rows.slice(first, first + 16));
      const means = await program.run({ prompt }, batch);
      for (const { name, layers } of sums)
        for (let b = 0; b < batch.size; b++)
          for (const [layer, sum] of layers.entries()) {
            const at = (b * layers.length + layer) * F;
            for (let j = 0; j < F; j++) sum[j]! += means[name]![at + j]!;
          }
    }
  }
  return sums.flatMap(({ layers }) => layers);
}
