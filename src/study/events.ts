/**
 * @file The events of a call as an async iterable, instead of a callback. In: work that takes `onEvent` and `signal`. Out: Running.
 */
import type { ModelEvent } from "../tasks/model.js";
import type { PruneEvent } from "../tasks/prune.js";
import type { TuneEvent } from "../tasks/tune.js";
import type { AnyStudyEvent } from "./call.js";

/** An event of any call that takes `onEvent`. */
export type AnyEvent = ModelEvent | TuneEvent | PruneEvent | AnyStudyEvent;

/** The context for a call, to be spread into its options object. */
export interface Watched<E> {
  readonly onEvent: (event: E) => void;
  readonly signal: AbortSignal;
}

/** A running call: its events in order, and its result. */
export interface Running<E, T> extends AsyncIterable<E> {
  /** Settles when the work does. The iteration throws the same error, so a caller that iterates need not await this. */
  readonly result: Promise<T>;
}

/**
 * Starts work and yields its events one by one: `const run = eventsOf((watch) => tune(model, data, { steps: 50, ...watch }))`,
 * `for await (const event of run) …`, `await run.result`.
 *
 * An event is one of any call's, told apart by its `kind`; type arguments (TuneEvent, Tuned) say whose they are.
 * Leaving the loop early aborts the work. Events wait in memory until they are read; the work does not wait for its reader.
 * @param signal stops the work too.
 */
export function eventsOf<E = AnyEvent, T = unknown>(
  work: (watched: Watched<E>) => Promise<T>,
  { signal }: { readonly signal?: AbortSignal } = {},
): Running<E, T> {
  const stop = new AbortController();
  const waiting = queue<E>();
  let wake = () => {};
  let ended = false;
  const result = (async () => {
    try {
      return await work({
        onEvent: (event) => {
          waiting.add(event);
          wake();
        },
        signal: signal === undefined ? stop.signal : AbortSignal.any([stop.signal, signal]),
      });
    } finally {
      ended = true;
      wake();
    }
  })();
  // the iteration throws it; without this a caller that only reads events would get an unhandled rejection
  result.catch(() => {});
  return {
    result,
    async *[Symbol.asyncIterator]() {
      try {
        for (;;) {
          while (waiting.length() > 0) yield waiting.take();
          if (ended) break;
          await new Promise<void>((done) => {
            wake = done;
          });
        }
        await result;
      } finally {
        if (!ended) stop.abort();
      }
    },
  };
}

/** First in, first out. An array's shift moves all that wait behind it: minutes for the events of a long training, if they are read late. */
function queue<E>() {
  let items: E[] = [];
  let taken = 0;
  return {
    length: () => items.length - taken,
    add: (item: E) => {
      items.push(item);
    },
    take: (): E => {
      const item = items[taken++]!;
      // what was read is let go when it is half of the list, so that each item is moved once on average
      if (taken * 2 >= items.length) {
        items = items.slice(taken);
        taken = 0;
      }
      return item;
    },
  };
}
