/** @file README.md of an exported model: what it is, how it is called, and what text it wants. */
import type { Adapter } from "../adapter/types.js";
import type { Checkpoint } from "../model/checkpoint.js";

export function exportReadme({
  adapter,
  checkpoint,
  pipeline,
  promptInput,
}: {
  readonly adapter: Adapter | null;
  readonly checkpoint: Pick<Checkpoint, "name">;
  readonly pipeline: string;
  readonly promptInput: boolean;
}): string {
  const task = adapter?.task ?? null;
  const base = oneLine(adapter?.base.name || checkpoint.name);
  const what =
    adapter === null
      ? `as it is${promptInput ? ", or with a prompt that is given at run time" : ""}`
      : `with an adapter of softprompt in it (${adapter.applied?.method ?? "prompt"})`;
  return [
    "---",
    "library_name: transformers.js",
    `pipeline_tag: ${pipeline}`,
    "---",
    "",
    `# ${base}, ${what}`,
    "",
    "```js",
    'import { pipeline } from "@huggingface/transformers";',
    "",
    `const run = await pipeline("${pipeline}", "this folder");`,
    `console.log(await run(${JSON.stringify(task === null ? "a text" : "the filled template")}));`,
    "```",
    ...(promptInput ? ["", givenPrompt] : []),
    ...(task === null
      ? []
      : ["", "The model was tuned on texts of this form; fill it in before the call:", "", fenced(task.template)]),
    ...(task?.verbalizer
      ? ["", `It answers with one of: ${Object.values(task.verbalizer).map(oneLine).join(", ")}.`]
      : []),
    ...(task?.openAnswers
      ? ["", "It learnt these words without an end token: limit the tokens of an answer, or stop behind one of them."]
      : []),
    ...(adapter?.chat ? ["", "It was tuned in the model's chat template: give the text as a user's message."] : []),
    "",
  ].join("\n");
}

/** Where a prompt enters. transformers.js gives none. */
const givenPrompt =
  "The model (of an encoder-decoder, the encoder alone) has optional inputs for a prompt. Files of `softprompt export onnx-adapter` fill them, as adapters of ONNX Runtime: `RunOptions.add_active_adapter` in Python, at every run.";

// biome-ignore lint/suspicious/noControlCharactersInRegex: a user's names must not steer a terminal that shows the file
const oneLine = (text: string) => text.replace(/[\x00-\x1f\x7f]+/g, " ");

/** A block whose fence the text does not hold. */
function fenced(text: string): string {
  const fence = "`".repeat(Math.max(3, ...[...text.matchAll(/`+/g)].map(([run]) => run.length + 1)));
  return `${fence}\n${text}\n${fence}`;
}
