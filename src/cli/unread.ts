/**
 * @file Options that a call would not read. In: which those are, what was given. Out: nothing, or an error: who gives an option expects an effect.
 */
import { SoftpromptError } from "../base/errors.js";
import { flagName } from "../base/options.js";
import type { CommandContext } from "./command.js";

/**
 * @param reader who does not read them, in words: "this study". @param where the command, as it was called.
 * @throws SoftpromptError "usage" naming the options.
 */
export function refuseUnread(
  reader: string,
  where: string,
  unread: readonly string[],
  given: CommandContext["given"],
): void {
  const flags = unread.filter((key) => Object.hasOwn(given, key)).map(flagName);
  if (flags.length > 0)
    throw new SoftpromptError("usage", `${reader} does not read every option that is given`, {
      where,
      expected: "options that change what it does",
      got: flags.join(", "),
      hint: `leave ${flags.length > 1 ? "them" : "it"} out, of the --config file too`,
    });
}
