/**
 * @file Prepares a training with prompts behind texts: reports the needed memory and time, and reads each text once. In: Model, rows,
 * options. Out: a full store.
 *
 * Otherwise the trainer would read each text at its first use. Reading them first makes it possible to report size and time in advance, and
 * step times then do not include reading.
 */
import type { Dataset, Row, Task } from "../data/row.js";
import { placeOf, readsBefore } from "../engine/place.js";
import { valuesPerToken } from "../engine/texts.js";
import type { PartialModel } from "../model/partial.js";
import { byteText } from "../report/format.js";
import { aroundPrompt } from "../text/batch.js";
import { encodeRows } from "../text/rows.js";
import { batchOrder } from "../train/order.js";
import type { Model } from "./model.js";
import type { TuneOptions } from "./options.js";

/** Events during the work; they are events of a tuning. */
type ReadingEvent =
  | { readonly kind: "work"; readonly what: string }
  | { readonly kind: "rows"; readonly done: number; readonly total: number; readonly what: "texts" };

/** The options that decide which texts are read. */
type Read = Pick<TuneOptions, "batchSize" | "seed" | "maxInputTokens">;

/**
 * Reads the texts that a training of so many steps will need, where they stand before the virtual tokens and there is a store.
 * After an abort the rest is left to the trainer, which then stops at once.
 */
export async function readTexts(
  { engine, checkpoint, tokenizer }: Model,
  { task, train }: Pick<Dataset, "task" | "train">,
  options: Read,
  { steps, partial }: { readonly steps: number; readonly partial: PartialModel },
  { observe, signal }: { readonly observe: (event: ReadingEvent) => void; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const { config } = checkpoint;
  const store = engine.texts;
  if (store === null) return;
  const encoded = encodeRows(task, train as Row[], tokenizer, options.maxInputTokens);
  if (!readsBefore(placeOf(config, encoded))) return;
  const order = batchOrder(encoded, options.batchSize, options.seed);
  const needed = new Set<number>();
  for (let step = 0; step < steps && needed.size < encoded.length; step++) for (const n of order(step)) needed.add(n);
  const texts = new Map<string, { readonly ids: Int32Array; readonly shared: number }>();
  const beginnings = new Map<string, number>();
  for (const n of needed) {
    const { before: ids } = aroundPrompt(encoded[n]!);
    const shared = Math.min(encoded[n]!.shared ?? 0, ids.length);
    if (ids.length > 0) texts.set(ids.join(), { ids, shared });
    if (shared > 0) beginnings.set(ids.subarray(0, shared).join(), shared);
  }
  const sum = (numbers: Iterable<number>) => [...numbers].reduce((all, n) => all + n, 0);
  const [own, begun] = [
    sum([...texts.values()].map(({ ids, shared }) => ids.length - shared)),
    sum(beginnings.values()),
  ];
  const tokens = own + begun;
  const width = store.precision === "float32" ? 4 : 2;
  const bytes = (own * width + begun * 4) * valuesPerToken(config, partial);
  observe({
    kind: "work",
    what: `reading ${texts.size} texts once: ${tokens} tokens, ${byteText(bytes)} kept as ${store.precision}${begun > 0 ? `; what many begin with (${begun} tokens) is read once for all` : ""}`,
  });
  let [done, read] = [0, 0];
  let first = { read: 0, at: 0 };
  const tell = () => observe({ kind: "rows", done, total: texts.size, what: "texts" });
  tell();
  let estimated = false;
  await engine.readTexts([...texts.values()], partial, {
    signal,
    onKept: (some) => {
      const begins = done === 0;
      done += some.length;
      read += sum(some.map(({ ids, shared }) => ids.length - shared));
      tell();
      // the first texts open the session, and read what many begin with
      if (begins) first = { read, at: performance.now() };
      if (begins || estimated) return;
      estimated = true;
      const seconds = ((performance.now() - first.at) / 1000 / (read - first.read)) * (own - read);
      if (seconds > 5) observe({ kind: "work", what: `the texts will be read in about ${Math.ceil(seconds)} s` });
    },
  });
}

/**
 * A text that continues the task's own, as the start of a prompt behind it: a question, which lists the labels if there are few, and
 * "Answer:" if nothing of the template follows the marker.
 */
export function continuation({ template, verbalizer }: Pick<Task, "template" | "verbalizer">, marker: string): string {
  const words = Object.values(verbalizer ?? {});
  const listed = words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
  const asked = words.length > 0 && words.length <= 12 ? `\nIs it ${listed}?` : "\nWhat is the answer?";
  return template.endsWith(marker) ? `${asked}\nAnswer:` : asked;
}
