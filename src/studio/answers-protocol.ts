/** @file What the studio and its answering process tell each other. In: nothing. Out: types. */
import type { GivenAnswer } from "./protocol.js";

/** Studio → process: an input for adapters of one base model. */
export interface AnswerOrder {
  readonly id: number;
  readonly model: string;
  /** Options of openModel. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly adapters: readonly {
    readonly path: string;
    readonly folder: string;
    /** Changes when the adapter does. */
    readonly stamp: string;
  }[];
  readonly input: Readonly<Record<string, string>>;
  readonly frozen: boolean;
}

/** Process → studio. */
export type AnswerReport =
  | { readonly id: number; readonly answers: readonly GivenAnswer[]; readonly model: string }
  | { readonly id: number; readonly problem: string };
