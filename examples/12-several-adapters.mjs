/** @file Several adapters in one predictor: prompts of different length, tasks with different labels, one batch. */
import { loadRows, openModel, openPredictor, predict, tune } from "softprompt";
import { check, steps } from "./check.mjs";

const tuned = async (model, rows, template, virtualTokens) => {
  const data = await loadRows(rows, { template, validationRows: rows });
  return (await tune(model, data, { virtualTokens, steps: steps(10), batchSize: 4, baselines: false })).adapter;
};

const model = await openModel("t5-nano");
try {
  const reviews = await tuned(
    model,
    [
      { text: "Great food.", label: "good" },
      { text: "Awful food.", label: "bad" },
    ],
    "review: {text}",
    4,
  );
  const teams = await tuned(
    model,
    [
      { text: "I was charged twice.", label: "money" },
      { text: "The app crashes.", label: "computer" },
      { text: "I forgot my password.", label: "person" },
    ],
    "message: {text}",
    7,
  );
  const predictor = await openPredictor(model, { adapters: { reviews } });
  await predictor.add("teams", teams);
  const answers = await predictor.predict([
    { adapter: "reviews", input: "Lovely." },
    { adapter: "teams", input: "Refund me." },
    { adapter: "reviews", input: "Cold and slow." },
  ]);
  console.log(answers.map(({ label }) => label));
  const alone = [
    (await predict(model, reviews, ["Lovely."]))[0],
    (await predict(model, teams, ["Refund me."]))[0],
    (await predict(model, reviews, ["Cold and slow."]))[0],
  ];
  const near = answers.every(({ probabilities }, i) =>
    Object.entries(probabilities).every(([label, p]) => Math.abs(p - alone[i].probabilities[label]) < 1e-4),
  );
  check(near, "together they answer as each does alone");
  check(Object.keys(answers[1].probabilities).length === 3, "each row is ranked among its own task's labels");
  predictor.remove("teams");
  check(predictor.adapters.join() === "reviews", "an adapter can be taken out");
  await predictor.dispose();
} finally {
  await model.dispose();
}
