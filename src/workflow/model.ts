/**
 * @file A base model ready for work: checkpoint, tokenizer, engine. In: a folder or hub id. Out: Model; the caller disposes it.
 */
import { existsSync } from "node:fs";
import { SoftpromptError } from "../base/errors.js";
import { type OptionValues, readOptions } from "../base/options.js";
import { packageFile } from "../base/package.js";
import { type Checkpoint, openCheckpoint } from "../model/checkpoint.js";
import { openEngine } from "../session/engine.js";
import type { Engine } from "../session/types.js";
import { loadTokenizer } from "../text/load.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { modelOptions } from "./options.js";

/** A frozen base model. */
export interface Model {
  readonly checkpoint: Checkpoint;
  readonly tokenizer: Tokenizer;
  readonly engine: Engine;
  /** Which execution provider the engine runs on. */
  readonly device: string;
  /** Frees sessions and their memory. Idempotent. */
  dispose(): Promise<void>;
}

const { model: _, ...openOptions } = modelOptions;
/** Everything but the name. */
export type OpenModelOptions = Partial<OptionValues<typeof openOptions>>;

/** The model that ships with the package, by name. */
export const bundledModel = "t5-nano";

/**
 * Opens a base model.
 *
 * @param name a Hugging Face T5 folder, a hub id, or "t5-nano" for the bundled model.
 * @throws SoftpromptError "checkpoint" (does not fit together), "network", "usage".
 */
export async function openModel(
  name: string,
  options: OpenModelOptions = {},
  say: (message: string) => void = () => {},
): Promise<Model> {
  const chosen = readOptions(openOptions, options, "openModel()");
  const { folder, label } = await modelFolder(name, chosen, say);
  const checkpoint = await openCheckpoint(folder, { name: label });
  for (const warning of checkpoint.warnings) say(warning);
  const tokenizer = await loadTokenizer(checkpoint.folder);
  const engine = openEngine(checkpoint, chosen);
  return { checkpoint, tokenizer, engine, device: chosen.device, dispose: () => engine.dispose() };
}

/** Where a model's files lie: a folder as given, the bundled model, or a hub's files in the local cache. */
export async function modelFolder(
  name: string,
  _options: Pick<OptionValues<typeof openOptions>, "revision" | "offline">,
  _say: (message: string) => void,
): Promise<{ folder: string; label: string }> {
  if (existsSync(name)) return { folder: name, label: name };
  if (name === bundledModel) return { folder: packageFile(`models/${bundledModel}`), label: bundledModel };
  throw new SoftpromptError("checkpoint", "there is no such model folder", {
    where: name,
    expected: `a folder, a hub id, or "${bundledModel}"`,
  });
}
