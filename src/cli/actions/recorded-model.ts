/**
 * @file The base model of an adapter: the given one, or the one that the adapter recorded.
 */
import { existsSync } from "node:fs";
import type { Adapter } from "../../adapter/types.js";
import { isBundled } from "../../base/bundled.js";
import { SoftpromptError } from "../../base/errors.js";
import { pickOptions } from "../../base/options.js";
import { openAdapter } from "../../tasks/adapter-place.js";
import { type Model, openModel, openOptions } from "../../tasks/model.js";
import type { CommandContext } from "../command.js";
import { modelContext } from "../progress.js";

/** The adapter that a command names, from where it lies; null where it names none. */
export async function namedAdapter(
  { adapter, offline }: { readonly adapter?: string | undefined; readonly offline?: boolean | undefined },
  { terminal, signal }: Pick<CommandContext, "terminal" | "signal">,
): Promise<Adapter | null> {
  return adapter === undefined ? null : openAdapter(adapter, { offline, ...modelContext(terminal, signal) });
}

/** @throws SoftpromptError "usage" if no model is given or recorded. */
export async function openWithAdapter(
  given: string | undefined,
  adapter: Adapter | null,
  options: { readonly revision?: string | undefined },
  { terminal, signal }: Pick<CommandContext, "terminal" | "signal">,
): Promise<Model> {
  const wanted: ReturnType<typeof recorded> = given === undefined ? recorded(adapter) : { model: given };
  const asked = pickOptions(openOptions, options);
  const revision = options.revision ?? wanted.revision;
  const chosen = revision === undefined ? asked : { ...asked, revision };
  return openModel(wanted.model, { ...chosen, ...modelContext(terminal, signal) });
}

/** A name that can be opened here: a bundled model, an existing folder, a hub id. Its sha256 is checked later. */
function recorded(adapter: Adapter | null): { model: string; revision?: string } {
  const missing = (got: string | undefined, hint: string) =>
    new SoftpromptError("usage", "model is missing", {
      where: "--model",
      expected: "folder or hub id of the frozen base model",
      got,
      hint,
    });
  if (adapter === null)
    throw missing(undefined, "give --model, or --adapter with an adapter that records its base model");
  const { name, revision } = adapter.base;
  if (name === "") throw missing(undefined, "the adapter does not say which model it is for: give --model");
  if (isBundled(name) || existsSync(name)) return { model: name };
  // a name with a revision is of a hub: also one without an organisation, and one file of a repository
  if (revision !== null && /^(?!\.)[\w.-]+(\/[\w.-]+)*$/.test(name)) return { model: name, revision };
  if (/^[\w.-]+\/[\w.-]+$/.test(name) && !/^\.{1,2}\//.test(name)) return { model: name };
  throw missing(
    `the adapter was tuned on ${name}, which is not here`,
    "give --model with the place where that model lies now",
  );
}
