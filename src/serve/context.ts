/**
 * @file What the routes of one server share, and how a request's rows are waited for. In: a Desk, limits. Out: answers, or an ApiError.
 */
import type { ServerResponse } from "node:http";
import { ApiError, busy, failed, invalid } from "./api-error.js";
import type { Asked, Desk, Listed, NewRow } from "./desk.js";
import type { Metrics } from "./metrics.js";
import type { ServeOptions, SocketLimits } from "./options.js";
import type { Ability, RowEvent } from "./protocol.js";

/** What the routes of one server share. */
export interface ServerContext {
  readonly desk: Desk;
  readonly options: ServeOptions;
  readonly sockets: SocketLimits;
  readonly metrics: Metrics;
  /** The base model's name in requests. */
  readonly served: string;
  /** Called once per warning. */
  notice(message: string): void;
  /** True if the server accepts no more requests. */
  stopping(): boolean;
}

/** The id of something that is listed. */
export function idOf({ served }: Pick<ServerContext, "served">, { name }: Pick<Listed, "name">): string {
  return name === null ? served : `${served}:${name}`;
}

/** The model listed under an id. @throws ApiError 404. */
export function findModel({ desk, served }: Pick<ServerContext, "desk" | "served">, id: string): Listed {
  const name = id === served ? null : id.startsWith(`${served}:`) ? id.slice(served.length + 1) : undefined;
  const found = name === undefined ? undefined : desk.find(name);
  if (found !== undefined) return found;
  throw new ApiError(404, `there is no model ${JSON.stringify(id.slice(0, 200))}; /v1/models lists what there is`, {
    param: "model",
    code: "model_not_found",
  });
}

/** The same, if it supports the requested function. @throws ApiError 400, 404. */
export function modelFor(
  context: Pick<ServerContext, "desk" | "served" | "options">,
  id: string,
  ability: Ability,
): Listed {
  const found = findModel(context, id);
  if (found.facts.abilities.includes(ability)) return found;
  const { onlyLabels } = context.options;
  const texts = "this server answers labels alone: use /v1/predict";
  const why = {
    predict: "it has no task: name an adapter that was tuned for one",
    completions: onlyLabels ? texts : "its prompt stands inside its task's text: use /v1/predict",
    chat: onlyLabels ? texts : "it has no chat template: use /v1/completions",
  } satisfies Record<Ability, string>;
  throw invalid(`this model does not do that: ${why[ability]}`, "model", "unsupported_model");
}

/** Headers of answers while the server stops: ask again, over another connection. */
export const stoppingHeaders = { "retry-after": "1", connection: "close" } as const;

/** Refuses a request if the queue is full. Also called before a body is read. @throws ApiError 429, 503. */
export function checkPlace({ desk, stopping }: Pick<ServerContext, "desk" | "stopping">, rows = 1): void {
  if (stopping()) throw new ApiError(503, "the server is stopping", { code: "stopping", headers: stoppingHeaders });
  if (desk.state !== "ready")
    throw busy(503, desk.state === "starting" ? "the model is being opened" : "the engine is gone", desk.state, 5);
  if (desk.full(rows)) throw busy(429, "too many rows wait; ask again later", "overloaded", desk.retryAfter);
}

/** Calls back if a client disconnects before its answer is complete. */
export function onLeave(response: ServerResponse, leave: () => void): void {
  response.once("close", () => {
    if (!response.writableFinished) leave();
  });
}

/** Settings for waiting for a request's rows. */
export interface Waiting {
  readonly response: ServerResponse;
  /** The field of the request that a row came from. */
  readonly paramOf: (row: number) => string;
  /** Called with events of rows, except failures. */
  readonly hear: (row: number, event: Exclude<RowEvent, { kind: "failed" }>) => void;
}

/** The client disconnected; there is no one to answer. */
export class Left extends Error {}

/**
 * Queues rows and waits until each has its last event.
 * @throws ApiError 400 for more rows than the queue ever takes; else at the first failure, 504 after the time limit; Left. The other rows are
 * then cancelled.
 */
export function waitFor(
  context: ServerContext,
  rows: readonly NewRow[],
  { response, paramOf, hear }: Waiting,
): Promise<void> {
  const { requestTimeout, maxQueue } = context.options;
  // there would never be room, and clients repeat a 429
  if (rows.length > maxQueue)
    throw invalid(
      `${rows.length} rows; at most ${maxQueue} may wait or run at a time, of all requests together`,
      paramOf(0).replace(/\[\d+\]$/, ""),
    );
  checkPlace(context, rows.length);
  return new Promise((resolve, reject) => {
    let [left, over] = [rows.length, false];
    const end = (error?: Error) => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      if (error === undefined) return resolve();
      asked.cancel();
      reject(error);
    };
    const timer = setTimeout(
      () =>
        end(
          new ApiError(504, `not answered within ${requestTimeout} seconds`, {
            code: "timeout",
            // a repeated request would take as long again
            headers: { "x-should-retry": "false" },
          }),
        ),
      requestTimeout * 1000,
    );
    onLeave(response, () => end(new Left()));
    const asked: Asked = context.desk.ask(rows, (row, event) => {
      if (over) return;
      if (event.kind === "failed") {
        if (event.failure.kind === null) context.notice(`a bug: ${event.failure.problem}`);
        return end(failed(event.failure, paramOf(row)));
      }
      hear(row, event);
      if (event.kind !== "began" && event.kind !== "piece" && --left === 0) end();
    });
  });
}
