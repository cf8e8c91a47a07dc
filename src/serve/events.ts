/**
 * @file Server-sent events on a response. In: JSON values as they come. Out: `data: …` lines, held back where the reader is slow.
 *
 * A silent stream sends a comment every few seconds, because clients give up if they receive nothing. A reader that accepts no data is
 * disconnected.
 */
import type { ServerResponse } from "node:http";
import type { SocketLimits } from "./options.js";

/** A stream of events to one client. */
export interface EventStream {
  /** Sends one event. */
  send(value: unknown): void;
  /** Ends the stream. */
  end(): void;
}

/** Begins a stream: headers go out at once. */
export function openEvents(
  response: ServerResponse,
  headers: Readonly<Record<string, string>>,
  { keepAlive, stalled }: Pick<SocketLimits, "keepAlive" | "stalled">,
): EventStream {
  response.writeHead(200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
    ...headers,
  });
  response.flushHeaders();
  let told = performance.now();
  let full: number | null = null;
  const write = (text: string) => {
    if (response.writableEnded || response.destroyed) return;
    told = performance.now();
    if (!response.write(text)) full ??= told;
  };
  response.on("drain", () => {
    full = null;
  });
  const watch = setInterval(
    () => {
      const now = performance.now();
      if (full !== null && now - full > stalled * 1000) response.destroy();
      else if (full === null && now - told > keepAlive * 1000) write(": keep-alive\n");
    },
    Math.min(1, keepAlive / 2, stalled / 2) * 1000,
  );
  response.on("close", () => clearInterval(watch));
  return {
    send: (value) => write(`data: ${typeof value === "string" ? value : JSON.stringify(value)}\n\n`),
    end() {
      clearInterval(watch);
      response.end();
    },
  };
}
