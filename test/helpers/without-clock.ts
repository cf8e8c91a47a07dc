/**
 * @file What a run gave, but for what the clock decided. In: a result. Out: its JSON without seconds, maps as lists.
 */
export const textWithoutClock = (result: unknown): string =>
  JSON.stringify(result, (key, v) => (/seconds$/i.test(key) ? undefined : v instanceof Map ? [...v] : v));

export const withoutClock = (result: unknown) => JSON.parse(textWithoutClock(result));
