/**
 * @file A dataset and a tokenizer for the tiny fixtures (vocabulary 96): words are numbers, so nothing needs a file.
 */
import { random } from "../../src/base/random.js";
import type { Dataset, Row } from "../../src/data/row.js";
import type { Tokenizer } from "../../src/text/tokenizer.js";

/** "12 34" ↔ [12, 34]. */
export const tinyTokenizer: Tokenizer = {
  encode: (text) => text.split(/\s+/).filter(Boolean).map(Number),
  decode: (ids, { keepSpecial = false } = {}) => ids.filter((id) => keepSpecial || id > 2).join(" "),
  piece: (id) => String(id),
  openDecoder: () => {
    throw new Error("not a tokenizer that streams");
  },
  padId: 0,
  eosIds: [1],
  unkId: 2,
  frame: { before: [], after: [1] },
  controls: new Map(),
  size: 96,
  sha256: "0".repeat(64),
};

/** Rows of 2 to 9 words; the label is whether the first is even. */
export function tinyDataset(trainRows = 24, validationRows = 12): Dataset {
  const rng = random(11, "tiny");
  const row = (id: string): Row => {
    const words = Array.from({ length: 2 + rng.integer(8) }, () => 3 + rng.integer(93));
    const label = words[0]! % 2 === 0 ? "even" : "odd";
    const target = verbalizer[label];
    return { id, input: words.join(" "), target, label, references: [target] };
  };
  const rows = (split: string, count: number) => Array.from({ length: count }, (_, i) => row(`${split}:${i + 1}`));
  return {
    task: {
      name: "parity",
      template: "{words}",
      verbalizer,
      metrics: ["accuracy"],
      maxTargetTokens: 4,
      targetPrefix: "",
    },
    train: rows("train", trainRows),
    validation: rows("validation", validationRows),
    test: [],
    files: [],
    skipped: 0,
  };
}

const verbalizer = { even: "40 41", odd: "50" } as const;
