/**
 * @file The engine's thread: opens the model, loads adapters, and answers rows as they come, together where they come together.
 *
 * In: Orders. Out: Reports. Between two passes it reads what has come meanwhile. In each turn every batch of texts gets one token and one
 * batch of rows is answered, so that no request waits until another's text is complete: where answers are written, texts get a token after
 * each token of theirs.
 */
import type { MessagePort } from "node:worker_threads";
import { SoftpromptError } from "../base/errors.js";
import { type Model, openModel } from "../tasks/model.js";
import { answerInputs, type GoodInput, readInput } from "../tasks/predictor.js";
import { type EncodedRow, textIds } from "../text/batch.js";
import { encodeRows } from "../text/rows.js";
import { batchOf } from "./batching.js";
import { failureOf } from "./failure.js";
import { encodePrompt } from "./prompt.js";
import type { AskedRow, BegunBatch, EngineStart, Order, Report, RowEvent, WarmingEvent } from "./protocol.js";
import type { ChatSkill, LoadedSkill } from "./skill.js";
import { bareSkill, loadSkill, openChat, tryOut } from "./skills.js";
import { type Group, groupKey, openGroup, type WriteRow } from "./writer.js";

type EncodedInput = GoodInput & { readonly encoded: EncodedRow };

/** A row to be ranked. */
interface PredictRow {
  readonly id: number;
  readonly read: EncodedInput;
  readonly tokens: number;
  readonly virtual: number;
}

/** Rows that are ranked now. */
interface Ranked {
  /** Those that are still wanted. */
  readonly wanted: Set<number>;
  /** Fires when none of them is. */
  readonly left: AbortController;
}

/** Most batches of texts that are generated in parallel. */
const mostGroups = 8;
/** Most positions of one pass, including padding, because the memory of attention grows with them. */
const batchPositions = 16_384;
/** What a further pass costs, in positions: calling the kernels, and reading the weights again. */
const passPositions = 32;

/** The number of the bare model. */
export const bareNumber = 0;

/** Serves a port until it is told to close. */
export async function serveEngine(port: MessagePort, start: EngineStart): Promise<void> {
  const tell = (report: Report) => port.postMessage(report);
  const opening = new AbortController();
  port.on("message", ({ kind }: Order) => {
    if (kind === "park") park(start.parked);
    // before the desk is open nobody else hears it
    if (kind === "close") opening.abort();
  });
  const onWarm = (event: WarmingEvent) => tell({ kind: "opening", event });
  let model: Model | undefined;
  let chat: ChatSkill | null;
  let bare: LoadedSkill;
  try {
    model = await openModel(start.model, {
      ...start.options,
      // a server's texts are never all known
      evictTexts: true,
      signal: opening.signal,
      onEvent: (event) => tell({ kind: "opening", event }),
    });
    chat = start.onlyLabels ? null : await openChat(model);
    bare = bareSkill(model, chat, start);
    if (!opening.signal.aborted) await tryOut(model, bare, model.checkpoint.name, onWarm);
  } catch (error) {
    tell({ kind: "broken", failure: failureOf(error) });
    await model?.dispose();
    port.close();
    return;
  }
  if (opening.signal.aborted) {
    await model.dispose();
    port.close();
    return;
  }
  const desk = openDesk(model, bare, chat, start, tell);
  port.on("message", (order: Order) => desk.take(order));
  tell({ kind: "ready", name: model.checkpoint.name, bare: bare.facts });
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

function openDesk(
  model: Model,
  bare: LoadedSkill,
  chat: ChatSkill | null,
  start: EngineStart,
  tell: (report: Report) => void,
) {
  const skills = new Map<number, LoadedSkill>([[bareNumber, bare]]);
  const ranking = new Map<number, PredictRow>();
  const writing = new Map<number, WriteRow>();
  const running = new Map<number, WriteRow>();
  const groups: Group[] = [];
  let ranked: Ranked | null = null;
  let closing = false;
  let wake = () => {};
  // adapters are loaded one after another, in the order they came
  let loading: Promise<void> = Promise.resolve();

  // Events wait until the thread computes or sleeps: one message for the answers of a pass and the beginning of the next.
  const outbox: (readonly [number, RowEvent])[] = [];
  const batches: BegunBatch[] = [];
  const event = (id: number, of: RowEvent) => void outbox.push([id, of]);
  const flush = () => {
    if (outbox.length + batches.length > 0)
      tell({ kind: "events", events: outbox.splice(0), batches: batches.splice(0) });
  };
  const begun = (what: BegunBatch["what"], rows: readonly { readonly id: number; readonly tokens: number }[]) => {
    batches.push({ what, rows: rows.length });
    for (const { id, tokens } of rows) event(id, { kind: "began", promptTokens: tokens });
    flush();
  };

  function takeRow(asked: AskedRow): void {
    const skill = skills.get(asked.skill);
    if (asked.kind === "predict") {
      if (!skill?.predict) throw lacks("/v1/predict", "this model has no task: name an adapter that was tuned for one");
      const read = readInput(skill.predict, asked.input, asked.name, false) as GoodInput;
      const { task, tokenizer, maxInputTokens } = read.skill;
      const [encoded] = encodeRows(task, [read.row], tokenizer, maxInputTokens);
      const tokens = textIds(encoded!).length;
      const virtual = skill.facts.virtualTokens;
      ranking.set(asked.id, { id: asked.id, read: { ...read, encoded: encoded! }, tokens, virtual });
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
        if (row.dropped) return;
        event(asked.id, { kind: "failed", failure: failureOf(error) });
        wake();
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
          if (ranked?.wanted.delete(id) && ranked.wanted.size === 0) ranked.left.abort();
          for (const row of [running.get(id), pending.get(id)]) if (row) row.dropped = true;
        }
        break;
      case "add": {
        const { skill, ...place } = order;
        loading = loading.then(async () => {
          try {
            const loaded = await loadSkill(model, chat, place, start, (event) => tell({ kind: "opening", event }));
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
        ranked?.left.abort();
        break;
      case "park": // handled by serveEngine
    }
    wake();
  }

  /** Answers the first rows that wait. A batch that nobody wants any longer is left between two passes. */
  async function rank(): Promise<void> {
    const limits = { rows: start.batchSize, positions: batchPositions, pass: passPositions };
    const batch = batchOf([...ranking.values()], (row) => row, limits);
    if (batch.length === 0) return;
    for (const { id } of batch) ranking.delete(id);
    begun("predict", batch);
    const { wanted, left } = { wanted: new Set(batch.map(({ id }) => id)), left: new AbortController() };
    ranked = { wanted, left };
    try {
      const answers = await answerInputs(
        model,
        batch.map(({ read }) => read),
        { skipBadRows: true, batchSize: start.batchSize, signal: left.signal, afterToken: between },
      );
      for (const [i, { error, ...answer }] of answers.entries()) {
        const { id, tokens, read } = batch[i]!;
        const { truncated } = read.encoded;
        if (error === undefined) event(id, { kind: "answer", ...answer, tokens, truncated });
        else event(id, { kind: "failed", failure: failureOf(error) });
      }
    } catch (error) {
      for (const id of wanted) event(id, { kind: "failed", failure: failureOf(error) });
    } finally {
      ranked = null;
    }
  }

  /** Starts the first waiting rows, with others that can be generated in the same batch. */
  async function begin(): Promise<void> {
    const [first] = writing.values();
    if (first === undefined || groups.length >= mostGroups) return;
    const room = Math.min(start.batchSize, start.writingRows - groups.reduce((sum, group) => sum + group.running, 0));
    if (room <= 0) return;
    const key = groupKey(model, first);
    const beside = [...writing.values()].filter((row) => groupKey(model, row).every((part, i) => part === key[i]));
    const lengthOf = ({ tokens, skill }: WriteRow) => ({ tokens, virtual: skill.parameters?.prompt?.shape[0] ?? 0 });
    // reading is a small part of the work, so every batch is filled
    const rows = batchOf(beside, lengthOf, { rows: room, positions: batchPositions, pass: Number.POSITIVE_INFINITY });
    for (const row of rows) {
      writing.delete(row.id);
      running.set(row.id, row);
    }
    begun("write", rows);
    try {
      groups.push(await openGroup(model, rows));
    } catch (error) {
      for (const { id } of rows) {
        running.delete(id);
        event(id, { kind: "failed", failure: failureOf(error) });
      }
    }
  }

  /** One token of every text. */
  async function write(): Promise<void> {
    for (const group of [...groups]) {
      flush();
      const events = await group.step();
      if (events === null) groups.splice(groups.indexOf(group), 1);
      else outbox.push(...events);
      for (const [id, { kind }] of events ?? []) if (kind !== "piece") running.delete(id);
    }
    for (const [id, { dropped }] of running) if (dropped) running.delete(id);
  }

  /** Between two tokens of written answers: what texts have is told, and they get their turn. */
  const between = () => {
    flush();
    return texts();
  };

  /** The turn of texts, and of messages that came during the passes. */
  async function texts(): Promise<void> {
    await begin();
    await write();
    await new Promise((resolve) => setImmediate(resolve));
  }

  return {
    take,
    async work(): Promise<void> {
      while (!closing) {
        if (ranking.size + writing.size + groups.length === 0) {
          flush();
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
          continue;
        }
        await rank();
        await texts();
      }
      flush();
      await loading;
    },
  };
}

function lacks(where: string, problem: string): SoftpromptError {
  return new SoftpromptError("usage", problem, { where });
}
