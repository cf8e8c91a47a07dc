/**
 * @file A shorter prompt that learns what a tuned one says: P-Distill's idea on the outputs alone.
 *
 * In: a model, rows, the teacher's prompt, a fresh shorter prompt. Out: the prompt after so many FLOPs, best of its evaluations. The teacher's
 * probabilities of each row's answers weigh the losses of these answers, so a row is fed once for each answer. Hidden states are not matched.
 */
import { encodeRows, fullModel, makeBatch, stepFlops } from "softprompt/engine";
import { evaluatePrepared, optimizers, prepareEvaluation, random } from "softprompt/train";
import { rankingFlops } from "../../dist/engine/flops.js";

/** @param budget total FLOPs, evaluations and the teacher's pass included */
export async function distil(model, data, { teacher, start, settings, budget, seed }) {
  const { engine, tokenizer } = model;
  const { config } = engine.checkpoint;
  const full = fullModel(config);
  const { batchSize, learningRate, maxInputTokens, evalEvery, maxEvalRows, weightDecay } = settings;
  const rows = encodeRows(data.task, data.train, tokenizer, maxInputTokens);
  const scorer = await engine.score();
  const weights = [];
  let flops = 0;
  for (let at = 0; at < rows.length; at += 32) {
    const some = rows.slice(at, at + 32);
    for (const logs of await scorer.run({ prompt: teacher }, some)) {
      const most = Math.max(...logs);
      const each = Array.from(logs, (log) => Math.exp(log - most));
      const all = each.reduce((a, b) => a + b, 0);
      weights.push(each.map((x) => x / all));
    }
    const choices = Math.max(...some.map((row) => row.choices?.length ?? 1));
    flops += rankingFlops(config, full, { ...shapeOf(some, teacher.shape[0]), choices }).total;
  }
  function shapeOf(some, prompt) {
    const long = (of) => Math.max(...some.map(of));
    return {
      batch: some.length,
      prompt,
      input: long((row) => row.input.length),
      target: long((row) => row.target.length),
    };
  }
  function stepOf(some, prompt) {
    return stepFlops(config, full, shapeOf(some, prompt)).total;
  }
  const prepared = prepareEvaluation(tokenizer, data.task, data.validation, {
    maxInputTokens,
    maxEvalRows,
    batchSize: 64,
    loss: false,
  });
  const program = await engine.train();
  const rule = optimizers.adafactor({ weightDecay });
  const draw = random(seed, "distil/order");
  let prompt = start;
  let state = rule.init(prompt);
  let best = { prompt, score: Number.NEGATIVE_INFINITY };
  let steps = 0;
  let order = [];
  const look = async () => {
    const found = await evaluatePrepared(engine, full, tokenizer, prepared, { prompt });
    flops += found.flops;
    const score = found.scores[data.task.metrics[0]];
    if (score >= best.score) best = { prompt, score };
  };
  while (flops < budget) {
    const own = [];
    // as many sequences as a step of plain tuning has
    while (own.length < batchSize) {
      if (order.length === 0) order = [...draw.sample(rows.length, rows.length)];
      const n = order.pop();
      for (const [c, target] of rows[n].choices.entries())
        own.push({ row: { ...rows[n], target }, weight: weights[n][c] });
    }
    own.sort((a, b) => a.row.input.length - b.row.input.length);
    const tokens = own.reduce((sum, { row, weight }) => sum + weight * row.target.length, 0);
    const batch = makeBatch(own.map(({ row }) => row));
    const { gradients } = await program.run(
      { prompt },
      batch,
      Float32Array.from(own, ({ weight }) => weight / tokens),
    );
    const N = prompt.data.length;
    const sum = new Float32Array(N);
    for (let b = 0; b < own.length; b++) for (let i = 0; i < N; i++) sum[i] += gradients.prompt.data[b * N + i];
    const norm = Math.hypot(...sum);
    const gradient = { shape: prompt.shape, data: norm > 1 ? sum.map((x) => x / norm) : sum };
    ({ parameters: prompt, state } = rule.update(prompt, gradient, state, learningRate));
    flops += stepOf(
      own.map(({ row }) => row),
      prompt.shape[0],
    );
    steps++;
    if (steps % evalEvery === 0) await look();
  }
  if (steps % evalEvery !== 0) await look();
  return { prompt: best.prompt, chosen: best.score, flops, steps };
}
