/**
 * @file What a program gave in the place of an adapter, for callers without types. In: any value. Out: nothing, or an error that says what belongs there.
 */
import { SoftpromptError } from "../base/errors.js";

/** Whether a value has the parts of an adapter that every use reads. */
export function isAdapterValue(given: unknown): boolean {
  if (typeof given !== "object" || given === null || !("base" in given) || !("prompt" in given)) return false;
  const { prompt } = given;
  return typeof prompt === "object" && prompt !== null && "shape" in prompt && "data" in prompt;
}

/** @param where the call, e.g. "saveAdapter()". @throws SoftpromptError "usage" */
export function checkAdapterValue(given: unknown, where: string): void {
  if (isAdapterValue(given)) return;
  throw new SoftpromptError("usage", "this is no adapter", {
    where,
    expected: "what tune or loadAdapter gave",
    got: given,
    hint: typeof given === "string" ? `read it first: loadAdapter(${JSON.stringify(given.slice(0, 200))})` : undefined,
  });
}
