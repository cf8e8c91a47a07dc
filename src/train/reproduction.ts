/**
 * @file Files with which a bad step can be reproduced. In: the batch, the parameters, the settings. Out: two files' contents by name.
 */
import type { Parameters } from "../base/tensor.js";
import type { Row } from "../data/row.js";
import { writeSafetensors } from "../model/safetensors.js";
import type { EncodedRow } from "../text/batch.js";
import { makeBatch } from "../text/batch.js";
import type { TrainSettings } from "./options.js";

export interface BadStep {
  readonly step: number;
  readonly partial: string;
  readonly problem: string;
  readonly learningRate: number;
  readonly settings: TrainSettings;
  readonly parameters: Parameters;
  readonly encoded: readonly EncodedRow[];
  readonly rows: readonly Row[];
}

/**
 * `reproduction-STEP.json` describes the step in words and texts; `reproduction-STEP.safetensors` holds the parameters (prompt [P, D]) and
 * the batch as
 * fed: input_ids, input_mask [B, T], target_ids, target_mask [B, U].
 */
export function reproduction(bad: BadStep): Record<string, string | Uint8Array> {
  const { parameters, encoded, ...told } = bad;
  const batch = makeBatch(encoded);
  const [B, T, U] = [batch.size, batch.inputLength, batch.targetLength];
  const name = `reproduction-${bad.step}`;
  return {
    [`${name}.json`]: `${JSON.stringify({ ...told, tensors: `${name}.safetensors` }, null, 2)}\n`,
    [`${name}.safetensors`]: writeSafetensors({
      ...parameters,
      input_ids: { shape: [B, T], data: batch.inputIds },
      input_mask: { shape: [B, T], data: batch.inputMask },
      target_ids: { shape: [B, U], data: batch.targetIds },
      target_mask: { shape: [B, U], data: batch.targetMask },
    }),
  };
}
