/** @file What the parts of the page share: the place that is shown, values that are asked again and again, requests in progress. */
import { createContext } from "preact";
import { useCallback, useContext, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
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

/** One entry of the browser's history. Whoever comes back to it finds what was typed and chosen there. */
interface Visit {
  readonly hash: string;
  readonly id: string;
}

let visits = 0;
/** The visit that the history is at. What a link leads to is a new one, and gets an id. */
function visitNow(): Visit {
  const { hash } = location;
  const known = (history.state as { visit?: unknown } | null)?.visit;
  if (typeof known === "string") return { hash, id: `${known} ${hash}` };
  // ids of before a reload stay in the history
  const id = `${performance.timeOrigin}-${++visits}`;
  history.replaceState({ visit: id }, "");
  return { hash, id: `${id} ${hash}` };
}

/** What outlives the view of a visit while the page is open. */
export interface Stay {
  readonly visit: string;
  /** Visit and name → value. */
  readonly kept: Map<string, unknown>;
  /** The place has just changed: the heading of its view takes the focus. */
  readonly arrived: { current: boolean };
}

const nowhere: Stay = { visit: "", kept: new Map(), arrived: { current: false } };
export const StayContext = createContext<Stay>(nowhere);

const scrolled = "scrolled";

/** The place that the address names, and what is kept of the visit. */
export function usePlace(): { readonly place: Place; readonly stay: Stay } {
  const [visit, setVisit] = useState(visitNow);
  const { current: kept } = useRef(new Map<string, unknown>());
  const arrived = useRef(false);
  const { current: at } = useRef({ id: visit.id });
  useEffect(() => {
    history.scrollRestoration = "manual";
    const changed = () => {
      const next = visitNow();
      if (next.id === at.id) return;
      at.id = next.id;
      arrived.current = true;
      setVisit(next);
    };
    const moved = () => kept.set(`${at.id} ${scrolled}`, window.scrollY);
    window.addEventListener("hashchange", changed);
    window.addEventListener("scroll", moved, { passive: true });
    return () => {
      window.removeEventListener("hashchange", changed);
      window.removeEventListener("scroll", moved);
    };
  }, [at, kept]);
  useLayoutEffect(() => window.scrollTo(0, Number(kept.get(`${visit.id} ${scrolled}`) ?? 0)), [visit.id, kept]);
  return { place: placeOf(visit.hash), stay: { visit: visit.id, kept, arrived } };
}

/** A state of a view that is there again when the browser goes back to it. */
export function useKept<T>(
  name: string,
  initial: () => T,
): readonly [value: T, set: (value: T | ((old: T) => T)) => void] {
  const { visit, kept } = useContext(StayContext);
  const { current: key } = useRef(`${visit} ${name}`);
  const [value, setValue] = useState<T>(() => (kept.has(key) ? (kept.get(key) as T) : initial()));
  useEffect(() => void kept.set(key, value), [kept, key, value]);
  return [value, setValue];
}

/** What a request gave so far. */
export interface Asked<T> {
  readonly value: T | null;
  readonly error: Refusal | null;
  readonly again: () => void;
}

const refusalOf = (error: unknown) => (error instanceof Refusal ? error : new Refusal(0, String(error)));

/** Milliseconds until what is asked once is asked again where the studio was not there. */
const retryEvery = 3000;
/** It was ended, or started again: it may be back. */
const isAway = ({ status }: Refusal) => status === 0 || status === 401 || status === 503;

/**
 * Asks at once, and again after each answer in `every` milliseconds; null asks once. A hidden page does not ask.
 * @param key a change of it asks anew and forgets the old value
 * @param stamp a change of it asks anew and keeps the old value until there is another
 */
export function useAsked<T>(
  ask: (last: T | null) => Promise<T>,
  key: string,
  every: number | null,
  stamp = "",
): Asked<T> {
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
  // `turn` and `stamp` ask once more
  useEffect(() => {
    let live = true;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const once = async () => {
      let next = every;
      if (!document.hidden || latest.current === null) {
        try {
          const value = await asking.current(latest.current);
          if (!live) return;
          latest.current = value;
          setFound({ key, value, error: null });
        } catch (error) {
          if (!live) return;
          const refusal = refusalOf(error);
          setFound({ key, value: latest.current, error: refusal });
          if (isAway(refusal)) next ??= retryEvery;
        }
      }
      if (live && next !== null) timer = setTimeout(once, next);
    };
    void once();
    return () => {
      live = false;
      clearTimeout(timer);
    };
  }, [key, every, turn, stamp]);
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
