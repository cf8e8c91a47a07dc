/** @file What the parts of the page share: the place that is shown, values that are asked again and again, requests in progress. */
import { createContext } from "preact";
import { useCallback, useContext, useEffect, useRef, useState } from "preact/hooks";
import type { StudioState } from "../protocol.js";
import { Refusal } from "./api.js";

/** A place of the page, as its address says after "#": `#/run?path=a`. */
export interface Place {
  readonly name: string;
  readonly query: URLSearchParams;
}

export function placeOf(hash: string): Place {
  const [name = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  return { name, query: new URLSearchParams(query) };
}

/** The address of a place. */
export function linkTo(name: string, query: readonly (readonly [string, string])[] = []): string {
  const text = new URLSearchParams(query.map(([key, value]) => [key, value])).toString();
  return `#/${name}${text === "" ? "" : `?${text}`}`;
}

export function usePlace(): Place {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = () => {
      setHash(location.hash);
      window.scrollTo(0, 0);
    };
    window.addEventListener("hashchange", changed);
    return () => window.removeEventListener("hashchange", changed);
  }, []);
  return placeOf(hash);
}

/** What a request gave so far. */
export interface Asked<T> {
  readonly value: T | null;
  readonly error: Refusal | null;
  readonly again: () => void;
}

const refusalOf = (error: unknown) => (error instanceof Refusal ? error : new Refusal(0, String(error)));

/**
 * Asks at once, and again after each answer in `every` milliseconds; null asks once. A hidden page does not ask.
 * @param key a change of it asks anew and forgets the old value
 */
export function useAsked<T>(ask: (last: T | null) => Promise<T>, key: string, every: number | null): Asked<T> {
  const [found, setFound] = useState<{ key: string; value: T | null; error: Refusal | null }>({
    ...{ key, value: null, error: null },
  });
  const [turn, setTurn] = useState(0);
  const latest = useRef<T | null>(null);
  const asking = useRef(ask);
  asking.current = ask;
  const shown = useRef(key);
  if (shown.current !== key) {
    shown.current = key;
    latest.current = null;
  }
  // `turn` asks once more
  useEffect(() => {
    let live = true;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const once = async () => {
      if (!document.hidden || latest.current === null) {
        try {
          const value = await asking.current(latest.current);
          if (!live) return;
          latest.current = value;
          setFound({ key, value, error: null });
        } catch (error) {
          if (!live) return;
          setFound({ key, value: latest.current, error: refusalOf(error) });
        }
      }
      if (live && every !== null) timer = setTimeout(once, every);
    };
    void once();
    return () => {
      live = false;
      clearTimeout(timer);
    };
  }, [key, every, turn]);
  const again = useCallback(() => setTurn((n) => n + 1), []);
  const own = found.key === key ? found : { value: null, error: null };
  return { value: own.value, error: own.error, again };
}

/** A request that the user starts: whether it runs, and its error. */
export function useAction(): {
  readonly busy: boolean;
  readonly error: Refusal | null;
  readonly run: (work: () => Promise<void>) => void;
} {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<Refusal | null>(null);
  const run = (work: () => Promise<void>) => {
    setBusy(true);
    setError(null);
    work()
      .catch((thrown) => setError(refusalOf(thrown)))
      .finally(() => setBusy(false));
  };
  return { busy, error, run };
}

/** The studio's state, and a way to ask for it at once after a change. */
export const Studio = createContext<{ readonly state: StudioState; readonly again: () => void }>(null as never);
export const useStudio = () => useContext(Studio);
