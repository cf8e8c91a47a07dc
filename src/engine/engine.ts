/**
 * @file The engine as the rest of the house sees it: programs over one frozen checkpoint.
 *
 * In: a Checkpoint, a PartialModel. Out: programs that take float32 prompts and integer batches and give numbers back.
 * A program owns an ONNX Runtime session; whoever opened the engine disposes it, and with it every program.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Method } from "../method/method.js";
import { promptTuning } from "../method/prompt.js";
import { bindWeights } from "../model/bindings.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { fullModel, type PartialModel } from "../model/partial.js";
import { type Owned, programs } from "./programs.js";
import type { Engine, EngineOptions, ProgramKinds } from "./types.js";

export type * from "./types.js";

/** Opens an engine; nothing is read until a program is asked for. The caller disposes it. */
export function openEngine(checkpoint: Checkpoint, given: EngineOptions = {}, method: Method = promptTuning): Engine {
  const { threads = 0, lowMemory = false, device = "cpu", plainOps = false } = given;
  const options = { threads, lowMemory, device, plainOps };
  // A promise per (kind, partial): two callers at once share one session.
  const opened = new Map<string, Map<keyof ProgramKinds, Promise<Owned<unknown>>>>();
  let disposed = false;

  async function open<K extends keyof ProgramKinds>(kind: K, partial: PartialModel): Promise<ProgramKinds[K]> {
    if (disposed)
      throw new SoftpromptError("engine", "the engine was disposed", {
        where: checkpoint.name,
        hint: "open a new one",
      });
    const kinds = opened.get(partial.name) ?? new Map<keyof ProgramKinds, Promise<Owned<unknown>>>();
    opened.set(partial.name, kinds);
    let program = kinds.get(kind);
    if (!program) {
      const source = { config: checkpoint.config, weights: bindWeights(checkpoint, partial), partial, method };
      program = programs[kind](source, options);
      kinds.set(kind, program);
      program.catch(() => kinds.delete(kind));
    }
    return (await program) as Owned<ProgramKinds[K]>;
  }

  async function close(name: string): Promise<void> {
    const kinds = opened.get(name);
    opened.delete(name);
    for (const program of kinds?.values() ?? [])
      await program.then(
        (p) => p.dispose(),
        () => undefined,
      );
  }

  const full = fullModel(checkpoint.config);
  return {
    checkpoint,
    method,
    options,
    train: (partial = full) => open("train", partial),
    score: (partial = full) => open("score", partial),
    generate: (partial = full) => open("generate", partial),
    activations: () => open("activations", full),
    forward: (partial = full) => open("forward", partial),
    release: (partial) => close(partial.name),
    async dispose() {
      disposed = true;
      for (const name of [...opened.keys()]) await close(name);
    },
  };
}
