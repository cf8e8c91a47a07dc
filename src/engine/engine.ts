/**
 * @file The engine as the rest of the project sees it: programs over one frozen checkpoint.
 *
 * In: a Checkpoint, a PartialModel. Out: programs that take float32 prompts and integer batches and give numbers back.
 * A program owns an ONNX Runtime session; the caller that opened the engine disposes it, which disposes every program.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Method } from "../method/method.js";
import { promptTuning } from "../method/prompt.js";
import { bindWeights } from "../model/bindings.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { fullModel, type PartialModel } from "../model/partial.js";
import { devices } from "../runtime/runtime.js";
import { disposeAll } from "./at-need.js";
import type { Place } from "./graphs.js";
import { places, worksAt } from "./place.js";
import { type Owned, programs } from "./programs.js";
import type { TextStore } from "./text-store.js";
import { openTextReader, type TextReader } from "./texts.js";
import type { Engine, EngineOptions, ProgramKinds } from "./types.js";

export type * from "./types.js";

/**
 * Opens an engine; nothing is read until a program is asked for. The caller disposes it.
 * @param openTexts opens the store of texts, if the options ask for one (run/text-cache.ts; this room does not access the disk). Default
 * none.
 */
export function openEngine(
  checkpoint: Checkpoint,
  given: EngineOptions = {},
  method: Method = promptTuning,
  openTexts: (checkpoint: Checkpoint, options: Required<EngineOptions>) => TextStore | null = () => null,
): Engine {
  const { threads = 0, lowMemory = false, device = "cpu", plainOps = false } = given;
  const { eightBit = null, blocks = null, textCache = null, profile = null } = given;
  const options = { threads, lowMemory, device, plainOps, eightBit, blocks, textCache, profile };
  if (!Object.hasOwn(devices, device))
    throw new SoftpromptError("usage", "there is no such device", {
      where: "openEngine(), device",
      expected: Object.keys(devices).join(", "),
      got: String(device),
    });
  if (!Number.isInteger(threads) || threads < 0)
    throw new SoftpromptError("usage", "this is no number of threads", {
      where: "openEngine(), threads",
      expected: "a whole number; 0 lets ONNX Runtime choose",
      got: String(threads),
    });
  if (eightBit !== null && checkpoint.eightBit === undefined)
    throw new SoftpromptError("engine", "the checkpoint has no 8-bit weights", {
      where: checkpoint.name,
      expected: "a checkpoint of withEightBit()",
    });
  if (blocks !== null && checkpoint.blocks === undefined)
    throw new SoftpromptError("engine", "the checkpoint has no weights in blocks", {
      where: checkpoint.name,
      expected: "a checkpoint of withBlocks()",
    });
  const store = openTexts(checkpoint, options);
  // A promise per (kind, partial): two callers at once share one session.
  const opened = new Map<string, Map<string, Promise<Owned<unknown>>>>();
  const readers = new Map<string, TextReader>();
  let ending: Promise<void> | null = null;

  const sourceOf = (partial: PartialModel) => ({
    config: checkpoint.config,
    weights: bindWeights(checkpoint, partial, { inEightBits: eightBit !== null, inBlocks: blocks !== null }),
    partial,
    method,
  });
  function readerOf(partial: PartialModel): TextReader {
    const reader = readers.get(partial.name) ?? openTextReader(sourceOf(partial), options, store);
    readers.set(partial.name, reader);
    return reader;
  }

  function refuseDisposed(): void {
    if (ending === null) return;
    throw new SoftpromptError("engine", "the engine was disposed", {
      where: checkpoint.name,
      hint: "dispose a model or engine when all of its work has ended; open it again to go on",
    });
  }

  async function open<K extends keyof ProgramKinds>(
    kind: K,
    partial: PartialModel,
    place: Place,
  ): Promise<ProgramKinds[K]> {
    refuseDisposed();
    if (!worksAt(method, place))
      throw new SoftpromptError("engine", `${method.name} does not work with virtual tokens at this place`, {
        where: "place of the virtual tokens",
        expected: "the virtual tokens before the text",
        got: place,
      });
    const kinds = opened.get(partial.name) ?? new Map<string, Promise<Owned<unknown>>>();
    opened.set(partial.name, kinds);
    const key = `${kind} ${place}`;
    let program = kinds.get(key);
    if (!program) {
      program = programs[kind]({ ...sourceOf(partial), place, texts: readerOf(partial) }, options);
      kinds.set(key, program);
      program.catch(() => kinds.delete(key));
    }
    return (await program) as Owned<ProgramKinds[K]>;
  }

  async function close(name: string): Promise<void> {
    const [kinds, texts] = [opened.get(name), readers.get(name)];
    opened.delete(name);
    readers.delete(name);
    await disposeAll([...(kinds?.values() ?? []), ...(texts ? [texts] : [])]);
  }

  async function closeKind(kind: keyof ProgramKinds): Promise<void> {
    const closed: Promise<Owned<unknown>>[] = [];
    for (const kinds of opened.values())
      for (const place of places) {
        const program = kinds.get(`${kind} ${place}`);
        if (kinds.delete(`${kind} ${place}`)) closed.push(program!);
      }
    await disposeAll(closed);
  }

  const full = fullModel(checkpoint.config);
  return {
    checkpoint,
    method,
    options,
    train: (partial = full, place = "start") => open("train", partial, place),
    score: (partial = full, place = "start") => open("score", partial, place),
    generate: (partial = full, place = "start") => open("generate", partial, place),
    activations: (place = "start") => open("activations", full, place),
    forward: (partial = full, place = "start") => open("forward", partial, place),
    left: () => open("left", full, "start"),
    layers: () => open("layers", full, "start"),
    close: closeKind,
    texts: store,
    async readTexts(texts, partial = full, how = {}) {
      refuseDisposed();
      await readerOf(partial).keep(texts, how);
    },
    release: (partial) => close(partial.name),
    dispose() {
      ending ??= disposeAll(
        [...new Set([...opened.keys(), ...readers.keys()])].map((name) => ({ dispose: () => close(name) })),
      );
      return ending;
    },
  };
}
