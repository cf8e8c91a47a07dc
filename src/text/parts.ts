/**
 * @file What the tables of tokenizer steps share: reading a step by its name, and the fields of its object.
 *
 * In: a value of `tokenizer.json`. Out: the field, or a SoftpromptError that names the place.
 */
import { nearest, SoftpromptError } from "../base/errors.js";
import { isObject, type JsonObject, own } from "../base/json.js";

/** The ways to make one kind of step, by the `type` that names them. */
export type StepTable<T> = Readonly<Record<string, (config: JsonObject, where: string) => T>>;

/** The step that `config` describes. A type that is not in the table is refused by name, so that no text is tokenised almost right. */
export function step<T>(table: StepTable<T>, config: unknown, where: string): T {
  const c = object(config, where);
  const type = own(c, "type");
  if (typeof type !== "string" || !Object.hasOwn(table, type)) {
    const near = typeof type === "string" ? nearest(type, Object.keys(table)) : undefined;
    throw new SoftpromptError("checkpoint", "this step of the tokenizer is not supported", {
      where: `${where}.type`,
      expected: Object.keys(table).join(", "),
      got: type,
      hint: near ? `did the file mean ${near}?` : undefined,
    });
  }
  return table[type]!(c, where);
}

export function object(value: unknown, where: string): JsonObject {
  if (isObject(value)) return value;
  throw new SoftpromptError("checkpoint", "an object is missing", { where, expected: "an object", got: kindOf(value) });
}

export function array(value: unknown, where: string): readonly unknown[] {
  if (Array.isArray(value)) return value as unknown[];
  throw new SoftpromptError("checkpoint", "a list is missing", { where, expected: "a list", got: kindOf(value) });
}

export function string(value: unknown, where: string): string {
  if (typeof value === "string") return value;
  throw new SoftpromptError("checkpoint", "a text is missing", { where, expected: "a string", got: kindOf(value) });
}

function kindOf(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "a list" : typeof value;
}

/** A field that is true, false, or left out. */
export function flag(config: JsonObject, name: string, otherwise: boolean, where: string): boolean {
  const value = own(config, name);
  if (value === undefined || value === null) return otherwise;
  if (typeof value === "boolean") return value;
  throw new SoftpromptError("checkpoint", `"${name}" must be true or false`, { where, got: value });
}

export function isIndex(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0;
}

/** A field that is one of `values`, or left out. */
export function oneOf<T extends string>(
  config: JsonObject,
  name: string,
  values: readonly T[],
  otherwise: T,
  where: string,
): T {
  const value = own(config, name) ?? otherwise;
  if (values.includes(value as T)) return value as T;
  throw new SoftpromptError("checkpoint", `"${name}" is not one that is known`, {
    where,
    expected: values.join(", "),
    got: value,
  });
}
