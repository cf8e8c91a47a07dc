/**
 * @file What is opened at its first use and closed with its owner.
 *
 * In: a way to open something by a key. Out: one for each key, for all callers; none once the owner is closed. What could not be opened is
 * tried again by the next caller.
 */
import { sessionClosed } from "../runtime/session.js";

/** Something that holds native memory until it is disposed. */
export interface Closable {
  dispose(): Promise<void>;
}

/** Things that are opened when they are needed. */
export interface AtNeed<Key, T> extends Closable {
  /** @throws SoftpromptError "engine" after dispose, and whatever opening throws. */
  get(key: Key): Promise<T>;
}

/** @param where names the owner in the error for what is asked of it after its end */
export function atNeed<Key, T extends Closable>(where: string, open: (key: Key) => Promise<T>): AtNeed<Key, T> {
  const opened = new Map<Key, Promise<T>>();
  let closed = false;
  return {
    async get(key) {
      if (closed) throw sessionClosed(where);
      const found = opened.get(key) ?? open(key);
      opened.set(key, found);
      found.catch(() => opened.delete(key));
      return found;
    },
    async dispose() {
      closed = true;
      const all = [...opened.values()];
      opened.clear();
      await disposeAll(all);
    },
  };
}

/** Disposes all of them, also behind one that fails; what could not be opened holds nothing. @throws the first failure */
export async function disposeAll(all: Iterable<Closable | Promise<Closable>>): Promise<void> {
  const ends = await Promise.allSettled(
    Array.from(all, async (one) => {
      const opened = await Promise.resolve(one).catch(() => null);
      await opened?.dispose();
    }),
  );
  for (const end of ends) if (end.status === "rejected") throw end.reason;
}
