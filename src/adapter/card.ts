/**
 * @file README.md of an adapter: a model card that the Hugging Face hub reads and a person can act on.
 */
import { isFull, maskCounts } from "../method/mask.js";
import { maskMap } from "./map.js";
import type { Adapter } from "./types.js";

/** The card's text. Only what is known is said; a base that is no hub id is left out of the front matter. */
export function adapterCard(adapter: Adapter): string {
  const { base, prompt, mask, task, scores, training } = adapter;
  const [tokens, width] = prompt.shape as [number, number];
  const hubId = /^[\w.-]+\/[\w.-]+$/.test(base.name) ? base.name : null;
  const counts = mask && !isFull(mask) ? maskCounts(mask, width) : null;
  const lines = [
    "---",
    ...(hubId ? [`base_model: ${hubId}`] : []),
    "library_name: peft",
    "tags:",
    ...(hubId ? [`- base_model:adapter:${hubId}`] : []),
    "- prompt-tuning",
    "- softprompt",
    "---",
    "",
    `# Soft prompt${task ? ` for ${oneLine(task.name)}` : ""}`,
    "",
    `${tokens} virtual tokens of width ${width} before the encoder's input of a frozen T5${base.name ? ` (${oneLine(base.name)})` : ""}.`,
    counts
      ? `${counts.tokens} tokens and ${counts.pieces} pieces survive pruning: ${counts.parameters} trained parameters (${(100 * counts.fraction).toFixed(2)} %).`
      : `${tokens * width} trained parameters.`,
    ...(base.sha256 ? [`Base model's weights: sha256 \`${base.sha256}\`.`] : []),
    "",
    "## Use",
    "",
    "```python",
    "from peft import PeftModel",
    "from transformers import AutoModelForSeq2SeqLM",
    `model = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(${JSON.stringify(hubId ?? "the/base-model")}), "this-folder")`,
    "```",
    "",
    "or `softprompt predict --adapter this-folder`.",
  ];
  if (task)
    lines.push(
      "",
      "## Task",
      "",
      "The text the encoder reads:",
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
  if (mask && counts) lines.push("", "## What survives", "", ...maskMap(mask).split("\n").map(indent));
  return `${lines.join("\n")}\n`;
}

function indent(text: string): string {
  return text.replace(/^/gm, "    ");
}

/** Names from files must not break the card's structure. */
function oneLine(text: string): string {
  return text.replace(/[\r\n`|<>]+/g, " ").trim();
}
