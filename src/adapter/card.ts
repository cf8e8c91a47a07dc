/**
 * @file README.md of an adapter: a model card for the Hugging Face hub and for people.
 */
import { isBundled } from "../base/bundled.js";
import { size } from "../base/tensor.js";
import { compileTemplate } from "../data/template.js";
import { isFull, maskCounts } from "../method/mask.js";
import { resultOf } from "../method/methods.js";
import { taskTypeOf } from "./peft.js";
import type { Adapter } from "./types.js";

/** The parts of the card that differ between kinds of models, in words and in Python. */
const kinds = {
  SEQ_2_SEQ_LM: {
    reads: "the encoder's input",
    model: "T5",
    pythonClass: "AutoModelForSeq2SeqLM",
    workaround: [
      "# PEFT 0.21.0 asks for a method by the name that it had before transformers 5",
      'old, new = (f"_prepare_{part}encoder_decoder_kwargs_for_generation" for part in ("", "text_"))',
      "if not hasattr(model, old) and hasattr(model, new):",
      "    setattr(type(model), old, getattr(type(model), new))",
    ],
    generate: "",
    answer: "answer[0]",
  },
  CAUSAL_LM: {
    reads: "the text",
    model: "decoder-only model",
    pythonClass: "AutoModelForCausalLM",
    workaround: [],
    // with a cache, PEFT 0.21.2 gives other ids than without under transformers 5.24 (measured)
    generate: ", use_cache=False",
    answer: 'answer[0, inputs["input_ids"].shape[1]:]',
  },
} as const;

/**
 * The card's text. It states only what is known. A base model that is not a hub id is left out of the front matter.
 * @param notPeft why PEFT has no form for the adapter, as a clause; null where its files are written
 */
export function adapterCard(adapter: Adapter, notPeft: string | null): string {
  const { base, prompt, mask, applied, task, scores, training } = adapter;
  const [tokens, width] = prompt.shape as [number, number];
  const tensors = Object.values(applied?.parameters ?? {}).map(({ shape }) => shape);
  const numbers = applied ? tensors.reduce((sum, shape) => sum + size(shape), 0) : tokens * width;
  const masked = applied ? tensors.reduce((sum, shape) => sum + shape[1]!, 0) : width;
  // a model from a hub has a revision; a name like "models/mine" without one may be a folder
  const hubId = base.revision !== null && /^[\w.-]+(\/[\w.-]+)?$/.test(base.name) ? base.name : null;
  const kind = kinds[kindOf(adapter)];
  const placed = task !== null && compileTemplate(task.template).marked;
  const result = resultOf(applied?.method);
  const what = applied
    ? `What the method ${oneLine(applied.method)} left on`
    : `${tokens} virtual tokens of width ${width} ${placed ? "at their places in the text" : `before ${kind.reads}`} of`;
  const counts = mask && !isFull(mask) ? maskCounts(mask, masked) : null;
  const lines = [
    "---",
    ...(hubId ? [`base_model: ${hubId}`] : []),
    ...(notPeft === null ? ["library_name: peft"] : []),
    "tags:",
    ...(hubId ? [`- base_model:adapter:${hubId}`] : []),
    `- ${result.tag}`,
    "- softprompt",
    "---",
    "",
    `# ${result.title}${task ? ` for ${oneLine(task.name)}` : ""}`,
    "",
    `${what} a frozen ${kind.model}${base.name ? ` (${oneLine(base.name)})` : ""}.`,
    counts
      ? `${counts.tokens} tokens and ${counts.pieces} pieces survive pruning: ${counts.parameters} trained parameters (${(100 * counts.fraction).toFixed(2)} %). \`softprompt inspect .\` draws which.`
      : `${numbers} trained parameters.`,
    ...(base.sha256 ? [`Base model's weights: sha256 \`${base.sha256}\`.`] : []),
    "",
    "## Use",
    "",
    ...(notPeft === null
      ? [
          "In this folder, with PEFT and transformers:",
          "",
          "```python",
          ...pythonLines(adapter, hubId),
          "```",
          "",
          "or with softprompt, which checks that the base model is the one it was tuned on:",
        ]
      : [
          `PEFT cannot load it, because ${oneLine(notPeft)}; softprompt can, in this folder, and checks that the base model is the one it was tuned on:`,
        ]),
    "",
    "```sh",
    shellLine(adapter, hubId),
    "```",
  ];
  if (task)
    lines.push(
      "",
      "## Task",
      "",
      adapter.chat
        ? "The text the model reads, as a user's message in its own chat template (softprompt does that; elsewhere apply the template first):"
        : "The text the model reads:",
      "",
      indent(task.template),
      ...(task.verbalizer
        ? [
            "",
            "The words it answers with:",
            "",
            ...Object.entries(task.verbalizer).map(([k, v]) => indent(`${k} → ${v}`)),
          ]
        : []),
    );
  if (scores)
    lines.push(
      "",
      "## Scores",
      "",
      `On ${scores.rows} rows of ${oneLine(scores.split)}:`,
      "",
      "| metric | value |",
      "|---|---|",
      ...Object.entries(scores.values).map(([name, value]) => `| ${oneLine(name)} | ${value?.toFixed(4)} |`),
    );
  if (training)
    lines.push(
      "",
      "## Training",
      "",
      `Method ${oneLine(training.method)}, seed ${training.seed}.`,
      ...training.schedule.map(({ partial, steps }) => `- ${steps} steps on ${oneLine(partial)}`),
    );
  return `${lines.join("\n")}\n`;
}

/** A text for each hole of the template. */
const example = "A text.";

function kindOf({ base, kept }: Adapter): keyof typeof kinds {
  return taskTypeOf(base, kept.config) ?? "SEQ_2_SEQ_LM";
}

function pythonLines(adapter: Adapter, hubId: string | null): string[] {
  const { base, task } = adapter;
  const { pythonClass, workaround, generate, answer } = kinds[kindOf(adapter)];
  const revision = hubId !== null && base.revision !== "main" ? `, revision=${JSON.stringify(base.revision)}` : "";
  const input = task === null ? example : compileTemplate(task.template).fill(examples(task.template), "card");
  return [
    ...(isBundled(base.name) && hubId === null
      ? [
          "import json, subprocess",
          "",
          "# a model that ships with softprompt",
          `found = subprocess.run(["softprompt", "inspect", "${base.name}", "--no-hash", "--json"], check=True, capture_output=True)`,
          'base = json.loads(found.stdout)["folder"]',
        ]
      : [
          `base = ${JSON.stringify(base.name || "the/base-model")}${hubId === null ? "  # folder of the base model" : ""}`,
        ]),
    "",
    "import torch",
    "from peft import PeftModel",
    `from transformers import ${pythonClass}, AutoTokenizer`,
    "",
    `tokenizer = AutoTokenizer.from_pretrained(base${revision})`,
    `model = ${pythonClass}.from_pretrained(base, dtype=torch.float32${revision})`,
    ...workaround,
    'model = PeftModel.from_pretrained(model, ".").eval()',
    ...(adapter.chat
      ? [
          `messages = [{"role": "user", "content": ${JSON.stringify(input)}}]`,
          'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")',
        ]
      : [`inputs = tokenizer(${JSON.stringify(input)}, return_tensors="pt")`]),
    `answer = model.generate(**inputs, max_new_tokens=${task?.maxTargetTokens ?? 20}${generate})`,
    `print(tokenizer.decode(${answer}, skip_special_tokens=True))`,
  ];
}

function examples(template: string): Record<string, string> {
  const fields: Record<string, string> = Object.create(null);
  for (const hole of compileTemplate(template).fields) fields[hole] = example;
  return fields;
}

function shellLine({ base, task }: Adapter, hubId: string | null): string {
  const fields = task === null ? [] : compileTemplate(task.template).fields;
  const input = fields.length > 1 ? JSON.stringify(examples(task!.template)) : example;
  return [
    `softprompt predict '${input.replaceAll("'", "'\\''")}' --adapter .`,
    ...(base.name === "" && hubId === null ? ["--model the/base-model"] : []),
    ...(task === null ? ["--template '{text}'"] : []),
  ].join(" ");
}

function indent(text: string): string {
  return text.replace(/^/gm, "    ");
}

/** Names from files must not break the card's structure. */
function oneLine(text: string): string {
  return text.replace(/[\r\n`|<>]+/g, " ").trim();
}
