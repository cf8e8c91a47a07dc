/** @file Options as texts of a form and back. In: an option, a value or a text. Out: the other. The server checks the values. */
import type { Option } from "../../base/options.js";

/** A value as the text of its field; nothing given is "". */
export function fieldText(option: Option, value: unknown): string {
  if (value === undefined || value === null) return "";
  if (Array.isArray(value)) return value.join(option.kind === "list" && option.whole ? "\n" : ",");
  if (typeof value === "object")
    return Object.entries(value)
      .map(([name, text]) => `${name}=${text}`)
      .join("\n");
  return String(value);
}

const numberOf = (text: string): number | string =>
  text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text;

/** A field's text as a value; an empty field gives none. What is no number stays text, and the server says so. */
export function fieldValue(option: Option, text: string): unknown {
  if (text === "") return undefined;
  switch (option.kind) {
    case "number":
    case "integer":
      return numberOf(text);
    case "boolean":
      return text === "true";
    case "list": {
      // a word of a choice has no spaces; of a name or a pattern they may be a part
      const trimmed = (item: string) => (option.values === undefined ? item : item.trim());
      const items = text
        .split(option.whole ? "\n" : ",")
        .map(trimmed)
        .filter((item) => item !== "");
      return option.of === "string" ? items : items.map(numberOf);
    }
    case "map": {
      const pairs = text.split("\n").filter((line) => line !== "");
      return Object.fromEntries(
        pairs.map((line) => {
          const at = line.indexOf("=");
          return at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + 1)];
        }),
      );
    }
    default:
      return text;
  }
}

/** What the field shows where nothing is given. */
export const usualText = (option: Option): string => fieldText(option, option.default).replaceAll("\n", " ");
