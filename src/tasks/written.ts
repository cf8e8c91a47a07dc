/**
 * @file Turns generated ids into text that can be shown at once. In: a StreamDecoder, stop strings, ids one by one. Out: text.
 *
 * The returned pieces joined are the decoding of all ids, up to the first stop string. Stop strings are never returned, so text that may
 * become one is held back until it cannot.
 */
import type { StreamDecoder } from "../text/tokenizer.js";

export interface Writing {
  /** The text that becomes final with this id. */
  push(id: number): string;
  /** What was held back, at the end. */
  flush(): string;
  /** True if a stop string was generated; no more text is returned. */
  readonly stopped: boolean;
}

export function writing(decoder: StreamDecoder, stops: readonly string[]): Writing {
  let held = "";
  let stopped = false;
  const settle = (more: string, last: boolean): string => {
    if (stopped) return "";
    held += more;
    const first = firstStop(held, stops);
    stopped = first !== null;
    const upTo = first !== null ? first : last ? held.length : held.length - openEnd(held, stops);
    const given = held.slice(0, upTo);
    held = held.slice(upTo);
    return given;
  };
  return {
    push: (id) => settle(decoder.push(id), false),
    flush: () => settle(decoder.flush(), true),
    get stopped() {
      return stopped;
    },
  };
}

/**
 * The begin of the stop string that is complete first; null if none is. So the result does not depend on how the text was cut into tokens.
 */
function firstStop(text: string, stops: readonly string[]): number | null {
  const found = stops
    .map((stop) => ({ from: text.indexOf(stop), length: stop.length }))
    .filter(({ from }) => from >= 0)
    .sort((a, b) => a.from + a.length - b.from - b.length || a.from - b.from);
  return found[0]?.from ?? null;
}

/** Length of the longest suffix of a text that is a prefix of some stop string. */
function openEnd(text: string, stops: readonly string[]): number {
  let longest = 0;
  for (const stop of stops)
    for (let n = Math.min(stop.length - 1, text.length); n > longest; n--)
      if (text.endsWith(stop.slice(0, n))) longest = n;
  return longest;
}
