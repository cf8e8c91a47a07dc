/** @file A model in 8 bits as exports have it, by the product's own engine: what exported models are held against. */
import { openEngine } from "../../src/engine/engine.js";
import { blockLayers, withEightBit } from "../../src/model/eight-bit.js";
import type { OpenModel } from "../../src/tasks/model.js";

/** The model in 8 bits by our own engine, with weights of 7 bits and without smoothing, as an export has them. */
export async function inEightBits(model: OpenModel, cache: string): Promise<OpenModel> {
  const transposed = new Set(blockLayers(model.checkpoint.config).flatMap((t) => (t.transposed ? [t.name] : [])));
  const checkpoint = await withEightBit(model.checkpoint, {
    most: 64,
    cache,
    // inputs that are as uneven as their weights need no smoothing
    inputs: (names) =>
      Promise.all(
        names.map(async (name) => {
          const { shape, data } = await model.checkpoint.read(name);
          const [rows, columns] = shape as [number, number];
          const largest = new Float32Array(transposed.has(name) ? rows : columns);
          for (const [i, v] of data.entries()) {
            const at = transposed.has(name) ? Math.floor(i / columns) : i % columns;
            largest[at] = Math.max(largest[at]!, Math.abs(v));
          }
          return { names: [name], largest };
        }),
      ),
  });
  return { ...model, checkpoint, engine: openEngine(checkpoint, { ...model.engine.options, eightBit: 64 }) };
}
