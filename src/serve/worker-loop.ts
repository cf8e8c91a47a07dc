/**
 * @file The engine's thread: opens the model, loads adapters, and answers rows as they come, together where they come together.
 *
 * In: Orders. Out: Reports. Between two passes it reads what has come meanwhile. In each turn every batch of texts gets one token and one
 * batch of rows is ranked, so that no request waits until another's text is complete.
 */
import type { MessagePort } from "node:worker_threads";
import { SoftpromptError } from "../base/errors.js";
import { type Model, openModel } from "../tasks/model.js";
import { answerInputs, type ReadInput, readInput } from "../tasks/predictor.js";
import { textIds } from "../text/batch.js";
import { encodeRows } from "../text/rows.js";
import { failureOf } from "./failure.js";
import { encodePrompt } from "./prompt.js";
import type { AskedRow, EngineStart, Order, Report, RowEvent } from "./protocol.js";
import type { ChatSkill, LoadedSkill } from "./skill.js";
import { bareSkill, loadSkill, openChat } from "./skills.js";
import { type Group, groupKey, openGroup, type WriteRow } from "./writer.js";

/** A row to be ranked. */
interface PredictRow {
  readonly id: number;
  readonly read: Exclude<ReadInput, SoftpromptError>;
  readonly tokens: number;
  readonly virtual: number;
  readonly truncated: boolean;
}

/** Most batches of texts that are generated in parallel. */
const mostGroups = 8;
/** Most tokens of one pass, including padding, because the memory of attention grows with them. */
const batchTokens = 16_384;

/** The number of the bare model. */
export const bareNumber = 0;

/** Serves a port until it is told to close. */
export async function serveEngine(port: MessagePort, start: EngineStart): Promise<void> {
  const tell = (report: Report) => port.postMessage(report);
  port.on("message", ({ kind }: Order) => {
    if (kind === "park") park(start.parked);
  });
  let model: Model;
  let chat: ChatSkill | null;
  try {
    model = await openModel(start.model, { ...start.options, onEvent: (event) => tell({ kind: "opening", event }) });
    chat = await openChat(model);
  } catch (error) {
    tell({ kind: "broken", failure: failureOf(error) });
    port.close();
    return;
  }
  const desk = openDesk(model, chat, start, tell);
  port.on("message", (order: Order) => desk.take(order));
  tell({ kind: "ready", name: model.checkpoint.name, bare: desk.bare.facts });
  await desk.work();
  await model.dispose();
  port.close();
}

/** Sleeps for ever, between two passes, because terminating a thread inside the runtime aborts the whole process. */
function park(parked: Int32Array): void {
  Atomics.store(parked, 0, 1);
  Atomics.notify(parked, 0);
  Atomics.wait(parked, 1, 0);
}

function openDesk(model: Model, chat: ChatSkill | null, start: EngineStart, tell: (report: Report) => void) {
  const bare = bareSkill(model, chat);
  const skills = new Map<number, LoadedSkill>([[bareNumber, bare]]);
  const ranking = new Map<number, PredictRow>();
  const writing = new Map<number, WriteRow>();
  const running = new Map<number, WriteRow>();
  const groups: Group[] = [];
  let closing = false;
  let wake = () => {};
  // adapters are loaded one after another, in the order they came
  let loading: Promise<void> = Promise.resolve();

  const tellBegan = (rows: readonly { readonly id: number; readonly tokens: number }[]) =>
    tell({ kind: "events", events: rows.map(({ id, tokens }) => [id, { kind: "began", promptTokens: tokens }]) });
  const event = (id: number, of: RowEvent) => tell({ kind: "events", events: [[id, of]] });

  function takeRow(asked: AskedRow): void {
    const skill = skills.get(asked.skill);
    if (asked.kind === "predict") {
      if (!skill?.predict) throw lacks("/v1/predict", "this model has no task: name an adapter that was tuned for one");
      const read = readInput(skill.predict, asked.input, asked.name, false) as PredictRow["read"];
      const { task, tokenizer, maxInputTokens } = read.skill;
      const [encoded] = encodeRows(task, [read.row], tokenizer, maxInputTokens);
      const tokens = textIds(encoded!).length;
      const virtual = skill.facts.virtualTokens;
      ranking.set(asked.id, { id: asked.id, read, tokens, virtual, truncated: encoded!.truncated });
      return;
    }
    if (!skill?.write)
      throw lacks("/v1/completions", "this adapter's prompt stands inside its task's text: use /v1/predict");
    const { write } = skill;
    const row = { id: asked.id, dropped: false };
    pending.set(asked.id, row);
    // a conversation in a new order of roles starts a process; the others need not wait for it
    encodePrompt(model, write, asked.prompt, asked.how, start.maxInputTokens).then(
      ({ row: encoded, tokenizer, tokens }) => {
        pending.delete(asked.id);
        if (row.dropped) return;
        writing.set(asked.id, { ...row, skill: write, row: encoded, tokens, tokenizer, how: asked.how });
        wake();
      },
      (error: unknown) => {
        pending.delete(asked.id);
        if (!row.dropped) event(asked.id, { kind: "failed", failure: failureOf(error) });
      },
    );
  }
  const pending = new Map<number, { dropped: boolean }>();

  function take(order: Order): void {
    switch (order.kind) {
      case "rows":
        for (const row of order.rows)
          try {
            takeRow(row);
          } catch (error) {
            event(row.id, { kind: "failed", failure: failureOf(error) });
          }
        break;
      case "drop":
        for (const id of order.ids) {
          ranking.delete(id);
          writing.delete(id);
          for (const row of [running.get(id), pending.get(id)]) if (row) row.dropped = true;
        }
        break;
      case "add": {
        const { skill, ...place } = order;
        loading = loading.then(async () => {
          try {
            const loaded = await loadSkill(model, chat, place, start.maxInputTokens);
            skills.set(skill, loaded);
            tell({ kind: "added", skill, facts: loaded.facts });
          } catch (error) {
            tell({ kind: "refused", skill, failure: failureOf(error) });
          }
        });
        break;
      }
      case "remove":
        skills.delete(order.skill);
        break;
      case "close":
        closing = true;
        break;
      case "park": // handled by serveEngine
    }
    wake();
  }

  /** Ranks the first rows that wait. */
  async function rank(): Promise<void> {
    const batch = batchOf([...ranking.values()], start.batchSize, ({ tokens, virtual }) => tokens + virtual);
    if (batch.length === 0) return;
    for (const { id } of batch) ranking.delete(id);
    tell({ kind: "batch", what: "predict", rows: batch.length });
    tellBegan(batch);
    let events: [number, RowEvent][];
    try {
      const answers = await answerInputs(
        model,
        batch.map(({ read }) => read),
        { skipBadRows: true, batchSize: start.batchSize },
      );
      events = answers.map(({ error, ...answer }, i) => [
        batch[i]!.id,
        error === undefined
          ? { kind: "answer", ...answer, tokens: batch[i]!.tokens, truncated: batch[i]!.truncated }
          : { kind: "failed", failure: failureOf(error) },
      ]);
    } catch (error) {
      events = batch.map(({ id }) => [id, { kind: "failed", failure: failureOf(error) }]);
    }
    tell({ kind: "events", events });
  }

  /** Starts the first waiting rows, with others that can be generated in the same batch. */
  async function begin(): Promise<void> {
    const [first] = writing.values();
    if (first === undefined || groups.length >= mostGroups) return;
    const room = Math.min(start.batchSize, start.writingRows - groups.reduce((sum, group) => sum + group.running, 0));
    if (room <= 0) return;
    const key = groupKey(model, first);
    const beside = [...writing.values()].filter((row) => groupKey(model, row).every((part, i) => part === key[i]));
    const rows = batchOf(beside, room, ({ tokens, skill }) => tokens + (skill.parameters?.prompt?.shape[0] ?? 0));
    for (const row of rows) {
      writing.delete(row.id);
      running.set(row.id, row);
    }
    tell({ kind: "batch", what: "write", rows: rows.length });
    tellBegan(rows);
    try {
      groups.push(await openGroup(model, rows));
    } catch (error) {
      for (const { id } of rows) running.delete(id);
      tell({ kind: "events", events: rows.map(({ id }) => [id, { kind: "failed", failure: failureOf(error) }]) });
    }
  }

  /** One token of every text. */
  async function write(): Promise<void> {
    for (const group of [...groups]) {
      const events = await group.step();
      if (events === null) groups.splice(groups.indexOf(group), 1);
      else if (events.length > 0) tell({ kind: "events", events });
      for (const [id, { kind }] of events ?? []) if (kind !== "piece") running.delete(id);
    }
    for (const [id, { dropped }] of running) if (dropped) running.delete(id);
  }

  return {
    bare,
    take,
    async work(): Promise<void> {
      while (!closing) {
        if (ranking.size + writing.size + groups.length === 0) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
          continue;
        }
        await rank();
        await begin();
        await write();
        // messages that came during the passes
        await new Promise((resolve) => setImmediate(resolve));
      }
      await loading;
    },
  };
}

/**
 * The row that has waited longest, and the rows nearest to it in length, because padding is wasted work. The number is limited by the
 * tokens of the padded batch.
 * @param rows in the order that they came
 */
function batchOf<T>(rows: readonly T[], most: number, lengthOf: (row: T) => number): T[] {
  const [oldest] = rows;
  if (oldest === undefined) return [];
  const own = lengthOf(oldest);
  const near = rows.map((row) => ({ row, length: lengthOf(row) }));
  near.sort((a, b) => Math.abs(a.length - own) - Math.abs(b.length - own));
  let [count, longest] = [0, 0];
  for (const { length } of near) {
    longest = Math.max(longest, length);
    if (count > 0 && (count === most || (count + 1) * longest > batchTokens)) break;
    count++;
  }
  return near.slice(0, count).map(({ row }) => row);
}

function lacks(where: string, problem: string): SoftpromptError {
  return new SoftpromptError("usage", problem, { where });
}
