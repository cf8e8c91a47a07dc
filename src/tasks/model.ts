/**
 * @file A base model ready for work: checkpoint, tokenizer, engine. In: a folder or hub id. Out: Model; the caller disposes it.
 */
import { existsSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { basename } from "node:path";
import { bundledFolder, isBundled } from "../base/bundled.js";
import { SoftpromptError } from "../base/errors.js";
import { type OptionValues, optionsOf, readOptions } from "../base/options.js";
import type { Precision } from "../engine/precision.js";
import type { TextStore } from "../engine/text-store.js";
import type { Engine, EngineOptions } from "../engine/types.js";
import type { HubOptions, HubProgress, ResolvedModel } from "../hub/hub.js";
import type { Method } from "../method/method.js";
import type { BlockKind } from "../model/block-weights.js";
import { type Checkpoint, checkpointFolder } from "../model/checkpoint.js";
import type { EightBitProducts } from "../model/quantise.js";
import type { MakingOptions } from "../model/weight-cache.js";
import { byteText } from "../report/format.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { type CallContext, disposable, type EarlierContext, type NoticeEvent, oneObject, splitCall } from "./call.js";
import { modelOptions } from "./options.js";

/** A frozen base model. */
export interface Model {
  readonly checkpoint: Checkpoint;
  readonly tokenizer: Tokenizer;
  readonly engine: Engine;
  /** Which execution provider the engine runs on. */
  readonly device: string;
  /** Whether adapters are taken from the hub's cache alone. */
  readonly offline?: boolean | undefined;
  /** Frees sessions and their memory. Idempotent. */
  dispose(): Promise<void>;
}

/** The same model under another method; `close` frees what was opened for it, and nothing else. */
export async function withMethod(
  model: Model,
  method: Method,
): Promise<Pick<Model, "checkpoint" | "tokenizer" | "engine" | "device"> & { close(): Promise<void> }> {
  const { engine, checkpoint, tokenizer, device } = model;
  if (engine.method.key === method.key) return { checkpoint, tokenizer, engine, device, close: async () => {} };
  const { openEngine } = await import("../engine/engine.js");
  const other = openEngine(checkpoint, engine.options, method);
  return { checkpoint, tokenizer, engine: other, device, close: () => other.dispose() };
}

/** Engines that were opened for other methods on a model, by the model's own engine and the method's key; the model disposes them. */
const engines = new WeakMap<Engine, Map<string, Engine>>();

/** An engine of the model under this method, opened at its first use and freed with the model. */
export async function engineUnder(model: Pick<Model, "engine" | "checkpoint">, method: Method): Promise<Engine> {
  const { engine } = model;
  if (engine.method.key === method.key) return engine;
  const { openEngine } = await import("../engine/engine.js");
  const known = engines.get(engine) ?? new Map<string, Engine>();
  engines.set(engine, known);
  const found = known.get(method.key) ?? openEngine(model.checkpoint, engine.options, method);
  known.set(method.key, found);
  return found;
}

async function disposeAll(engine: Engine): Promise<void> {
  for (const other of engines.get(engine)?.values() ?? []) await other.dispose();
  await engine.dispose();
}

const { model: _model, ...withoutName } = modelOptions;
/** Option table of `openModel`: everything but the model's name. */
export const openOptions = optionsOf("openModel()", withoutName);

/** What takes its time while a model is opened: files come from a hub, a GGUF file is converted, or weights are made in another precision. */
export type ModelWork = "downloading" | "converting" | "making";

/** Events while a model is opened: harmless oddities, and the progress of its work. */
export type ModelEvent = NoticeEvent | ({ readonly kind: "progress"; readonly doing: ModelWork } & HubProgress);

/** Context of openModel. */
export interface ModelContext extends CallContext<ModelEvent> {
  /** Name of a folder in messages and records. Default its path as given. */
  readonly label?: string | undefined;
  /** When the memory for texts is full, the one that was unused longest makes room; for texts that do not come again in each epoch. Default false. */
  readonly evictTexts?: boolean | undefined;
}

/** One object for openModel: the options of the engine and the hub, and its context. */
export type OpenModelOptions = Partial<OptionValues<typeof openOptions>> & ModelContext;

/** A model that was opened: `await using` disposes it at the end of its scope. */
export type OpenModel = Model & AsyncDisposable;

/**
 * Opens a base model.
 *
 * `options` has the options of the engine and the hub, and beside them `onEvent` and `signal`.
 * @param name a folder as Hugging Face has it, a GGUF file, a hub id, or "t5-nano" or "t5-mini" for a bundled model.
 * @throws SoftpromptError "checkpoint" (inconsistent files), "network", "usage".
 */
export async function openModel(
  name: string,
  options: OpenModelOptions = {},
  earlier?: EarlierContext,
): Promise<OpenModel> {
  const { options: asked, context } = splitCall<ModelContext>(oneObject(options, earlier, "openModel"), [
    "onEvent",
    "signal",
    "label",
    "evictTexts",
  ]);
  if (typeof name !== "string" || name === "")
    throw new SoftpromptError("usage", "there is no model's name", {
      where: "openModel()",
      expected: "a bundled name, a folder or a hub id",
      got: name,
    });
  const given = readOptions(openOptions, asked, "openModel()");
  const chosen = { ...given, threads: threadsOf(given.threads) };
  // Loaded here, so that a caller that only reads options does not load the engine.
  const [{ openCheckpoint }, { openTokenizer, chatTokenizer }, { openEngine }] = await Promise.all([
    import("../model/checkpoint.js"),
    import("../model/tokenizer.js"),
    import("../engine/engine.js"),
  ]);
  const { folder, label, gguf } = await modelFolder(name, chosen, context);
  const stored = await openCheckpoint(folder, { name: label, gguf });
  for (const message of stored.warnings) context.onEvent?.({ kind: "notice", message });
  const { checkpoint, eightBit, blocks } = await inPrecision(stored, chosen, context);
  const plain = await openTokenizer(checkpoint);
  const tokenizer = chosen.chat ? await chatTokenizer(checkpoint, plain) : plain;
  const { textCache, textCacheMemory, textCacheDisk } = chosen;
  const { evictTexts: evict = false } = context;
  const kept =
    textCache === "off"
      ? null
      : { precision: textCache, memory: textCacheMemory * 2 ** 20, disk: textCacheDisk * 2 ** 20, evict };
  const engine = openEngine(checkpoint, { ...chosen, eightBit, blocks, textCache: kept }, undefined, textsLater);
  return disposable({
    checkpoint,
    tokenizer,
    engine,
    device: chosen.device,
    offline: chosen.offline,
    dispose: () => disposeAll(engine),
  });
}

/** The store of texts, loaded with the first text: most passes of most models have none that could be kept. */
function textsLater(checkpoint: Checkpoint, options: Required<EngineOptions>): TextStore | null {
  if (options.textCache === null) return null;
  let opened: Promise<TextStore> | undefined;
  let ready: TextStore | undefined;
  const store = () => {
    opened ??= import("../run/text-cache.js").then(({ openTexts }) => {
      ready = openTexts(checkpoint, options)!;
      return ready;
    });
    return opened;
  };
  return {
    precision: options.textCache.precision,
    get: async (partial, ids) => (await store()).get(partial, ids),
    put: async (partial, ids, values) => (await store()).put(partial, ids, values),
    has: async (partial, ids) => (await store()).has(partial, ids),
    full: () => ready?.full() ?? false,
    share: async () => (await store()).share(),
  };
}

/** How a model's linear layers are computed: as asked, or as `auto` chose. */
export function precisionOf({ engine }: Pick<Model, "engine">): Precision | BlockKind {
  const { blocks, eightBit } = engine.options;
  return blocks ?? (eightBit === null ? "float32" : "int8");
}

/** The checkpoint with its linear layers as asked for, and what the engine has to know of them. */
async function inPrecision(
  stored: Checkpoint,
  chosen: OptionValues<typeof openOptions>,
  context: ModelContext,
): Promise<Pick<Required<EngineOptions>, "eightBit" | "blocks"> & { readonly checkpoint: Checkpoint }> {
  const exact = { checkpoint: stored, eightBit: null, blocks: null };
  const { precision, device } = chosen;
  const say = (why: string) => context.onEvent?.({ kind: "notice", message: `precision auto: ${why}` });
  if (precision === "float32") return exact;
  if (device !== "cpu") {
    if (precision === "auto") {
      say("float32, because 8-bit layers run on the CPU only");
      return exact;
    }
    throw new SoftpromptError("usage", "layers in 8 or 4 bits run on the CPU only", {
      where: "precision",
      expected: "float32 or auto with this device, or device cpu",
      got: `${precision} on ${device}`,
    });
  }
  if (precision === "stored" || precision === "int4")
    return { checkpoint: await inBlocks(stored, precision, context), eightBit: null, blocks: precision };
  const [{ largestEightBit }, { choosePrecision, timeProducts }] = await Promise.all([
    import("../engine/eight-bit.js"),
    import("../engine/precision.js"),
  ]);
  /** True where auto takes 8 bits, and says so; @param told what is said besides */
  const isFaster = async (products: Partial<EightBitProducts> = {}, told = ""): Promise<boolean> => {
    const found = choosePrecision(await timeProducts(stored.config, { ...chosen, ...products }));
    if (products.terms !== 2 || found.precision === "float32") say(`${found.precision}, because ${told}${found.why}`);
    return found.precision === "int8";
  };
  if (precision === "auto" && !(await isFaster())) return exact;
  const eightBit = await largestEightBit(chosen);
  const checkpoint = await inEightBits(stored, eightBit, context);
  // how often inputs are rounded is known only now
  const { productsOf } = await import("../model/quantise.js");
  const products = productsOf(checkpoint.eightBit!.values(), eightBit);
  if (precision === "auto" && products.terms === 2 && !(await isFaster(products, "with inputs in two terms ")))
    return exact;
  return { checkpoint, eightBit, blocks: null };
}

/** The checkpoint with its linear layers in 8 bits. Reports the needed disk space before the work. */
async function inEightBits(checkpoint: Checkpoint, most: number, context: ModelContext): Promise<Checkpoint> {
  const [{ inEightBits: made }, { eightBitText }] = await Promise.all([
    import("../engine/eight-bit.js"),
    import("../model/eight-bit.js"),
  ]);
  const rounded = await made(checkpoint, { most, ...makingOnce("8-bit weights", context) });
  context.onEvent?.({ kind: "notice", message: eightBitText(rounded) });
  return rounded;
}

/** The checkpoint with its linear layers in blocks. Reports the needed disk space before the work. */
async function inBlocks(checkpoint: Checkpoint, kind: "stored" | "int4", context: ModelContext): Promise<Checkpoint> {
  const { withBlocks, blocksText } = await import("../model/block-weights.js");
  const kept = await withBlocks(checkpoint, { kind, ...makingOnce("weights in blocks", context) });
  context.onEvent?.({ kind: "notice", message: blocksText(kept) });
  return kept;
}

/** Tells the size before weights are made, and how far that is. */
function makingOnce(what: string, { onEvent = () => {}, signal }: ModelContext): MakingOptions {
  return {
    signal,
    onRemove: removing(onEvent),
    onProgress: ({ folder, done, total }) => {
      if (done === 0) onEvent({ kind: "notice", message: `${what} are made once: ${byteText(total)} in ${folder}` });
      onEvent({ kind: "progress", doing: "making", file: what, done, total });
    },
  };
}

/** Says what is removed from the cache before something new is made. */
function removing(onEvent: (event: NoticeEvent) => void): MakingOptions["onRemove"] {
  return ({ paths, bytes, limit }) =>
    onEvent({
      kind: "notice",
      message:
        `the cache may take ${byteText(limit)} (SOFTPROMPT_CACHE_LIMIT), so what was unused longest is removed from it: ` +
        `${byteText(bytes)}, ${paths.map((path) => basename(path).replaceAll(/([0-9a-f]{12})[0-9a-f]{52}/g, "$1")).join(", ")}`,
    });
}

/** With more threads than this per usable core, threads only wait for each other; with thousands the process dies. */
const threadsPerCore = 4;

/**
 * Threads inside one operator. ONNX Runtime's own choice (0) counts the machine's cores; where the process may use fewer (taskset, a
 * container) its threads would compete for the cores.
 * @throws SoftpromptError "usage" for more threads than the process can use.
 */
export function threadsOf(wanted: number, { mine = availableParallelism(), all = cpus().length } = {}): number {
  const most = threadsPerCore * mine;
  if (wanted > most)
    throw new SoftpromptError("usage", "so many threads cannot run here", {
      where: "--threads",
      expected: `at most ${most}: this process may use ${mine} core${mine === 1 ? "" : "s"}`,
      got: wanted,
      hint: "0 takes as many as are good",
    });
  return wanted === 0 && mine < all ? mine : wanted;
}

/** Where a model's files lie: a folder as given, a bundled model, a hub's files in the local cache, or what a GGUF file was converted to. */
export async function modelFolder(
  name: string,
  { revision, offline }: Pick<OptionValues<typeof openOptions>, "revision" | "offline">,
  { onEvent = () => {}, signal, label }: ModelContext = {},
): Promise<{ folder: string; label: string; gguf?: readonly string[] }> {
  const say = (message: string) => onEvent({ kind: "notice", message });
  const progress = (doing: ModelWork) => (at: HubProgress) => onEvent({ kind: "progress", doing, ...at });
  if (isBundled(name) && !existsSync(name)) return { folder: bundledFolder(name), label: name };
  const place = existsSync(name)
    ? { folder: name, name: label ?? name, warnings: [] }
    : await fromHub(name, { revision, offline, onProgress: progress("downloading"), signal });
  // a GGUF file is converted here, where progress can be reported
  const { folder, warnings, gguf } = await checkpointFolder(place.folder, {
    onProgress: (at) => {
      if (at.done === 0) say(`${at.file} is converted once: ${byteText(at.total)} in ${at.folder}`);
      progress("converting")(at);
    },
    onRemove: removing(onEvent),
    signal,
  });
  for (const warning of [...place.warnings, ...warnings]) say(warning);
  return { folder, label: place.name, ...(gguf === undefined ? {} : { gguf }) };
}

/** The hub's client takes a tenth of a second to load, so it is loaded only for hub models. */
async function fromHub(name: string, options: HubOptions): Promise<ResolvedModel> {
  const { resolveModel } = await import("../hub/hub.js");
  return resolveModel(name, options);
}
