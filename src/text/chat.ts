/**
 * @file A row in a chat: the text that the template puts around a user's message. In: ChatFormat, a filled template. Out: the same, as a
 * chat's first message.
 */
import type { FieldSpan } from "../data/row.js";
import { isBlankAt } from "./unicode.js";

/** What a template writes around a message, including BOS if it has one. */
export interface ChatFormat {
  readonly before: string;
  readonly after: string;
  /** The template takes white space off a message's ends. */
  readonly trims: boolean;
}

interface Filled {
  readonly input: string;
  readonly fields: readonly FieldSpan[];
}

/** A filled task template as a chat's first message. */
export function inChat({ before, after, trims }: ChatFormat, { input, fields }: Filled): Filled {
  let [start, end] = [0, input.length];
  if (trims) {
    while (end > start && isBlankAt(input, end - 1)) end--;
    while (start < end && isBlankAt(input, start)) start++;
  }
  const place = (at: number) => before.length + Math.min(Math.max(at, start), end) - start;
  return {
    input: before + input.slice(start, end) + after,
    fields: fields.map((field) => ({ ...field, from: place(field.from), to: place(field.to) })),
  };
}
