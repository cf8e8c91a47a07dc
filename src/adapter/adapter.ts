/**
 * @file Saving and loading adapters, and refusing those that belong to another base model.
 *
 * In: an Adapter, a folder. Out: PEFT's three files and softprompt.json beside them; or the Adapter back, every value finite.
 * It reads PEFT's own adapters (no softprompt.json), ours, compact ones (softprompt.json alone), and prompts as `.npy`. It never reads
 * pickles.
 */
import { existsSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { nearest, SoftpromptError } from "../base/errors.js";
import { removeFile, writeFileAtomic } from "../base/files.js";
import { hubName } from "../base/hub-name.js";
import { shapeText, type Tensor } from "../base/tensor.js";
import { compileTemplate, wantedTokens } from "../data/template.js";
import { applyMask } from "../method/mask.js";
import { architectureOf } from "../model/architectures.js";
import type { Checkpoint } from "../model/checkpoint.js";
import type { Tokenizer } from "../text/tokenizer.js";
import {
  appliedBytes,
  appliedFile,
  checkParameters,
  livingParameters,
  readParameters,
  runnable,
  writeParameters,
} from "./applied.js";
import { adapterCard } from "./card.js";
import { extrasFile, extrasLimits, extrasText, readExtras } from "./extras.js";
import { readAdapterFile } from "./files.js";
import { checkAdapterValue } from "./given.js";
import { npyPrompt } from "./npy.js";
import {
  peftConfig,
  peftFiles,
  peftJson,
  peftLimits,
  peftWeights,
  readPeftConfig,
  readPeftWeights,
  taskTypeOf,
} from "./peft.js";
import { isPeftApplied, peftApplied, readPeftApplied } from "./peft-methods.js";
import type { Adapter, AdapterBase, Applied } from "./types.js";

/**
 * Which files are written: `both` forms, PEFT's alone, or softprompt.json alone (needs a mask). A prompt whose task puts it elsewhere than
 * before the text is written as softprompt.json (and a card) alone: PEFT's files cannot say where it stands, and PEFT would put it in front.
 */
export type AdapterForm = "both" | "peft" | "compact";

/** What an adapter records of its base. */
export async function adapterBase(checkpoint: Checkpoint): Promise<AdapterBase> {
  const { config, name } = checkpoint;
  const shape = architectureOf(config).peftShape(config);
  const hub = hubName(name);
  return {
    name: hub?.id ?? name,
    revision: hub?.revision ?? null,
    sha256: await checkpoint.sha256(),
    family: config.family,
    width: config.width,
    layers: shape.layers,
    heads: shape.heads,
  };
}

/**
 * Writes the adapter; each file is whole or absent, the config last, so that a folder with a config is complete.
 * Pruned entries are written as zero. An adapter that lies there is replaced. @returns bytes written.
 * @throws SoftpromptError "usage" for a form that this adapter has not, and where the folder has a README of something else
 */
export function saveAdapter(folder: string, adapter: Adapter, form: AdapterForm = "both"): number {
  checkAdapterValue(adapter, "saveAdapter()");
  if (adapter.applied) return saveApplied(folder, adapter, adapter.applied, form);
  const prompt = adapter.mask ? applyMask(adapter.prompt, adapter.mask) : adapter.prompt;
  checkPrompt(prompt, folder);
  const placed = adapter.task !== null && compileTemplate(adapter.task.template).marked;
  if (placed && form === "peft")
    throw new SoftpromptError("usage", "PEFT's files cannot say where this prompt stands", {
      where: folder,
      expected: "a prompt that stands before the text",
      got: adapter.task.template,
      hint: "PEFT puts every prompt before the text, where this one was not trained; save softprompt.json instead",
    });
  if (placed) form = "compact";
  else if (form === "compact" && !adapter.mask)
    throw new SoftpromptError("usage", "only a pruned prompt has a compact form", {
      where: folder,
      hint: "save both forms instead",
    });
  const whole = { ...adapter, prompt };
  const files: [string, string | Uint8Array][] = [];
  if (form !== "peft") files.push([extrasFile, extrasText(whole, form === "compact")]);
  if (placed)
    files.push([
      peftFiles.card,
      adapterCard(whole, "it puts every prompt before the text, and this one stands where its template says"),
    ]);
  else if (form !== "compact")
    files.push(
      [peftFiles.weights, peftWeights(prompt)],
      [peftFiles.card, adapterCard(whole, null)],
      [peftFiles.config, `${JSON.stringify(peftConfig(prompt, adapter.base, adapter.kept.config), null, 2)}\n`],
    );
  return writeFiles(folder, files);
}

/** LoRA and prefixes in PEFT's form where it has one, else the parameters in ours. */
function saveApplied(folder: string, whole: Adapter, given: Applied, form: AdapterForm): number {
  const applied = { ...given, parameters: livingParameters(given, whole.mask, folder) };
  const adapter = { ...whole, applied };
  checkParameters(applied.parameters, folder);
  const peft = peftApplied(applied, adapter.base, adapter.kept.config);
  if (form === "compact" || (form === "peft" && typeof peft === "string"))
    throw new SoftpromptError("usage", `an adapter of method ${applied.method} has no such form`, {
      where: folder,
      expected: form === "compact" ? "a prompt" : "a method that PEFT has",
      got: typeof peft === "string" ? peft : undefined,
      hint: "save both forms instead",
    });
  const files: [string, string | Uint8Array][] = form === "peft" ? [] : [[extrasFile, extrasText(adapter, false)]];
  if (typeof peft === "string")
    files.push([appliedFile, writeParameters(applied.parameters)], [peftFiles.card, adapterCard(adapter, peft)]);
  else
    files.push(
      [peftFiles.weights, peft.weights],
      [peftFiles.card, adapterCard(adapter, null)],
      [peftFiles.config, `${JSON.stringify(peft.config, null, 2)}\n`],
    );
  return writeFiles(folder, files);
}

function writeFiles(folder: string, files: readonly [string, string | Uint8Array][]): number {
  refuseOthers(folder);
  // files of the other form would describe another adapter
  const stale = [extrasFile, appliedFile, ...Object.values(peftFiles)].filter(
    (name) => name !== peftFiles.pickle && !files.some(([written]) => written === name),
  );
  // the card first: were it left alone by a kill, the next save would take it for something else's
  for (const name of [peftFiles.card, ...stale]) removeFile(join(folder, name));
  let bytes = 0;
  for (const [name, content] of files) {
    writeFileAtomic(join(folder, name), content);
    bytes += typeof content === "string" ? Buffer.byteLength(content) : content.length;
  }
  return bytes;
}

/** An adapter may replace an adapter. A README of anything else, a project's own, is not ours to replace. @throws SoftpromptError "usage" */
function refuseOthers(folder: string): void {
  const there = (name: string) => existsSync(join(folder, name));
  const { card, config, weights } = peftFiles;
  if (!there(card) || [extrasFile, appliedFile, config, weights].some(there)) return;
  throw new SoftpromptError("usage", "this folder holds something else", {
    where: join(folder, card),
    expected: "a folder of its own for the adapter, new or with an adapter",
    hint: `an adapter brings a ${card}, which would replace this one; give another folder`,
  });
}

/**
 * Reads an adapter. @param place its folder, or the run folder that it lies in; or a prompt alone as `.npy`.
 * @throws SoftpromptError "adapter" naming the file and what is wrong with it.
 */
export function loadAdapter(place: string): Adapter {
  if (/\.npy$/i.test(place) && !hasAdapter(place)) return loadNpy(place);
  const folder = adapterIn(place);
  const config = readAdapterFile(folder, peftFiles.config, peftLimits.configBytes);
  const extras = readAdapterFile(folder, extrasFile, extrasLimits.bytes);
  const weights = config && readAdapterFile(folder, peftFiles.weights, peftLimits.weightsBytes);
  if (config && !weights) throw missingWeights(folder);
  const own = config === null && extras !== null ? readAdapterFile(folder, appliedFile, appliedBytes) : null;
  return parseAdapter({ config, weights, extras, own }, folder);
}

/** A prompt without metadata. The user must know its base model; only its width is checked. */
function loadNpy(path: string): Adapter {
  const bytes = readAdapterFile(dirname(path), basename(path), npyBytes);
  if (bytes === null)
    throw new SoftpromptError("adapter", "there is no such file", {
      where: path,
      expected: "a prompt [tokens, width] as .npy",
    });
  const prompt = npyPrompt(bytes, path);
  checkPrompt(prompt, path);
  const unknown = { revision: null, sha256: null, family: null, layers: null, heads: null } as const;
  const nothing = { tokenizer: null, task: null, training: null, scores: null } as const;
  const base = { name: "", width: prompt.shape[1]!, ...unknown };
  return { prompt, mask: null, base, ...nothing, kept: { config: {}, extras: {} } };
}

/** 16,384 tokens of T5-XXL. */
const npyBytes = 1 << 28;

const hasAdapter = (folder: string) => [peftFiles.config, extrasFile].some((name) => existsSync(join(folder, name)));

/** Where the adapter of a folder may lie: in itself, or, in a run's or a search's, below it. */
export const adapterFolders = (place: string): readonly string[] => [place, join(place, "adapter")];

/** Whether loadAdapter finds an adapter in a place; nothing of it is read. */
export function isAdapter(place: string): boolean {
  return adapterFolders(place).some(hasAdapter) || (/\.npy$/i.test(place) && existsSync(place));
}

/** The adapter's own folder where a run's is given. */
function adapterIn(place: string): string {
  const found = adapterFolders(place).find(hasAdapter);
  if (found !== undefined) return found;
  if (existsSync(place)) return place; // reading it reports what is missing
  throw new SoftpromptError("adapter", "there is no such adapter", {
    where: place,
    expected: `a folder with ${peftFiles.config} or ${extrasFile}, or a run folder`,
    got: "no such folder",
    hint: nearby(place),
  });
}

/** Adapters and runs in the same folder as a name that is not an adapter, for the hint. */
function nearby(place: string): string | undefined {
  try {
    const above = dirname(place);
    const found = readdirSync(above).filter((name) => adapterFolders(join(above, name)).some(hasAdapter));
    const near = nearest(basename(place), found);
    if (near !== undefined) return `did you mean ${join(above, near)}?`;
    return found.length === 0 ? undefined : `there are ${found.slice(0, 5).join(", ")} in ${above}`;
  } catch {
    return undefined;
  }
}

/** The files of an adapter; null where there is none. */
export interface AdapterFiles {
  readonly config: Uint8Array | null;
  readonly weights: Uint8Array | null;
  readonly extras: Uint8Array | null;
  /** Parameters in our own form. Default none. */
  readonly own?: Uint8Array | null;
}

/** An adapter from the bytes of its files. @param folder names the place in errors. */
export function parseAdapter(files: AdapterFiles, folder: string): Adapter {
  const at = (name: string) => join(folder, name);
  const nothing = { tokenizer: null, task: null, training: null, scores: null } as const;
  const raw = files.config && peftJson(files.config, at(peftFiles.config));
  if (isPeftApplied(raw) && files.weights) {
    const places = { config: at(peftFiles.config), weights: at(peftFiles.weights) };
    const { applied, base } = readPeftApplied(raw, files.weights, places);
    checkParameters(applied.parameters, places.weights);
    if (!files.extras) {
      const none: Tensor = { shape: [0, 0], data: new Float32Array(0) };
      return { prompt: none, mask: null, applied, base, ...nothing, kept: { config: raw, extras: {} } };
    }
    const { extras, ...adapter } = readExtras(files.extras, null, at(extrasFile), applied.parameters);
    return { ...adapter, kept: { config: raw, extras } };
  }
  if (files.extras && files.own) {
    const parameters = readParameters(files.own, at(appliedFile));
    checkParameters(parameters, at(appliedFile));
    const { extras, ...adapter } = readExtras(files.extras, null, at(extrasFile), parameters);
    return { ...adapter, kept: { config: {}, extras } };
  }
  const config = files.config && readPeftConfig(files.config, at(peftFiles.config));
  const dense = config && files.weights && readPeftWeights(files.weights, config, at(peftFiles.weights));
  if (dense) checkPrompt(dense, at(peftFiles.weights));
  if (files.extras) {
    const { extras, ...adapter } = readExtras(files.extras, dense, at(extrasFile));
    checkPrompt(adapter.prompt, at(extrasFile));
    const wanted = adapter.task && wantedTokens(adapter.task.template, adapter.prompt.shape[0]!);
    if (wanted !== null)
      throw new SoftpromptError("adapter", "the parts of the prompt and its length do not agree", {
        where: at(extrasFile),
        expected: `${wanted} virtual tokens, as the template says`,
        got: adapter.prompt.shape[0],
      });
    return { ...adapter, kept: { config: config?.raw ?? {}, extras } };
  }
  if (config && dense)
    return {
      prompt: dense,
      mask: null,
      base: config.base,
      ...nothing,
      kept: { config: config.raw, extras: {} },
    };
  throw new SoftpromptError("adapter", "this is not an adapter", {
    where: folder,
    expected: `a folder with ${peftFiles.config} or ${extrasFile}, or a run folder with one in adapter`,
  });
}

/** How strictly the base model is checked. */
export interface BaseCheck {
  /** Accept weights or a tokenizer that differ from the recorded ones. The width must still fit. Default false. */
  readonly anyBase?: boolean;
  readonly tokenizer?: Tokenizer;
  /** The flag that sets `anyBase`, for the hint. Default "--any-base". */
  readonly flag?: string;
}

/** Refuses an adapter that was tuned on another base model: by width, by layers and heads, by the weights' sha256, by tokenizer. */
export async function checkBase(adapter: Adapter, checkpoint: Checkpoint, check: BaseCheck = {}): Promise<void> {
  checkAdapterValue(adapter, "checkBase()");
  const { base, prompt } = adapter;
  const { config } = checkpoint;
  const where = `adapter for ${base.name || "an unnamed base model"}`;
  if (adapter.applied) runnable(adapter, config);
  else if (prompt.shape[1] !== config.width)
    throw new SoftpromptError("adapter", "the prompt and the base model differ in width", {
      where,
      expected: shapeText("float32", ["tokens", config.width]).concat(` for ${checkpoint.name}`),
      got: shapeText("float32", prompt.shape),
      hint: "load the base model that the prompt was tuned on",
    });
  if (check.anyBase) return;
  const differ = (what: string, expected: unknown, got: unknown) =>
    new SoftpromptError("adapter", `this prompt was tuned on another base model: ${what} differs`, {
      where,
      expected: `${expected} (recorded in the adapter)`,
      got: `${got} (${checkpoint.name})`,
      hint: `load that base model; to use the prompt on this one all the same, give ${check.flag ?? "--any-base"}`,
    });
  const architecture = architectureOf(config);
  if (base.family !== null && base.family !== config.family) throw differ("the family", base.family, config.family);
  const kind = taskTypeOf(base, adapter.kept.config);
  if (kind !== undefined && kind !== architecture.taskType)
    throw differ("the kind of model", kind, architecture.taskType);
  const shape = architecture.peftShape(config);
  if (base.layers !== null && base.layers !== shape.layers)
    throw differ("the number of layers", base.layers, shape.layers);
  if (base.heads !== null && base.heads !== shape.heads) throw differ("the number of heads", base.heads, shape.heads);
  if (adapter.tokenizer !== null && check.tokenizer && adapter.tokenizer !== check.tokenizer.sha256)
    throw differ("the tokenizer's sha256", adapter.tokenizer, check.tokenizer.sha256);
  if (base.sha256 !== null) {
    const actual = await checkpoint.sha256();
    if (actual !== base.sha256) throw differ("the sha256 of the weights", base.sha256, actual);
  }
}

function checkPrompt(prompt: Tensor, where: string): void {
  const at = prompt.data.findIndex((value) => !Number.isFinite(value));
  if (at < 0) return;
  const width = prompt.shape[1]!;
  throw new SoftpromptError("adapter", "the prompt holds a value that is not a finite number", {
    where: `${where}: token ${Math.floor(at / width)}, dimension ${at % width}`,
    expected: "finite numbers",
    got: prompt.data[at],
  });
}

/** @param pickle whether there is a pickle in their place. */
export function missingWeights(folder: string, pickle = isPresent(folder, peftFiles.pickle)): SoftpromptError {
  return new SoftpromptError("adapter", "the prompt's values are missing", {
    where: folder,
    expected: peftFiles.weights,
    got: pickle ? `${peftFiles.pickle}, a pickle, which can run code and is never opened` : "no such file",
    hint: pickle
      ? "where you trust it, in Python: PeftModel.from_pretrained(base, folder).save_pretrained(folder) writes adapter_model.safetensors"
      : undefined,
  });
}

function isPresent(folder: string, name: string): boolean {
  try {
    // only existence matters; a limit of 0 bytes refuses any file before it is read
    return readAdapterFile(folder, name, 0) !== null;
  } catch {
    return true;
  }
}
