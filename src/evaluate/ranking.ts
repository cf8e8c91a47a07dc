/** @file What labels are ranked by. In: a label's log-probability and its number of tokens. Out: a number, higher is better. Nothing is imported: option tables read it. */

/** By name; of the log-probabilities of a label's tokens (the end token is one). */
export const rankingModes = {
  /** What the model says of the whole label; longer labels have more factors. */
  sum: (log: number, _tokens: number) => log,
  /** Of one token: no label is at a disadvantage for its length. */
  mean: (log: number, tokens: number) => log / tokens,
} as const;

/** What labels are ranked by. */
export type RankingMode = keyof typeof rankingModes;
