/**
 * @file What the data room hands on: labelled text. In: fields of a data file under a Task. Out: Row, Dataset.
 */
import type { MetricName } from "./metric-names.js";

/** Where in a row's text one of its fields stands: UTF-16 units from … to-1. */
export interface FieldSpan {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  /** The template marks it as the one to shorten where the text is too long. */
  readonly cut?: boolean;
}

/** A part of the virtual tokens, where they stand in several parts. */
export interface PromptPart {
  /** Where it stands: UTF-16 units of a text, or ids of an encoded one. */
  readonly at: number;
  readonly tokens: number;
  /** Before everything, also what a tokenizer or a chat puts before the text; as a prompt without a marker. */
  readonly outside?: boolean;
}

/** One example as text: what the encoder reads and what the decoder shall say. */
export interface Row {
  /** File and line (1-based) or row number; stands in every error and sample. */
  readonly id: string;
  /** The filled template; the encoder's text. */
  readonly input: string;
  /** The stretches of `input` that came from fields, in order; what lies between is the template's. Default: not known. */
  readonly fields?: readonly FieldSpan[];
  /**
   * Where in `input` the template puts the virtual tokens, in UTF-16 units; undefined where the template has no marker; then they stand
   * before the whole input. Where there are several parts, the place of the last one.
   */
  readonly promptAt?: number;
  /** The parts of the virtual tokens before the last one, in order; absent where they stand together. */
  readonly promptBefore?: readonly PromptPart[];
  /** The virtual tokens stand before the target on the decoder's side, not in the text (T5). */
  readonly promptIn?: "decoder";
  /**
   * Where in `input` the text ends with which many rows begin (examples and instruction before the row's own text). Default: where its
   * first field begins.
   */
  readonly sharedTo?: number;
  /**
   * No target follows: the text is written on from its very end, so blanks there stay. Default: they are the target's, as in training,
   * also where the target is not known yet.
   */
  readonly continues?: boolean;
  /** The text to be generated; for a classification the label words of `label`. */
  readonly target: string;
  /** The task's label, or null for free-text targets. */
  readonly label: string | null;
  /** Accepted answers of a free-text task (first = target); for a classification `[target]`. */
  readonly references: readonly string[];
  /** Rows scored together (MultiRC's question, ReCoRD's query), else undefined. */
  readonly group?: string;
  /** The row's own choices where they differ by row (ReCoRD entities, COPA by text), label → words; else undefined. */
  readonly choices?: Readonly<Record<string, string>>;
}

/** A task: how fields become text, how labels become words, what is measured. */
export interface Task {
  readonly name: string;
  /** Text with `{field}` holes; `{prompt}` says where the virtual tokens stand, several `{prompt:N}` where their parts do, `{prompt:decoder}` that they stand before the target. Without it they stand before the text. */
  readonly template: string;
  /** Label → words of the decoder (the verbalizer), in the order used for ranking; null for free text. */
  readonly verbalizer: Readonly<Record<string, string>> | null;
  /** Metrics reported; the first chooses the prompt that is kept unless selectBy says otherwise. */
  readonly metrics: readonly [MetricName, ...MetricName[]];
  /** Longest target in tokens when generating. Default 10 for classification, 200 for free text. */
  readonly maxTargetTokens: number;
  /** Tokens put before every target text, e.g. `<extra_id_0>` (fpt.md §6); "" by default. */
  readonly targetPrefix: string;
  /** How predictions are judged, where the metric alone does not say it. */
  readonly scoring?: Scoring;
  /** What chooses the prompt that is kept: the first metric (default), or the mean of all (fpt.md §7). */
  readonly selectBy?: "first" | "mean";
  /**
   * Answers are generated although each row has choices (ReCoRD); FPT then shrinks the decoder too. Default: true where rows have no
   * choices.
   */
  readonly generative?: boolean;
  /**
   * Where a target goes on from its input (decoder-only models), label words are trained as they are ranked: without an end token.
   * Default false: every target is trained with one. A model that has read "Sentiment:" does not end its text after "positive", so the
   * end token has much of the loss at first, and nothing that is ranked looks at it (docs/log.md).
   */
  readonly openAnswers?: boolean;
  /** Where its values stand in the rows that it was made from, if under other names. No text depends on it. */
  readonly columns?: TaskColumns;
}

/** Columns of a task's rows. */
export interface TaskColumns {
  /** Name in the template → column. */
  readonly fields?: Readonly<Record<string, string>> | undefined;
  /** Column of the label, if not `label`. */
  readonly label?: string | undefined;
  /** Column of the text to be written, if not `target`. */
  readonly target?: string | undefined;
}

/** How predictions of a task are judged, where the metric alone does not say it. */
export interface Scoring {
  /** The label of `f1` and `f1a`; default the largest of numbers, else the last of the verbalizer. */
  readonly positiveLabel?: string;
  /** What a generated text that is no label counts as in `f1`: wrong (default), or the positive label (fpt.md §6, QQP). */
  readonly outOfLabel?: "wrong" | "positive";
  /** `exactMatch` and `tokenF1`: texts as they stand (default), or SQuAD's lower case without punctuation and articles. */
  readonly normalize?: "none" | "squad";
  /** `accuracy`: the text is right if it names the row's target exactly when the row's label is "True" (WSC by generation). */
  readonly referent?: boolean;
}

/** A task with its rows. A split that a source does not have is an empty array. */
export interface Dataset {
  readonly task: Task;
  readonly train: readonly Row[];
  readonly validation: readonly Row[];
  readonly test: readonly Row[];
  /** Source files with their sha256, for result.json and for the resume check. */
  readonly files: readonly { readonly path: string; readonly sha256: string; readonly rows: number }[];
  /** Rows left out by --skip-bad-rows. */
  readonly skipped: number;
  /** What the reader should know: a holdout was taken, rows stand in two splits. Every command that loads data says them. */
  readonly notices?: readonly string[];
  /** How many virtual tokens the option promptPosition speaks of; absent where it gives no number. */
  readonly promptTokens?: number;
  /** Seconds that reading took; absent where nothing was read. */
  readonly seconds?: number;
}
