/** @file Fields of a config.json, each read with its type and range. In: the object and a key. Out: the value, or an error that names the field. */
import { SoftpromptError } from "../base/errors.js";
import { type JsonObject, own } from "../base/json.js";

/** An integer; null means "the default" in Hugging Face configs. */
export function integer(
  raw: JsonObject,
  where: string,
  key: string,
  least: number,
  most: number,
  fallback?: number,
): number {
  const value = own(raw, key) ?? fallback;
  if (value === undefined) throw wrong(where, `${key} is missing`, `an integer from ${least} to ${most}`, undefined);
  if (!Number.isInteger(value) || (value as number) < least || (value as number) > most)
    throw wrong(where, `${key} is out of range`, `an integer from ${least} to ${most}`, value);
  return value as number;
}

export function number(
  raw: JsonObject,
  where: string,
  key: string,
  least: number,
  most: number,
  fallback?: number,
): number {
  const value = own(raw, key) ?? fallback;
  if (value === undefined) throw wrong(where, `${key} is missing`, `a number from ${least} to ${most}`, undefined);
  if (typeof value !== "number" || !(value >= least && value <= most))
    throw wrong(where, `${key} is out of range`, `a number from ${least} to ${most}`, value);
  return value;
}

export function tokenId(raw: JsonObject, where: string, key: string, vocabulary: number, fallback: number): number {
  const value = own(raw, key);
  const single = Array.isArray(value) && value.length === 1 ? value[0] : value; // some exporters write [1]
  return integer({ [key]: single }, where, key, 0, vocabulary - 1, fallback);
}

export function boolean(raw: JsonObject, where: string, key: string, fallback: boolean): boolean {
  const value = own(raw, key) ?? fallback;
  if (typeof value !== "boolean") throw wrong(where, `${key} must be true or false`, "true or false", value);
  return value;
}

export function wrong(
  where: string,
  problem: string,
  expected: string | undefined,
  got: unknown,
  hint?: string,
): SoftpromptError {
  return new SoftpromptError("checkpoint", problem, { where, expected, got, hint });
}
