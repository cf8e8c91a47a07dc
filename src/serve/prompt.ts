/**
 * @file Encodes the text to be continued. In: a text, ids or a conversation. Out: an EncodedRow, or an error if it is too long.
 *
 * A text is never cut, because the client would not notice that the answer ignores a part of it.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Row, Task } from "../data/row.js";
import type { Model } from "../tasks/model.js";
import { type EncodedRow, textIds } from "../text/batch.js";
import { encodeRows } from "../text/rows.js";
import { rulesOf } from "../text/rules.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { Prompt, WritingSettings } from "./protocol.js";
import type { WritingSkill } from "./skill.js";

/** A text that is ready to be continued. */
export interface EncodedPrompt {
  readonly row: EncodedRow;
  /** Decodes the generated ids and has the end tokens. */
  readonly tokenizer: Tokenizer;
  /** Ids of the text, virtual tokens not counted. */
  readonly tokens: number;
}

/** @throws SoftpromptError "usage" (no chat template), "data" (too long, unknown ids, roles that the template does not know). */
export async function encodePrompt(
  model: Pick<Model, "checkpoint">,
  skill: WritingSkill,
  prompt: Prompt,
  { maxTokens }: Pick<WritingSettings, "maxTokens">,
  maxInputTokens: number,
): Promise<EncodedPrompt> {
  const found =
    "ids" in prompt ? fromIds(model, skill, prompt.ids) : await fromText(skill, prompt, maxTokens, maxInputTokens);
  const tokens = textIds(found.row).length;
  const { positions = Number.POSITIVE_INFINITY, prompt: virtual = 0 } = rulesOf(found.tokenizer, {}).window ?? {};
  const most = Math.min(maxInputTokens, positions - virtual - 1);
  if (tokens > most) throw tooLong(tokens, most);
  return { ...found, tokens };
}

async function fromText(
  skill: WritingSkill,
  prompt: Exclude<Prompt, { readonly ids: readonly number[] }>,
  maxTokens: number,
  maxInputTokens: number,
): Promise<Omit<EncodedPrompt, "tokens">> {
  let { tokenizer } = skill;
  let text: Pick<Row, "input" | "fields" | "continues">;
  if ("text" in prompt)
    text = { input: prompt.text, fields: [{ name: "text", from: 0, to: prompt.text.length }], continues: true };
  else {
    if (skill.chat === null)
      throw new SoftpromptError("usage", "this model has no chat template", {
        where: "messages",
        expected: "a decoder-only model that was tuned for chats",
        hint: "use /v1/completions",
      });
    tokenizer = skill.chat.tokenizer;
    text = await skill.chat.write(prompt.messages);
  }
  const { positions = Number.POSITIVE_INFINITY } = rulesOf(tokenizer, {}).window ?? {};
  const task: Task = {
    name: "write",
    template: "{text}",
    verbalizer: null,
    metrics: ["exactMatch"],
    // in a small window half of the positions are reserved for the text, whatever the request asks for
    maxTargetTokens: Math.min(maxTokens, Math.ceil(positions / 2)),
    targetPrefix: "",
  };
  const row: Row = {
    id: "prompt",
    ...text,
    ...skill.place(text.input),
    target: "",
    label: null,
    references: [""],
  };
  const [encoded] = encodeRows(task, [row], tokenizer, maxInputTokens) as [EncodedRow];
  if (encoded.truncated) {
    const kept = textIds(encoded).length;
    throw tooLong(kept + (encoded.cut?.tokens ?? 0), kept);
  }
  return { row: encoded, tokenizer };
}

/** Ids without changes. */
function fromIds(
  model: Pick<Model, "checkpoint">,
  skill: WritingSkill,
  ids: readonly number[],
): Omit<EncodedPrompt, "tokens"> {
  const { vocabulary } = model.checkpoint.config;
  const wrong = ids.find((id) => id >= vocabulary);
  if (wrong !== undefined)
    throw new SoftpromptError("data", "the model has no such token", {
      where: "prompt",
      expected: `ids from 0 to ${vocabulary - 1}`,
      got: wrong,
    });
  const { tokenizer } = skill;
  const { promptAt, ...place } = skill.place("");
  const goesOn = rulesOf(tokenizer, {}).joined !== null;
  const row: EncodedRow = {
    id: "prompt",
    input: Int32Array.from(goesOn ? ids.slice(0, -1) : ids),
    ...(goesOn ? { first: ids.at(-1)! } : {}),
    ...(promptAt === undefined ? {} : { promptAt: ids.length }),
    ...place,
    target: Int32Array.of(rulesOf(tokenizer, {}).targetEnd),
    choices: null,
    gold: -1,
    truncated: false,
  };
  return { row, tokenizer };
}

function tooLong(tokens: number, most: number): SoftpromptError {
  return new SoftpromptError("data", "the prompt is too long", {
    where: "prompt",
    expected: `at most ${most} tokens`,
    got: `${tokens} tokens`,
  });
}
