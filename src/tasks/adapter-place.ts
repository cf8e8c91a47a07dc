/**
 * @file Where an adapter lies: a folder, a run, a file, or a repository of the hub. In: a name. Out: the Adapter.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { loadAdapter, missingWeights } from "../adapter/adapter.js";
import { appliedBytes, appliedFile } from "../adapter/applied.js";
import { extrasFile, extrasLimits } from "../adapter/extras.js";
import { isAdapterValue } from "../adapter/given.js";
import { isHubAdapter } from "../adapter/hub-name.js";
import { peftFiles, peftLimits } from "../adapter/peft.js";
import type { Adapter } from "../adapter/types.js";
import { SoftpromptError } from "../base/errors.js";
import { fileNames } from "../run/layout.js";
import type { CallContext, NoticeEvent } from "./call.js";
import type { Model, ModelContext } from "./model.js";
import { resumeHint } from "./shell.js";

/** How a hub is asked. */
export interface AdapterContext extends Pick<ModelContext, "onEvent" | "signal"> {
  /** Use the cache alone. Default $HF_HUB_OFFLINE. */
  readonly offline?: boolean | undefined;
}

/** The adapter's folder or file: as given, or in the hub's cache. @throws SoftpromptError "adapter", "checkpoint", "network". */
export async function adapterFolder(
  name: string,
  { offline, onEvent = () => {}, signal }: AdapterContext = {},
): Promise<string> {
  if (!isHubAdapter(name)) return name;
  const { resolveFiles } = await import("../hub/files.js");
  const wanted = {
    // as much as their readers take
    files: {
      [peftFiles.weights]: peftLimits.weightsBytes,
      [appliedFile]: appliedBytes,
      [extrasFile]: extrasLimits.bytes,
      [peftFiles.config]: peftLimits.configBytes,
    },
    whole: [[peftFiles.config], [extrasFile, appliedFile]],
    what: "adapter",
  };
  const {
    folder,
    name: found,
    warnings,
    listed,
  } = await resolveFiles(name, wanted, {
    ...(offline ? { offline } : {}),
    ...(signal ? { signal } : {}),
    onProgress: (at) => onEvent({ kind: "progress", doing: "downloading", ...at }),
  });
  // a pickle is not even fetched
  if (listed?.includes(peftFiles.pickle) && !listed.includes(peftFiles.weights)) throw missingWeights(name, true);
  // whoever misspells a path shall see that the answer is another's adapter
  for (const message of [`the adapter is ${found}, from the hub`, ...warnings]) onEvent({ kind: "notice", message });
  return folder;
}

/** Reads an adapter from wherever it lies. @throws SoftpromptError "adapter", "checkpoint", "network". */
export async function openAdapter(name: string, context: AdapterContext = {}): Promise<Adapter> {
  return readAdapter(await adapterFolder(name, context));
}

/** loadAdapter, for folders of runs too that have left no adapter yet: these say how to go on. */
export function readAdapter(folder: string): Adapter {
  const has = (name: string) => existsSync(join(folder, name));
  try {
    return loadAdapter(folder);
  } catch (error) {
    const command = has(fileNames.search) ? "prune" : has(fileNames.run) ? "train" : null;
    if (command === null || has(fileNames.adapter) || !(error instanceof SoftpromptError)) throw error;
    throw new SoftpromptError("adapter", "this run has left no adapter yet", {
      where: folder,
      expected: "a run that has ended",
      hint: `wait for it, or go on with it: ${resumeHint(command, folder)}`,
    });
  }
}

/**
 * An adapter as a call gives it: itself or none, or where it lies; a model that was opened offline asks no hub for it. The call's listener
 * gets the notices, not the progress of a few kilobytes.
 */
export async function givenAdapter<Given extends Adapter | string | null>(
  { offline }: Pick<Model, "offline">,
  given: Given,
  { onEvent, signal }: CallContext<NoticeEvent> = {},
): Promise<Exclude<Given, string> | Adapter> {
  if (typeof given !== "string" && given !== null && !isAdapterValue(given))
    throw new SoftpromptError("usage", "this is no adapter", {
      where: "adapter",
      expected: "what tune gave, the folder it was saved in, or null for the model alone",
      got: given,
    });
  if (typeof given !== "string") return given as Exclude<Given, string>;
  return openAdapter(given, {
    offline,
    signal,
    onEvent: (event) => event.kind === "notice" && onEvent?.(event),
  });
}
