/** @file Answer inputs as they come, bad ones by their error. */
import { defineTask, openModel, predictStream } from "softprompt";
import { check } from "./check.mjs";

async function* reviews() {
  for (let i = 0; i < 40; i++) yield i === 7 ? { other: "no such field" } : `review number ${i}`;
}

const task = defineTask({ name: "mood", template: "sentence: {text}", verbalizer: { no: "negative", yes: "positive" } });
const model = await openModel("t5-nano");
try {
  // null: the frozen model without a prompt; an adapter, or the folder of a run, stands here else
  const answers = [];
  for await (const answer of predictStream(model, null, reviews(), { task, skipBadRows: true, batchSize: 16 }))
    answers.push(answer);
  console.log(answers[7].error.message);
  check(answers.length === 40, "every input has its answer, in order");
  check(answers.filter(({ error }) => error !== undefined).length === 1, "the bad one is answered by its error");
} finally {
  await model.dispose();
}
