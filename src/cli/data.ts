/**
 * @file Loads data for a command and shows its notices before it is used.
 *
 * In: data options, Terminal. Out: Dataset; its notices on stderr (commands put them into their `--json` answer too).
 */
import { pickOptions } from "../base/options.js";
import { printableLine } from "../base/printable.js";
import type { Dataset } from "../data/row.js";
import { type DataOptions, dataOptions, loadData, targetNotices } from "../tasks/data.js";
import type { Model } from "../tasks/model.js";
import { chatNotice } from "../tasks/readied.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { Terminal } from "./terminal.js";

/** Loads rows and shows their notices. Throws as loadData. */
export async function loadSaid(
  options: DataOptions,
  { terminal, signal }: { readonly terminal: Terminal; readonly signal: AbortSignal },
  of = "",
): Promise<Dataset> {
  // a command's options hold every room's
  const data = await loadData({ ...pickOptions(dataOptions, options), signal });
  sayNotices(data.notices ?? [], terminal, of);
  return data;
}

/** The notices of some data, one line each. @param name of the data, if there are several */
export function sayNotices(notices: readonly string[], terminal: Terminal, of = ""): void {
  for (const notice of notices)
    terminal.note(`${terminal.colors.yellow("notice")} ${printableLine(of === "" ? notice : `${of}: ${notice}`)}`);
}

/** Also shows notices that need a tokenizer. @param maxInputTokens as targetNotices @returns all notices, for `--json` */
export function sayTokenNotices(
  data: Dataset,
  tokenizer: Tokenizer,
  terminal: Terminal,
  { of = "", maxInputTokens }: { readonly of?: string; readonly maxInputTokens?: number } = {},
): string[] {
  const found = targetNotices(data, tokenizer, maxInputTokens);
  sayNotices(found, terminal, of);
  return [...(data.notices ?? []), ...found];
}

/** Suggests the model's own chat template if it has one that is not used. */
export async function sayChat(model: Pick<Model, "tokenizer" | "checkpoint">, terminal: Terminal): Promise<void> {
  const notice = await chatNotice(model);
  if (notice !== null) sayNotices([notice], terminal);
}

/** A user's text as one short line: control characters escaped, cut at `width` characters. */
export function short(text: string, width: number): string {
  const line = [...printableLine(text)];
  return line.length <= width ? line.join("") : `${line.slice(0, width - 1).join("")}…`;
}

/** As many items as fit on a line, and the number of the others. */
export function shortList(items: readonly string[], width: number): string {
  let line = "";
  for (const [i, item] of items.entries()) {
    const next = line === "" ? item : `${line}, ${item}`;
    const rest = items.length - i - 1;
    if (i > 0 && next.length + (rest > 0 ? ` and ${rest} more`.length : 0) > width)
      return `${line} and ${items.length - i} more`;
    line = next;
  }
  return line;
}
