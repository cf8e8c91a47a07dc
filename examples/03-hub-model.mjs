/** @file Open a model by its hub id: from the local cache, or downloaded where EXAMPLE_ONLINE is set; skipped where it is neither. */
import { generate, openModel, SoftpromptError } from "softprompt";
import { check } from "./check.mjs";

const id = "google/t5-small-lm-adapt";
let model;
try {
  model = await openModel(id, {
    offline: process.env.EXAMPLE_ONLINE === undefined,
    onEvent: (event) => {
      if (event.kind === "notice") console.log(event.message);
      else if (event.done === event.total) console.log(`${event.file}: ${event.total} bytes`);
    },
  });
} catch (error) {
  if (!(error instanceof SoftpromptError) || error.kind !== "network") throw error;
  console.log(`skipped: ${id} is not in the local cache (EXAMPLE_ONLINE=1 downloads it)`);
  check(error.parts.hint !== undefined || error.message.length > 0, "the refusal says what to do");
}
if (model !== undefined) {
  try {
    const text = await generate(model, { prompt: "The capital of France is", maxTokens: 8 });
    console.log(text);
    check(typeof text === "string", "the model writes on");
  } finally {
    await model.dispose();
  }
}
