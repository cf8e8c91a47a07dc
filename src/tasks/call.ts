/**
 * @file One options object per call: the options of a table, and beside them `onEvent` and `signal`.
 *
 * In: the object that a caller gave. Out: its options and its context apart. The form of 0.1's drafts, with the context as a separate
 * parameter, is still accepted; it gives one warning with the new form.
 */

/** A warning that a caller should know and that does not stop the work. */
export interface NoticeEvent {
  readonly kind: "notice";
  readonly message: string;
}

/** What every call accepts beside its options. */
export interface CallContext<E> {
  /** Called with every event while the call works. An error that it throws ends the call with that error. */
  readonly onEvent?: ((event: E) => void) | undefined;
  /** Stops the work. */
  readonly signal?: AbortSignal | undefined;
}

/** Splits a call's object: the values under `keys` are its context, the rest are options that a table checks. */
export function splitCall<C extends object>(
  given: object,
  keys: readonly (keyof C & string)[],
): { options: Record<string, unknown>; context: C } {
  const options: Record<string, unknown> = {};
  const context: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(given))
    (keys.includes(key as keyof C & string) ? context : options)[key] = value;
  return { options, context: context as C };
}

/** The old form of the context: a separate parameter, with three names for one listener. */
export interface EarlierContext {
  readonly observe?: ((event: never) => void) | undefined;
  readonly say?: ((message: string) => void) | undefined;
  readonly progress?: ((progress: never) => void) | undefined;
  readonly [key: string]: unknown;
}

const warned = new Set<string>();

/** One object out of the two that a call took before. Warns with the new form once per call name, as Node emits deprecations. */
export function oneObject<G extends object>(given: G, earlier: EarlierContext | undefined, name: string): G {
  if (earlier === undefined) return given;
  if (!warned.has(name)) {
    warned.add(name);
    process.emitWarning(
      `${name} takes one options object: ${name}(…, { ...options, onEvent, signal }); observe, say and progress are onEvent now`,
      { type: "DeprecationWarning", code: "SOFTPROMPT_ONE_OBJECT" },
    );
  }
  const { observe, say, progress, ...rest } = earlier;
  if (observe === undefined && say === undefined && progress === undefined) return { ...given, ...rest };
  const onEvent = (event: { readonly kind: string; readonly message?: string }) => {
    observe?.(event as never);
    if (event.kind === "notice") say?.(event.message!);
    if (event.kind === "progress") progress?.(event as never);
  };
  return { ...given, ...rest, onEvent };
}

/** Frees a thing at the end of its scope: `await using`. Node 20 has the symbol; types of older libraries do not. */
export function disposable<T extends { dispose(): Promise<void> }>(thing: T): T & AsyncDisposable {
  const symbol = (Symbol as { readonly asyncDispose?: symbol }).asyncDispose;
  if (symbol === undefined) return thing as T & AsyncDisposable;
  return Object.assign(thing, { [symbol]: () => thing.dispose() }) as unknown as T & AsyncDisposable;
}
