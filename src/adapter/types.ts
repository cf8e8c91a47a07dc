/**
 * @file What an adapter is: the learnt prompt, the mask it lives under, and where it came from. Plain data, no files.
 */
import type { JsonObject } from "../base/json.js";
import type { Parameters, Tensor } from "../base/tensor.js";
import type { MetricName } from "../data/metrics.js";
import type { Task } from "../data/row.js";
import type { PromptMask } from "../method/mask.js";

/** The base model an adapter was tuned on; null is "not recorded" (PEFT records neither hash nor vocabulary). */
export interface AdapterBase {
  /** As the user named it: path or hub id. Shown, never opened. */
  readonly name: string;
  readonly revision: string | null;
  /** Hash of the weights (Checkpoint.sha256). */
  readonly sha256: string | null;
  /** Architecture's name: "t5", "llama"; null where PEFT's config says no more than "a decoder-only model". */
  readonly family: string | null;
  /** D; null where PEFT's form of the method does not say. */
  readonly width: number | null;
  /** Layers and attention heads, as PEFT records them. */
  readonly layers: number | null;
  readonly heads: number | null;
}

/** How the prompt was tuned, as far as known. */
export interface AdapterTraining {
  /** "prompt-tuning", "prompt-tuning+fpt-cr", "xprompt", … */
  readonly method: string;
  /** Stages in order. */
  readonly schedule: readonly { readonly partial: string; readonly steps: number }[];
  readonly seed: number;
  /** Resolved settings, for the record. */
  readonly settings: JsonObject;
}

/** Scores of the prompt as saved. */
export interface AdapterScores {
  /** Which rows they were measured on: "validation", "holdout". Selection by the same rows flatters them. */
  readonly split: string;
  readonly rows: number;
  readonly values: Readonly<Partial<Record<MetricName, number>>>;
}

/** The result of a method that leaves no prompt: how to open it, and its parameters. */
export interface Applied {
  /** A name of method/methods.ts. */
  readonly method: string;
  /** Values of the method's own options. */
  readonly settings: JsonObject;
  readonly parameters: Parameters;
  /** What PEFT's config records of the model besides AdapterBase. */
  readonly model: AppliedModel;
}

/** What PEFT's config records of the model besides AdapterBase. */
export interface AppliedModel {
  readonly taskType: "SEQ_2_SEQ_LM" | "CAUSAL_LM";
  /** Layers, key heads and width of a head of the decoding stack; null is "not recorded". */
  readonly layers: number | null;
  readonly keyHeads: number | null;
  readonly headWidth: number | null;
  /** Linear layers' matrices are stored [in, out] (GPT-2). */
  readonly transposed: boolean;
}

/** A tuned prompt, or what another method left, with everything that is known of it. Plain data. */
export interface Adapter {
  /** [P, D], pruned entries zero; of a method that leaves no prompt [0, D]. */
  readonly prompt: Tensor;
  /** Absent where all is in the prompt. */
  readonly applied?: Applied;
  /** Of the prompt, or of the rows of what the method left (method/rows.ts). null = nothing pruned. */
  readonly mask: PromptMask | null;
  readonly base: AdapterBase;
  /** sha256 of the tokenizer's file; null = not recorded. */
  readonly tokenizer: string | null;
  readonly task: Task | null;
  /** It was tuned on rows in the base model's chat template. Default false. */
  readonly chat?: boolean;
  readonly training: AdapterTraining | null;
  readonly scores: AdapterScores | null;
  /** Fields of adapter_config.json and softprompt.json that we do not own, kept when the adapter is saved again. */
  readonly kept: { readonly config: JsonObject; readonly extras: JsonObject };
}
