/** @file What the studio's server and its page tell each other: the JSON under /api, as types, and how much of it. */
import type { Option } from "../base/options.js";
import type { Prediction } from "../report/predictions.js";
import type { RunResult } from "../run/result.js";
import type { ListedRun } from "../study/run-list.js";
import type { Recorded } from "../tasks/recorded.js";

/** Most runs whose events are kept between two questions; more at once would be read and sent anew each time. */
export const mostFollowed = 32;

/** Everything that changes while the studio is open. Paths of runs are relative to the studio's folder, with "/". */
export interface StudioState {
  readonly version: string;
  readonly folder: string;
  /** Paths that a form takes are relative to it. */
  readonly cwd: string;
  readonly readOnly: boolean;
  /** Models that ship with softprompt. */
  readonly bundled: readonly string[];
  readonly runs: readonly ListedRun[];
  /** Oldest first. */
  readonly jobs: readonly JobState[];
}

/** `stopped`: what it had done is saved. */
export type JobStatus = "waiting" | "running" | "stopping" | "done" | "stopped" | "failed";

/** An error as `--json` tells it. */
export interface ToldError {
  readonly kind: string;
  readonly problem: string;
  readonly where?: string;
  readonly expected?: string;
  readonly got?: unknown;
  readonly hint?: string;
}

/** A command that the studio runs in a process of its own. */
export interface JobState {
  readonly id: string;
  readonly command: string;
  /** What was given, by the options' names. */
  readonly options: Readonly<Record<string, unknown>>;
  /** As it would be typed. */
  readonly line: string;
  /** Where its results go, relative to the studio's folder; null where they go elsewhere. */
  readonly path: string | null;
  readonly status: JobStatus;
  readonly pid: number | null;
  /** Its latest lines of progress, and how many there were before them. */
  readonly lines: readonly string[];
  readonly linesBefore: number;
  readonly error: ToldError | null;
  readonly asked: string;
  readonly started: string | null;
  readonly ended: string | null;
}

/** The options of a command, for its form. */
export interface Form {
  readonly command: string;
  readonly summary: string;
  /** The options that most people need, in the order of a form. */
  readonly essentials: readonly string[];
  readonly sections: readonly {
    readonly name: string;
    readonly options: readonly (Option & { readonly key: string; readonly flag: string })[];
  }[];
}

/** What an adapter answers, read from its folder. */
export interface AdapterTask {
  readonly name: string;
  readonly template: string;
  readonly fields: readonly string[];
  /** Label → its words; null for free text. */
  readonly verbalizer: Readonly<Record<string, string>> | null;
}

/** One run. Events are those from `after` on; `generation` changes where earlier ones are no longer true. */
export interface RunDetails {
  readonly run: ListedRun;
  /** Its config.yaml as it is; null where there is none. */
  readonly config: string | null;
  readonly options: Readonly<Record<string, unknown>>;
  readonly result: RunResult | null;
  /** The run was made longer and has not ended again: its result, adapter, report and predictions are of fewer steps. */
  readonly outgrown: boolean;
  /** It has ended, and can go on to more steps as if it had been begun with them. */
  readonly extendable: boolean;
  readonly warnings: readonly string[];
  readonly task: AdapterTask | null;
  /** Of its adapter; 0 where it has none, or there is no adapter yet. */
  readonly virtualTokens: number;
  /** The folder with its report.html, of a study's training the study's; null where there is none. */
  readonly report: string | null;
  readonly events: readonly Recorded[];
  readonly after: number;
  readonly generation: string;
}

/** Some of a run's predictions of a kind. */
export interface PredictionsPage {
  readonly rows: readonly Prediction[];
  /** How many there are of that kind, and in all. */
  readonly total: number;
  readonly all: number;
}

/** The words nearest to each virtual token. */
export interface PromptWordsAnswer {
  readonly tokens: readonly (readonly { readonly piece: string; readonly cosine: number }[])[];
  readonly text: string;
}

/** An input for several adapters of one base model. */
export interface Question {
  /** Runs whose adapters answer. */
  readonly paths: readonly string[];
  /** Field of a template → text. */
  readonly input: Readonly<Record<string, string>>;
  /** Ask the frozen model without a prompt too. */
  readonly frozen: boolean;
}

/** One adapter's answer, or the frozen model's under its task. */
export interface GivenAnswer {
  readonly path: string;
  readonly frozen: boolean;
  readonly label: string | null;
  readonly text: string;
  readonly probabilities: Readonly<Record<string, number>> | null;
  readonly truncated: boolean;
  /** Why there is no answer. */
  readonly error: string | null;
}

export interface Answers {
  readonly answers: readonly GivenAnswer[];
  /** All answers together, opening the model included. */
  readonly seconds: number;
  readonly model: string;
}

/** Some row, and with a model what is left of a text that is too long for it. */
export interface ShownRow {
  readonly input: string;
  readonly target: string;
  readonly label: string | null;
  readonly read?: string;
  readonly tokensCut?: number;
}

/** What the model would read of some rows, as `softprompt show --json` gives it. */
export interface Preview {
  readonly task: { readonly name: string; readonly template: string };
  readonly splits: readonly {
    readonly split: string;
    readonly rows: number;
    readonly labels: Readonly<Record<string, number>>;
    /** Null without a model. */
    readonly tokens: { readonly median: number; readonly longest: number; readonly cut: number } | null;
    readonly examples: readonly ShownRow[];
  }[];
  readonly notices: readonly string[];
}
