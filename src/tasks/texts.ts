/**
 * @file Says how many texts a training with its prompt behind them will read, and how much room they take; and writes the text that such a
 * prompt starts from. In: Model, rows, options. Out: an event; a text.
 */
import type { Dataset, Row, Task } from "../data/row.js";
import { placeOf, readsBefore } from "../engine/place.js";
import { valuesPerToken } from "../engine/texts.js";
import type { PartialModel } from "../model/partial.js";
import { byteText } from "../report/format.js";
import { textsBefore } from "../text/batch.js";
import { encodeRows } from "../text/rows.js";
import { rowsRead } from "../train/job.js";
import { batchOrder } from "../train/order.js";
import type { Model } from "./model.js";
import type { TuneOptions } from "./options.js";

/** The options that decide which texts are read. */
type Read = Pick<TuneOptions, "batchSize" | "seed" | "maxInputTokens">;

/**
 * Says what the steps of a training's first stage will read, where texts stand before the virtual tokens and there is a store. The trainer
 * reads them, some steps ahead (train/ahead.ts).
 */
export function sayTexts(
  { engine, checkpoint, tokenizer }: Model,
  { task, train }: Pick<Dataset, "task" | "train">,
  options: Read,
  { steps, partial }: { readonly steps: number; readonly partial: PartialModel },
  observe: (event: { readonly kind: "work"; readonly what: string }) => void,
): void {
  const { config } = checkpoint;
  const store = engine.texts;
  if (store === null) return;
  const encoded = encodeRows(task, train as Row[], tokenizer, options.maxInputTokens);
  if (!readsBefore(placeOf(config, encoded))) return;
  const order = batchOrder(encoded, options.batchSize, options.seed);
  const needed = rowsRead(order, encoded.length, options.batchSize, [{ from: 0, to: steps }]);
  const texts = textsBefore([...needed].map((n) => encoded[n]!));
  const shared = texts.filter((text) => text.shared > 0);
  const beginnings = new Map(shared.map((text) => [text.ids.subarray(0, text.shared).join(), text.shared]));
  const own = texts.reduce((sum, text) => sum + text.ids.length - text.shared, 0);
  const begun = [...beginnings.values()].reduce((sum, tokens) => sum + tokens, 0);
  const width = store.precision === "float32" ? 4 : 2;
  const bytes = (own * width + begun * 4) * valuesPerToken(config, partial);
  const once = begun > 0 ? `; what many begin with (${begun} tokens) is read once for all` : "";
  observe({
    kind: "work",
    what: `reading ${texts.length} texts once: ${own + begun} tokens, ${byteText(bytes)} kept as ${store.precision}${once}`,
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
