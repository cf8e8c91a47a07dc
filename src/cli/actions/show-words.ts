/**
 * @file The work of softprompt show ADAPTER: its virtual tokens as words, and how much of its score these words keep.
 */
import { SoftpromptError } from "../../base/errors.js";
import { printableLine } from "../../base/printable.js";
import { scoreText } from "../../report/format.js";
import { plainTable } from "../../report/markdown.js";
import { type PromptWords, promptWords } from "../../tasks/words.js";
import type { Answer, CommandContext } from "../command.js";
import { sayNotices } from "../data.js";
import type { ShowValues } from "../tables/show.js";
import { refuseUnread } from "../unread.js";
import { scoredRows } from "./eval.js";
import { namedAdapter, openWithAdapter } from "./recorded-model.js";

/** Words per token in the table. */
const shown = 3;

export async function showWords(options: ShowValues, folder: string, context: CommandContext): Promise<Answer> {
  if (!options.nearest)
    throw new SoftpromptError("usage", "there is nothing to show of the adapter", {
      where: "softprompt show ADAPTER",
      expected: "--nearest",
      hint: "softprompt inspect ADAPTER says what it is made of",
    });
  refuseUnread("an adapter", "softprompt show ADAPTER", ["examples", "maxInputTokens"], context.given);
  const adapter = (await namedAdapter({ ...options, adapter: folder }, context))!;
  const { task: name, data, train, validation, test } = options;
  const asked = [name, data, train, validation, test].some((value) => value !== undefined);
  const scored = asked ? await scoredRows({ ...options, split: "validation" }, adapter.task, context) : null;
  const model = await openWithAdapter(options.model, adapter, options, context);
  try {
    const words = await promptWords(model, {
      adapter,
      nearest: shown,
      anyBase: options.anyBase,
      signal: context.signal,
      onEvent: ({ message }) => sayNotices([message], context.terminal),
      ...(scored === null ? {} : { rows: scored.rows, task: scored.task }),
    });
    return { json: words, text: wordsText(words) };
  } finally {
    await model.dispose();
  }
}

function wordsText({ tokens, text, scores }: PromptWords): string {
  const table = plainTable([
    ["token", "nearest words (cosine)"],
    ...tokens.map((nearest, i): [string, string] => [
      String(i),
      nearest.map(({ piece, cosine }) => `${printableLine(piece)} ${cosine.toFixed(2)}`).join("  ") || "pruned",
    ]),
  ]);
  if (scores === null) return `${table}\n\nas words  ${printableLine(text)}`;
  const names = Object.keys(scores.prompt) as (keyof typeof scores.prompt)[];
  const fall = plainTable([
    [`${scores.rows} rows`, "as tuned", "as words"],
    ...names.map((name) => [name, scoreText(scores.prompt[name]), scoreText(scores.words[name])]),
  ]);
  return `${table}\n\nas words  ${printableLine(text)}\n\n${fall}`;
}
