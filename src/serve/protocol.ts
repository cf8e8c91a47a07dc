/**
 * @file Messages between the server's thread and the engine's thread. In: nothing. Out: types of plain data, as messages copy them.
 *
 * The engine blocks its thread while it computes. It has its own thread, so that the server can answer HTTP requests meanwhile.
 */
import type { ErrorKind } from "../base/errors.js";
import type { OptionValues } from "../base/options.js";
import type { ModelEvent, openOptions } from "../tasks/model.js";
import type { PredictInput } from "../tasks/predictor.js";

/** What the engine's thread must open. */
export interface EngineStart {
  readonly model: string;
  readonly options: Partial<OptionValues<typeof openOptions>>;
  /** Rows of one pass. */
  readonly batchSize: number;
  /** Most texts that are generated at a time, in all batches together. */
  readonly writingRows: number;
  /** Longest text to be continued, in tokens. */
  readonly maxInputTokens: number;
  /** No text is continued: only rows of tasks are answered. */
  readonly onlyLabels: boolean;
  /** Two shared numbers: the engine sets the first when it has finally stopped computing, and sleeps on the second. */
  readonly parked: Int32Array;
}

/** A message of a conversation. */
export interface ChatMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

/** The input of a generation: a text without changes, ids, or a conversation for the model's own chat template. */
export type Prompt =
  | { readonly text: string }
  | { readonly ids: readonly number[] }
  | { readonly messages: readonly ChatMessage[] };

/** How a text is written. */
export interface WritingSettings {
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly seed: number;
  readonly stop: readonly string[];
  /** Tell each token's log-probability, and so many of the likeliest ones in its place. Default: none are told. */
  readonly logprobs?: number | undefined;
}

/** A token by its text, and its log-probability under the model's own logits: natural logarithm, before temperature, top-k and top-p. */
export interface TokenLogprob {
  readonly id: number;
  readonly token: string;
  readonly logprob: number;
}

/** A written token, and the likeliest ones in its place, likeliest first. */
export interface WrittenLogprob extends TokenLogprob {
  /** Length of the text before it, in UTF-16 units. */
  readonly offset: number;
  readonly likeliest: readonly TokenLogprob[];
}

/** A row to be answered. `skill` is the number of a loaded adapter: its name may be assigned to another adapter meanwhile. */
export type AskedRow = { readonly id: number; readonly skill: number } & (
  | { readonly kind: "predict"; readonly input: PredictInput; readonly name: string }
  | { readonly kind: "write"; readonly prompt: Prompt; readonly how: WritingSettings }
);

/** Server → engine. */
export type Order =
  | { readonly kind: "rows"; readonly rows: readonly AskedRow[] }
  | { readonly kind: "drop"; readonly ids: readonly number[] }
  | {
      readonly kind: "add";
      readonly skill: number;
      readonly name: string;
      readonly folder: string;
      readonly anyBase: boolean;
    }
  | { readonly kind: "remove"; readonly skill: number }
  | { readonly kind: "park" }
  | { readonly kind: "close" };

/** An error as data. */
export interface Failure {
  /** null for a bug. */
  readonly kind: ErrorKind | null;
  readonly problem: string;
  readonly where: string;
  readonly expected?: string | undefined;
  readonly got?: string | undefined;
  readonly hint?: string | undefined;
  /** OpenAI's error code, if there is one. */
  readonly code?: string | undefined;
}

/** The functions of a model. */
export const abilities = ["predict", "completions", "chat"] as const;
/** One function of a model. */
export type Ability = (typeof abilities)[number];

/** What is known of a loaded adapter, or of the bare model. */
export interface SkillFacts {
  readonly abilities: readonly Ability[];
  readonly task: string | null;
  /** Fields of the task's template. */
  readonly fields: readonly string[];
  readonly labels: readonly string[] | null;
  readonly virtualTokens: number;
}

/** Why a text ends. */
export type WrittenEnd = "end" | "stop" | "length" | "window";

/** Events of a row. The last event is an answer, an end or a failure. */
export type RowEvent =
  | { readonly kind: "began"; readonly promptTokens: number }
  | {
      readonly kind: "piece";
      readonly text: string;
      readonly tokens: number;
      /** Of the tokens since the last piece, where they are asked for; of an end too. */
      readonly logprobs?: readonly WrittenLogprob[];
    }
  | {
      readonly kind: "end";
      readonly text: string;
      readonly tokens: number;
      readonly end: WrittenEnd;
      readonly logprobs?: readonly WrittenLogprob[];
    }
  | {
      readonly kind: "answer";
      readonly label: string | null;
      readonly text: string;
      readonly probabilities: Readonly<Record<string, number>> | null;
      readonly tokens: number;
      readonly truncated: boolean;
    }
  | { readonly kind: "failed"; readonly failure: Failure };

/** A batch that is computed now. */
export interface BegunBatch {
  readonly what: "predict" | "write";
  readonly rows: number;
}

/** A model or an adapter writes and answers for the first time, before a request waits for it: passes of `total` are done. */
export interface WarmingEvent {
  readonly kind: "progress";
  readonly doing: "warming";
  /** The name of the model or the adapter. */
  readonly file: string;
  readonly done: number;
  readonly total: number;
}

/** Engine → server. */
export type Report =
  | { readonly kind: "opening"; readonly event: ModelEvent | WarmingEvent }
  | { readonly kind: "ready"; readonly name: string; readonly bare: SkillFacts }
  | { readonly kind: "broken"; readonly failure: Failure }
  | { readonly kind: "added"; readonly skill: number; readonly facts: SkillFacts }
  | { readonly kind: "refused"; readonly skill: number; readonly failure: Failure }
  | {
      readonly kind: "events";
      readonly events: readonly (readonly [id: number, event: RowEvent])[];
      /** Passes that have begun since the last report. */
      readonly batches: readonly BegunBatch[];
    };
