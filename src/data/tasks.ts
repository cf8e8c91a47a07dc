/**
 * @file The declared tasks: one typed table of the datasets of both papers.
 *
 * In: a task's name. Out: where its official files lie, how a record becomes examples, its formats and metrics.
 * The first format of a task is its default: T5's own text without the task's name (xprompt.md §5.2, fpt.md §6). `openprompt`
 * are the soft templates of OpenPrompt, on which XPrompt is built.
 */
import type { MetricName } from "./metrics.js";
import {
  classified,
  copa,
  type Example,
  multirc,
  openpromptCopa,
  openpromptWsc,
  type RecordPlace,
  record,
  squad,
  wscBinary,
  wscReferent,
  xsum,
} from "./records.js";
import type { Scoring } from "./row.js";
import type { Fields, Split } from "./rows.js";
import type { Verbalizer } from "./verbalizer.js";

export type { Split } from "./rows.js";

export interface Format {
  readonly template: string;
  /** Label → words; null where the words differ by row or the target is free text. */
  readonly verbalizer: Verbalizer | null;
  /** One record of a file → its examples; overrides the task's. */
  readonly read?: ReadRecord;
  readonly scoring?: Scoring;
  readonly maxTargetTokens?: number;
}

export type ReadRecord = (fields: Fields, place: RecordPlace) => Example[];

export interface DeclaredTask {
  readonly title: string;
  /** File names of each split; the first pattern that a folder has counts. */
  readonly files: Readonly<Record<Split, readonly RegExp[]>>;
  readonly formats: Readonly<Record<string, Format>>;
  readonly read: ReadRecord;
  /** The first chooses the prompt that is kept, or their mean where FPT's scripts do so. */
  readonly metrics: readonly [MetricName, ...MetricName[]];
  readonly selectBy?: "mean";
  /** FPT lets the model generate the answer although the rows have choices. */
  readonly generative?: boolean;
  readonly scoring?: Scoring;
  readonly maxTargetTokens: number;
}

/** SuperGLUE's names, those of the Hugging Face copies, and FewGLUE's. */
const superglue = {
  train: [/^train\.jsonl$/],
  validation: [/^val(idation)?\.jsonl$/, /^dev(32)?\.jsonl$/],
  test: [/^test\.jsonl$/],
};

/** GLUE's tab-separated files, or jsonl. */
const glue = {
  train: [/^train\.(jsonl|tsv)$/],
  validation: [/^(val|validation|dev)(_matched)?\.(jsonl|tsv)$/],
  test: [/^test(_matched)?\.(jsonl|tsv)$/],
};

const trueFalse = { True: "True", False: "False" };
const noYes = { False: "No", True: "Yes" };
const truth = { true: "True", false: "False", True: "True", False: "False", 1: "True", 0: "False" };
const same = (...labels: string[]) => Object.fromEntries(labels.map((l) => [l, l]));

export const tasks = {
  boolq: {
    title: "BoolQ: is the answer to the question yes, by the passage?",
    files: superglue,
    formats: {
      t5: { template: "passage: {passage} question: {question}", verbalizer: trueFalse },
      openprompt: { template: "hypothesis: {question}. premise: {passage}", verbalizer: noYes },
    },
    read: classified(["passage", "question"], "label", truth),
    metrics: ["accuracy"],
    maxTargetTokens: 10,
  },
  cb: {
    title: "CommitmentBank: does the premise entail, contradict, or leave open the hypothesis?",
    files: superglue,
    formats: {
      t5: {
        template: "hypothesis: {hypothesis} premise: {premise}",
        verbalizer: same("entailment", "contradiction", "neutral"),
      },
      openprompt: {
        template: "hypothesis: {hypothesis}. premise: {premise}",
        verbalizer: same("entailment", "contradiction", "neutral"),
      },
    },
    read: classified(["premise", "hypothesis"], "label", {
      ...same("entailment", "contradiction", "neutral"),
      0: "entailment",
      1: "contradiction",
      2: "neutral",
    }),
    metrics: ["accuracy", "macroF1"],
    maxTargetTokens: 10,
  },
  copa: {
    title: "COPA: which choice is the cause or effect of the premise?",
    files: superglue,
    formats: {
      t5: {
        template: "choice1: {choice1} choice2: {choice2} premise: {premise} question: {question}",
        verbalizer: same("choice1", "choice2"),
      },
      falseTrue: {
        template: "choice1: {choice1} choice2: {choice2} premise: {premise} question: {question}",
        verbalizer: { choice1: "False", choice2: "True" },
      },
      openprompt: {
        template: "choice1: {choice1} choice2: {choice2} premise: {premise} question: {question}",
        verbalizer: null,
        read: openpromptCopa,
        maxTargetTokens: 50,
      },
    },
    read: copa,
    metrics: ["accuracy"],
    maxTargetTokens: 10,
  },
  multirc: {
    title: "MultiRC: is the answer right, by the paragraph? Several answers to one question may be.",
    files: superglue,
    formats: {
      t5: { template: "question: {question} answer: {answer} paragraph: {paragraph}", verbalizer: trueFalse },
      openprompt: { template: "question: {question} answer: {answer}. paragraph: {paragraph}", verbalizer: noYes },
    },
    read: multirc,
    metrics: ["f1a", "groupExactMatch", "accuracy"],
    scoring: { positiveLabel: "True" },
    maxTargetTokens: 10,
  },
  rte: {
    title: "RTE: does the premise entail the hypothesis?",
    files: superglue,
    formats: {
      t5: {
        template: "hypothesis: {hypothesis} premise: {premise}",
        verbalizer: same("entailment", "not_entailment"),
      },
      openprompt: {
        template: "sentence1: {premise} sentence2: {hypothesis}",
        verbalizer: { entailment: "yes", not_entailment: "no" },
      },
    },
    read: classified(["premise", "hypothesis"], "label", {
      ...same("entailment", "not_entailment"),
      0: "entailment",
      1: "not_entailment",
    }),
    metrics: ["accuracy"],
    maxTargetTokens: 10,
  },
  wic: {
    title: "WiC: does the word mean the same in both sentences?",
    files: superglue,
    formats: {
      t5: { template: "sentence1: {sentence1} sentence2: {sentence2} word: {word}", verbalizer: trueFalse },
      openprompt: { template: "sentence1: {sentence1} sentence2: {sentence2} word: {word}", verbalizer: noYes },
    },
    read: classified(["sentence1", "sentence2", "word"], "label", truth),
    metrics: ["accuracy"],
    maxTargetTokens: 10,
  },
  wsc: {
    title: "WSC: does the pronoun mean the marked noun?",
    files: superglue,
    formats: {
      // A yes/no question needs the candidate in sight: noun between asterisks, pronoun between hashes, as T5's `wsc` has it.
      t5: { template: "text: {marked}", verbalizer: trueFalse },
      referent: {
        template: "{pronounMarked}",
        verbalizer: null,
        read: wscReferent,
        scoring: { referent: true },
        maxTargetTokens: 20,
      },
      openprompt: {
        template: '{marked} "{pronoun}" refers to "{candidate}" or another word ?',
        verbalizer: null,
        read: openpromptWsc,
        maxTargetTokens: 20,
      },
    },
    read: wscBinary,
    metrics: ["accuracy"],
    maxTargetTokens: 10,
  },
  record: {
    title: "ReCoRD: which entity fills the placeholder?",
    files: {
      train: [/^train(_fewglue32)?\.jsonl$/],
      validation: [/^val(idation)?\.jsonl$/, /^dev(32)?(_fewglue)?\.jsonl$/],
      test: [/^test\.jsonl$/],
    },
    formats: { t5: { template: "query: {query} entities: {entities} passage: {passage}", verbalizer: null } },
    read: record,
    metrics: ["exactMatch", "tokenF1"],
    selectBy: "mean",
    generative: true,
    maxTargetTokens: 200,
  },
  mnli: {
    title: "MNLI: entailment, neutral or contradiction, over ten genres",
    files: glue,
    formats: {
      t5: {
        template: "hypothesis: {hypothesis} premise: {premise}",
        verbalizer: same("entailment", "neutral", "contradiction"),
      },
    },
    read: classified(["premise|sentence1", "hypothesis|sentence2"], "label|gold_label", {
      ...same("entailment", "neutral", "contradiction"),
      0: "entailment",
      1: "neutral",
      2: "contradiction",
    }),
    metrics: ["accuracy"],
    maxTargetTokens: 10,
  },
  qqp: {
    title: "QQP: do the two questions ask the same?",
    files: glue,
    formats: {
      fpt: {
        template: "question1: {question1} question2: {question2}",
        verbalizer: { not_duplicate: "not_duplicate", is_duplicate: "is_duplicate" },
      },
      t5: {
        template: "question1: {question1} question2: {question2}",
        verbalizer: { not_duplicate: "not_duplicate", is_duplicate: "duplicate" },
      },
    },
    read: classified(["question1", "question2"], "label|is_duplicate", {
      0: "not_duplicate",
      1: "is_duplicate",
      not_duplicate: "not_duplicate",
      is_duplicate: "is_duplicate",
      duplicate: "is_duplicate",
    }),
    metrics: ["accuracy", "f1"],
    selectBy: "mean",
    scoring: { positiveLabel: "is_duplicate", outOfLabel: "positive" },
    maxTargetTokens: 10,
  },
  sst2: {
    title: "SST-2: is the sentence of the review positive?",
    files: glue,
    formats: { t5: { template: "sentence: {sentence}", verbalizer: same("negative", "positive") } },
    read: classified(["sentence"], "label", { 0: "negative", 1: "positive", ...same("negative", "positive") }),
    metrics: ["accuracy"],
    maxTargetTokens: 10,
  },
  squad2: {
    title: "SQuAD 2.0: answer in the words of the context, or say that there is no answer",
    files: {
      train: [/^train-v2\.0.*\.json$/],
      validation: [/^dev-v2\.0.*\.json$/],
      test: [/^test-v2\.0.*\.json$/],
    },
    formats: { t5: { template: "question: {question} context: {context}", verbalizer: null } },
    read: squad,
    metrics: ["exactMatch", "accuracy", "hasAnswerF1"],
    selectBy: "mean",
    maxTargetTokens: 200,
  },
  xsum: {
    title: "XSum: one sentence that says what the article is about",
    files: {
      train: [/^(xsum_)?train\.(jsonl|tsv)$/],
      validation: [/^(xsum_)?(val|validation|dev)\.(jsonl|tsv)$/],
      test: [/^(xsum_)?test\.(jsonl|tsv)$/],
    },
    formats: { t5: { template: "{document}", verbalizer: null } },
    read: xsum,
    metrics: ["rougeL", "rouge1", "rouge2"],
    selectBy: "mean",
    maxTargetTokens: 512,
  },
} satisfies Record<string, DeclaredTask>;

export type TaskName = keyof typeof tasks;

export const taskNames = Object.keys(tasks) as TaskName[];
