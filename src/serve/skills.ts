/**
 * @file The skills of the engine's thread: the bare model and the loaded adapters. In: Model, folders. Out: LoadedSkill, tested on one row.
 */
import { checkBase } from "../adapter/adapter.js";
import { runnable } from "../adapter/applied.js";
import { aroundText, compileTemplate } from "../data/template.js";
import { behindPrompt, chatTemplateOf, chatTokenizer } from "../model/tokenizer.js";
import { readAdapter } from "../tasks/adapter-place.js";
import type { Model } from "../tasks/model.js";
import { answerInputs, openSkill, readInput } from "../tasks/predictor.js";
import { chatWriter } from "./chat.js";
import { encodePrompt } from "./prompt.js";
import type { ChatSkill, LoadedSkill, WritingSkill } from "./skill.js";
import { openGroup } from "./writer.js";

/** Opens the model's own chat template; null if it has none. */
export async function openChat({
  checkpoint,
  tokenizer,
}: Pick<Model, "checkpoint" | "tokenizer">): Promise<ChatSkill | null> {
  const template = await chatTemplateOf(checkpoint);
  if (template === null) return null;
  const { rules } = await chatTokenizer(checkpoint, tokenizer);
  const { chat: _, ...open } = rules!;
  return { tokenizer: { ...tokenizer, rules: open }, write: chatWriter(template) };
}

/** The model without an adapter. */
export function bareSkill(model: Model, chat: ChatSkill | null): LoadedSkill {
  const write = { tokenizer: model.tokenizer, method: model.engine.method, parameters: null, place: () => ({}), chat };
  const facts = { task: null, fields: [], labels: null, virtualTokens: 0 };
  return {
    facts: { ...facts, abilities: ["completions", ...(chat ? (["chat"] as const) : [])] },
    predict: null,
    write,
  };
}

/**
 * Loads an adapter and tests it on one row, so that every listed adapter can answer. @throws SoftpromptError "adapter" and other errors of
 * loading.
 */
export async function loadSkill(
  model: Model,
  chat: ChatSkill | null,
  { folder, name, anyBase }: { readonly folder: string; readonly name: string; readonly anyBase: boolean },
  mostTokens: number,
): Promise<LoadedSkill> {
  const adapter = readAdapter(folder);
  await checkBase(adapter, model.checkpoint, { anyBase, tokenizer: model.tokenizer });
  const { method, parameters } = runnable(adapter, model.checkpoint.config);
  const { tokens } = method.adds(parameters);
  const { task } = adapter;
  const opened = task === null ? null : await openSkill(model, adapter, { anyBase: true }, name);
  const predict = opened && { ...opened, maxInputTokens: Math.min(opened.maxInputTokens, mostTokens) };
  const place = aroundText(task?.template ?? "");
  const write: WritingSkill | null = place && {
    tokenizer: behindPrompt(model.tokenizer, tokens),
    method,
    parameters,
    place,
    chat: chat && { ...chat, tokenizer: behindPrompt(chat.tokenizer, tokens) },
  };
  const skill: LoadedSkill = {
    facts: {
      abilities: [
        ...(predict ? (["predict"] as const) : []),
        ...(write ? (["completions"] as const) : []),
        ...(write?.chat ? (["chat"] as const) : []),
      ],
      task: task?.name ?? null,
      fields: task === null ? [] : compileTemplate(task.template).fields,
      labels: task?.verbalizer ? Object.keys(task.verbalizer) : null,
      virtualTokens: tokens,
    },
    predict,
    write,
  };
  await tryOut(model, skill, name);
  return skill;
}

/** Runs one row through the model, to find errors that occur only there before the first request. */
async function tryOut(model: Model, { predict, write }: LoadedSkill, name: string): Promise<void> {
  if (predict?.task.verbalizer) {
    const input = Object.fromEntries(predict.template.fields.map((field) => [field, "a"]));
    await answerInputs(model, [readInput(predict, input, `a first row of ${name}`, false)], {});
  } else if (write) {
    const how = { maxTokens: 1, temperature: 0, topP: 1, topK: 0, seed: 0, stop: [] };
    const encoded = await encodePrompt(model, write, { text: "a" }, how, 64);
    const group = await openGroup(model, [{ id: 0, skill: write, ...encoded, how, dropped: false }]);
    for (let events = await group.step(); events !== null; events = await group.step());
  }
}
