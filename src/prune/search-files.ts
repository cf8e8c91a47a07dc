/**
 * @file Files of a search beside its run folders: search.json (its inputs) and scores.json (importance).
 *
 * In: a folder, facts, a measurement. Out: the folder claimed, or refused; scores read back where they are of this prompt.
 */
import { lstatSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { SoftpromptError } from "../base/errors.js";
import { listFolder, readWhole, writeFileAtomic } from "../base/files.js";
import { parseJson } from "../base/json.js";
import { kept } from "../base/kept.js";
import { removeLeftovers } from "../base/lock.js";
import { currentNames, renamedIn } from "../base/options.js";
import { claim, fileNames } from "../run/layout.js";
import { checkIdentity, type Identity } from "../train/identity.js";
import { type Importance, isImportance } from "./importance.js";
import { pruneOptions } from "./options.js";

/** Facts of version 0.1 by the names that they have now. */
const renamedFacts = Object.fromEntries(
  Object.entries(renamedIn(pruneOptions)).map(([old, name]) => [`pruning.${old}`, `pruning.${name}`]),
);

const headForm = z.strictObject({ format: z.literal(2), identity: z.record(z.string(), z.string()) });

/** Removes temp files that deaths left beside what a search writes itself. The runs in its folder remove their own. */
function removeTemporary(folder: string): void {
  // a link would lead to files of others
  const isFolder = (path: string) => lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  removeLeftovers(folder);
  for (const below of [fileNames.candidates, fileNames.anew].map((name) => join(folder, name)).filter(isFolder)) {
    removeLeftovers(below);
    for (const candidate of listFolder(below).map((name) => join(below, name)))
      if (isFolder(candidate)) removeLeftovers(candidate);
  }
}

/**
 * Checks that the folder belongs to this search or is empty, and removes what deaths left in it. The caller owns the folder (base/lock.ts).
 * The trainer checks the trainings in it.
 * @param files by name: `config.yaml`; written before the folder becomes a search, and again where they differ @throws SoftpromptError "run".
 */
export function claimFolder(
  folder: string,
  identity: Identity,
  resume: boolean,
  files: Readonly<Record<string, string>> = {},
): void {
  const path = join(folder, fileNames.search);
  claim(folder, "search", resume);
  const text = readWhole(path, "run")?.toString("utf8");
  if (text === undefined) {
    removeTemporary(folder);
    for (const [name, content] of Object.entries(files)) writeFileAtomic(join(folder, name), content);
    writeFileAtomic(path, `${JSON.stringify({ format: 2, identity }, null, 2)}\n`);
    return;
  }
  const saved = headForm.safeParse(parseJson(text, path, "run"));
  if (!saved.success)
    throw new SoftpromptError("run", "search.json does not say what the search is made from", {
      where: path,
      expected: "the file as this version writes it",
      hint: "start in another folder",
    });
  checkIdentity(
    currentNames(saved.data.identity, renamedFacts, path, () => {}),
    identity,
    folder,
  );
  removeTemporary(folder);
  // a resume may have changed options, and the next resume must see the new values
  for (const [name, content] of Object.entries(files))
    if (readWhole(join(folder, name), "run")?.toString("utf8") !== content)
      writeFileAtomic(join(folder, name), content);
}

/**
 * Reads scores back if they belong to the same prompt; otherwise measures and keeps them.
 * @param prompt its hash @param size P and k of the scores
 */
export async function keptScores(
  path: string,
  prompt: string,
  size: { readonly tokens: number; readonly pieces: number },
  measure: () => Promise<Importance>,
): Promise<Importance> {
  const read = (body: unknown) => (isImportance(body, size) ? body : null);
  return (await kept(path, prompt, { read }, measure)).value;
}
