/** @file What labels are ranked by. In: a label's log-probability and its number of tokens. Out: a number, higher is better. Nothing is imported: option tables read it. */

/** By name; of the log-probabilities of a label's tokens (the end token is one). */
export const rankingModes = {
  /** Sum over the label's tokens; longer labels have more factors. */
  sum: (log: number, _tokens: number) => log,
  /** Mean per token, so that long labels have no disadvantage. */
  mean: (log: number, tokens: number) => log / tokens,
} as const;

/** What labels are ranked by. */
export type RankingMode = keyof typeof rankingModes;
