/**
 * @file The skills of the engine's thread: the bare model and the loaded adapters. In: Model, folders. Out: LoadedSkill, tested on one row
 * by everything that it can do, so that no request waits until its sessions are open.
 */
import { checkBase } from "../adapter/adapter.js";
import { runnable } from "../adapter/applied.js";
import { SoftpromptError } from "../base/errors.js";
import { aroundText, compileTemplate } from "../data/template.js";
import { behindPrompt, chatTemplateOf, chatTokenizer } from "../model/tokenizer.js";
import { readAdapter } from "../tasks/adapter-place.js";
import { declaredReader } from "../tasks/choices.js";
import type { Model } from "../tasks/model.js";
import { answerInputs, openSkill, readInput, type Skill } from "../tasks/predictor.js";
import { chatWriter } from "./chat.js";
import { errorOf } from "./failure.js";
import { encodePrompt } from "./prompt.js";
import type { EngineStart, WarmingEvent } from "./protocol.js";
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

/** The model without an adapter. Where only labels are answered it does nothing. */
export function bareSkill(
  model: Model,
  chat: ChatSkill | null,
  { onlyLabels }: Pick<EngineStart, "onlyLabels">,
): LoadedSkill {
  const write = { tokenizer: model.tokenizer, method: model.engine.method, parameters: null, place: () => ({}), chat };
  const facts = { task: null, fields: [], labels: null, virtualTokens: 0 };
  if (onlyLabels) return { facts: { ...facts, abilities: [] }, predict: null, write: null };
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
  { maxInputTokens: mostTokens, onlyLabels }: Pick<EngineStart, "maxInputTokens" | "onlyLabels">,
  onWarm: OnWarm = () => {},
): Promise<LoadedSkill> {
  const adapter = readAdapter(folder);
  await checkBase(adapter, model.checkpoint, { anyBase, tokenizer: model.tokenizer });
  const { method, parameters } = runnable(adapter, model.checkpoint.config);
  const { tokens } = method.adds(parameters);
  const { task } = adapter;
  if (task === null && onlyLabels)
    throw new SoftpromptError("usage", "this adapter has no task, and the server answers labels alone", {
      where: folder,
      expected: "an adapter that was tuned for a task",
      hint: "start the server without --only-labels",
    });
  const opened = task === null ? null : await openSkill(model, adapter, { anyBase: true }, name);
  const predict = opened && { ...opened, maxInputTokens: Math.min(opened.maxInputTokens, mostTokens) };
  const place = onlyLabels ? null : aroundText(task?.template ?? "");
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
  await tryOut(model, skill, name, onWarm);
  return skill;
}

/** How far the first passes of a skill are. */
export type OnWarm = (event: WarmingEvent) => void;

/** How the first text of a skill is written: reading gives the first token, the second needs the other half of the program. */
const firstText = { maxTokens: 2, temperature: 0, topP: 1, topK: 0, seed: 0, stop: [] };

/**
 * Runs one row through the model for each thing that the skill can do: it finds errors that occur only there before the first request, and
 * opens the sessions that the first request would wait for.
 */
export async function tryOut(
  model: Model,
  { predict, write }: LoadedSkill,
  name: string,
  onWarm: OnWarm = () => {},
): Promise<void> {
  const ranked = predict?.task.verbalizer ? predict : null;
  const passes = [
    ...(ranked ? [() => answerFirst(model, ranked, name)] : []),
    ...(write ? [() => writeFirst(model, write, ranked !== null)] : []),
    // it writes inside its task's text alone; what a declared task's row must hold is not known here
    ...(!ranked && !write && predict && declaredReader(predict.task) === null
      ? [() => answerFirst(model, inShort(predict), name)]
      : []),
  ];
  const tell = (done: number) => onWarm({ kind: "progress", doing: "warming", file: name, done, total: passes.length });
  for (const [done, pass] of passes.entries()) {
    tell(done);
    await pass();
  }
  if (passes.length > 0) tell(passes.length);
}

async function answerFirst(model: Model, skill: Skill, name: string): Promise<void> {
  const input = Object.fromEntries(skill.template.fields.map((field) => [field, "a"]));
  await answerInputs(model, [readInput(skill, input, `a first row of ${name}`, false)], {});
}

/** The same skill with a written answer of one token. */
const inShort = (skill: Skill): Skill => ({ ...skill, task: { ...skill.task, maxTargetTokens: 1 } });

/** @param answers the skill is of use where its window leaves no room to write; a request is then told that its text is too long */
async function writeFirst(model: Model, write: WritingSkill, answers: boolean): Promise<void> {
  const encoded = await encodePrompt(model, write, { text: "a" }, firstText, 64).catch((error: unknown) => {
    if (answers && error instanceof SoftpromptError && error.kind === "data") return null;
    throw error;
  });
  if (encoded === null) return;
  const group = await openGroup(model, [{ id: 0, skill: write, ...encoded, how: firstText, dropped: false }]);
  for (let events = await group.step(); events !== null; events = await group.step())
    for (const [, event] of events) if (event.kind === "failed") throw errorOf(event.failure);
}
