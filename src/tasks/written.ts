/**
 * @file Ids that a model writes, as text that can be shown at once. In: a StreamDecoder, stop strings, ids one by one. Out: text.
 *
 * What was given joined is the decoding of all ids, up to the first stop string; nothing of a stop string is given, so what may become
 * one is held back until it cannot.
 */
import type { StreamDecoder } from "../text/tokenizer.js";

export interface Writing {
  /** The text that this id settles. */
  push(id: number): string;
  /** What was held back, at the end. */
  flush(): string;
  /** A stop string was written; nothing more is given. */
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

/** Where the stop string begins that is whole first; null where none is. So it does not matter how the text was cut into tokens. */
function firstStop(text: string, stops: readonly string[]): number | null {
  const found = stops
    .map((stop) => ({ from: text.indexOf(stop), length: stop.length }))
    .filter(({ from }) => from >= 0)
    .sort((a, b) => a.from + a.length - b.from - b.length || a.from - b.from);
  return found[0]?.from ?? null;
}

/** Length of the longest end of a text that some stop string begins with. */
function openEnd(text: string, stops: readonly string[]): number {
  let longest = 0;
  for (const stop of stops)
    for (let n = Math.min(stop.length - 1, text.length); n > longest; n--)
      if (text.endsWith(stop.slice(0, n))) longest = n;
  return longest;
}
