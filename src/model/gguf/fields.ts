/**
 * @file Checked access to the metadata of a GGUF file by key. In: the header's map. Out: numbers, texts, lists of the right kind.
 *
 * Remembers which keys were read, so that unread keys can be reported: an unknown key may change the model.
 */
import { SoftpromptError, show } from "../../base/errors.js";
import type { GgufValue } from "./header.js";

export class Fields {
  private readonly asked = new Set<string>();
  constructor(
    private readonly metadata: ReadonlyMap<string, GgufValue>,
    readonly where: string,
  ) {}

  has(key: string): boolean {
    this.asked.add(key);
    return this.metadata.has(key);
  }

  /** An integer from `least` to `most`. */
  integer(key: string, least: number, most: number, fallback?: number): number {
    const value = this.get(key) ?? fallback;
    if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most) return value as number;
    throw this.wrong(key, `an integer from ${least} to ${most}`);
  }

  /** An integer, or a list of one per layer that all agree: this project's layers are alike. */
  alike(key: string, least: number, most: number, fallback?: number): number {
    const value = this.get(key);
    if (!Array.isArray(value)) return this.integer(key, least, most, fallback);
    const [first] = value;
    if (value.every((v) => v === first) && Number.isInteger(first) && first >= least && first <= most) return first;
    throw this.wrong(key, `the same integer from ${least} to ${most} for every layer`);
  }

  /** A finite number above 0. A float32 comes back as the shortest decimal that is it: 1e-5, not 9.999999747378752e-6. */
  positive(key: string, fallback?: number): number {
    const value = this.get(key) ?? fallback;
    if (typeof value === "number" && Number.isFinite(value) && value > 0) return shortest(value);
    throw this.wrong(key, "a number above 0");
  }

  text(key: string, fallback?: string): string {
    const value = this.get(key) ?? fallback;
    if (typeof value === "string") return value;
    throw this.wrong(key, "a text");
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.get(key) ?? fallback;
    if (typeof value === "boolean") return value;
    throw this.wrong(key, "true or false");
  }

  texts(key: string): readonly string[] {
    return this.list(key, "texts", (v): v is string => typeof v === "string");
  }
  numbers(key: string): readonly number[] {
    return this.list(key, "numbers", (v): v is number => typeof v === "number");
  }

  /** Keys that begin with `prefix` and were never asked for. */
  unasked(prefix: string): string[] {
    return [...this.metadata.keys()].filter((key) => key.startsWith(prefix) && !this.asked.has(key));
  }

  wrong(key: string, expected: string, problem?: string): SoftpromptError {
    const there = this.metadata.has(key);
    const value = this.metadata.get(key);
    return new SoftpromptError("checkpoint", problem ?? (there ? `${key} is not right` : `${key} is missing`), {
      where: this.where,
      expected,
      got: there ? (Array.isArray(value) ? `${show(value.slice(0, 5))} (${value.length} elements)` : value) : undefined,
    });
  }

  refuse(problem: string, expected?: string, got?: unknown, hint?: string): SoftpromptError {
    return new SoftpromptError("checkpoint", problem, { where: this.where, expected, got, hint });
  }

  private list<T>(key: string, kind: string, is: (value: unknown) => value is T): readonly T[] {
    const value = this.get(key);
    if (Array.isArray(value) && value.every(is)) return value;
    throw this.wrong(key, `a list of ${kind}`);
  }

  private get(key: string): GgufValue | undefined {
    this.asked.add(key);
    return this.metadata.get(key);
  }
}

function shortest(value: number): number {
  if (Math.fround(value) !== value) return value;
  for (let digits = 1; digits < 10; digits++) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === value) return candidate;
  }
  return value;
}
