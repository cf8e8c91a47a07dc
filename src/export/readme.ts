/** @file README.md of an exported model: what it is, how it is called, and what text it wants. */
import type { Adapter } from "../adapter/types.js";
import type { Value } from "../graph/graph.js";
import type { Checkpoint } from "../model/checkpoint.js";
import type { Draft } from "./draft.js";

export function exportReadme({
  adapter,
  checkpoint,
  pipeline,
  promptInput,
  models,
}: {
  readonly adapter: Adapter | null;
  readonly checkpoint: Pick<Checkpoint, "name">;
  readonly pipeline: string;
  readonly promptInput: boolean;
  /** The model files, for the list of their inputs. */
  readonly models: readonly Pick<Draft, "file" | "outside">[];
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
    ...inputTables(models),
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

/** What transformers.js feeds, for programs that run the files themselves. */
function inputTables(models: readonly Pick<Draft, "file" | "outside">[]): string[] {
  return models.flatMap(({ file, outside: { symbols, inputs, optional = [] } }) => [
    "",
    `Inputs of ${file}, which transformers.js feeds by itself and other programs must feed:`,
    "",
    "| input | type | shape |",
    "| --- | --- | --- |",
    ...rowsOf(inputs, symbols),
    ...rowsOf(optional, symbols, ", optional"),
    ...(inputs.some(({ name }) => name === "num_logits_to_keep")
      ? [
          "",
          "`num_logits_to_keep`: logits of so many last positions are given; 1 to write a text, 0 for all positions.",
        ]
      : []),
  ]);
}

/** Keys and values of all layers are one row. */
function rowsOf(
  inputs: readonly Pick<Value, "name" | "dtype" | "shape">[],
  symbols: Draft["outside"]["symbols"],
  more = "",
): string[] {
  const row = ({ name, dtype, shape }: Pick<Value, "name" | "dtype" | "shape">) => {
    const named = name.replace(/^past_key_values\.\d+\./, "past_key_values.LAYER.");
    const axes = shape.map((axis) =>
      String(axis)
        .split("+")
        .map((symbol) => symbols?.[symbol] ?? symbol)
        .join(" + "),
    );
    return `| \`${named}\`${more} | ${dtype} | ${axes.length === 0 ? "one number" : `[${axes.join(", ")}]`} |`;
  };
  return [...new Set(inputs.map(row))];
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
