/**
 * @file Rows of an oracle of the small T5 checkpoints. In: oracle.json. Out: encoded rows, whose target is their only choice.
 */
import type { EncodedRow } from "../../src/text/batch.js";

export interface OracleRows {
  readonly inputIds: number[][];
  readonly inputMask: number[][];
  readonly targetIds: number[][];
  readonly targetMask: number[][];
}

export function oracleRows({ inputIds, inputMask, targetIds, targetMask }: OracleRows): EncodedRow[] {
  const live = (ids: number[], mask: number[]) => Int32Array.from(ids.filter((_, i) => mask[i]));
  return inputIds.map((ids, b) => {
    const target = live(targetIds[b]!, targetMask[b]!);
    const same = { id: `row ${b}`, choices: [target], gold: 0, truncated: false };
    return { ...same, input: live(ids, inputMask[b]!), target };
  });
}
