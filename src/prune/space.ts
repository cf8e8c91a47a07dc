/**
 * @file Determines before a search starts: the counts to try, the step to rewind to, and the rows that are held out.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Tensor } from "../base/tensor.js";
import type { Row } from "../data/row.js";
import { holdout } from "../data/split.js";
import { fullMask, pieceOfDimension } from "../method/mask.js";
import type { Schedule } from "../train/stage.js";
import type { PruneOptions } from "./options.js";

const tenths = [1, 2, 3, 4, 5, 6, 7, 8, 9];

/** ⌊n·r⌋ for r = 0.1 … 0.9, each once, without 0. Integer arithmetic: ⌊20·0.3⌋ must not become 5. */
export function paperCounts(n: number): number[] {
  return [...new Set(tenths.map((tenth) => Math.floor((n * tenth) / 10)))].filter((count) => count > 0);
}

/** The counts to try at each level; an empty list switches the level off. @throws SoftpromptError "usage". */
export function pruneCounts(
  options: Pick<PruneOptions, "level" | "pieces" | "layout" | "tokensPruned" | "piecesPruned">,
  tokens: number,
  width: number,
): { tokens: number[]; pieces: number[] } {
  pieceOfDimension(fullMask(1, options.pieces, options.layout), width);
  const counts = (name: "tokensPruned" | "piecesPruned", on: boolean, n: number, what: string): number[] => {
    if (!on) return [];
    const wanted = options[name] ?? paperCounts(n);
    const bad = wanted.find((count) => count >= n);
    if (bad !== undefined)
      throw new SoftpromptError("usage", "nothing would survive this pruning", {
        where: name,
        expected: `counts from 1 to ${n - 1} of ${n} ${what}`,
        got: bad,
      });
    return [...new Set(wanted)].filter((count) => count > 0).sort((a, b) => a - b);
  };
  const found = {
    tokens: counts("tokensPruned", options.level !== "pieces", tokens, "tokens"),
    pieces: counts("piecesPruned", options.level !== "tokens", options.pieces, "pieces"),
  };
  if (found.tokens.length + found.pieces.length === 0)
    throw new SoftpromptError("usage", "there is nothing to try", {
      where: "pruning",
      expected: "at least one count above 0 for tokens or pieces",
      got: `${tokens} tokens, ${options.pieces} pieces, level ${options.level}`,
    });
  return found;
}

interface Rewindable {
  readonly init: Tensor;
  readonly prompt: Tensor;
  readonly kept: ReadonlyMap<number, Tensor>;
}

/** The values to which survivors are rewound. `keep` lists the steps that stage A must keep for it. @throws SoftpromptError "usage". */
export function rewindTarget(
  text: string,
  schedule: Schedule,
): { keep: readonly number[]; values: (tuned: Rewindable) => Tensor } {
  if (text === "tuned") return { keep: [], values: (tuned) => tuned.prompt };
  if (text === "init") return { keep: [], values: (tuned) => tuned.init };
  const step = /^step:(\d{1,9})$/.exec(text)?.[1];
  const steps = schedule.stages.reduce((sum, stage) => sum + stage.steps, 0);
  if (step === undefined || Number(step) > steps)
    throw new SoftpromptError("usage", "there is no such point to rewind to", {
      where: "rewindTo",
      expected: `tuned, init or step:N with N up to ${steps}`,
      got: text,
    });
  return {
    keep: [Number(step)],
    values: (tuned) => {
      const prompt = tuned.kept.get(Number(step));
      if (prompt) return prompt;
      throw new SoftpromptError("run", "the prompt of that step was not kept", {
        where: "rewindTo",
        expected: `a prompt after step ${step}`,
        got: "training stopped before it, or did not keep it",
        hint: "start in another folder with an earlier step, or --rewind-to tuned",
      });
    },
  };
}

/**
 * Splits off a share of the rows, at least one and never all, by the seed; nothing where the share is 0. Labels keep their shares, and
 * groups stay together.
 */
export function holdOut(
  rows: readonly Row[],
  share: number,
  seed: number,
): { train: readonly Row[]; held: readonly Row[] } {
  if (share === 0) return { train: rows, held: [] };
  const groups = new Set(rows.map((row) => row.group ?? row.id)).size;
  const count = Math.round(share * groups);
  if (count < 1 || count >= groups)
    throw new SoftpromptError("usage", "too few rows to hold some out", {
      where: "holdout",
      expected: "a share that leaves rows on both sides",
      got: `${share} of ${groups}`,
    });
  const { kept, held } = holdout(rows, { fraction: share, seed });
  return { train: kept, held };
}
