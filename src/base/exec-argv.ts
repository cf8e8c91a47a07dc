/**
 * @file Node's own options for a thread or a process that runs a file of ours. In: the caller's options. Out: those that fit a file.
 *
 * A program given as text (`node --input-type=module -e "…"`) hands its options on, and a file that is started with them is refused.
 */

/** Options that belong to a program's text; without "=" their value is the next word. */
const ofText: ReadonlySet<string> = new Set(["--input-type", "--eval", "-e", "--print", "-p", "-pe"]);

const isOfText = (word: string | undefined) => word !== undefined && ofText.has(word.split("=")[0]!);

/** For a process of its own. @param given Node's options of this process */
export function execArgvForFile(given: readonly string[] = process.execArgv): string[] {
  return given.filter((word, i) => !isOfText(word) && !ofText.has(given[i - 1] ?? ""));
}

/** For a thread: none beside a program's text, for V8's options cannot be handed on by name; else what Node hands on itself. */
export function threadOptions(given: readonly string[] = process.execArgv): { readonly execArgv?: string[] } {
  return given.some(isOfText) ? { execArgv: [] } : {};
}
