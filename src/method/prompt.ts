/** @file Prompt tuning: P virtual tokens before, in or behind the text, in the embedding's space. Source: Lester et al. 2021; xprompt.md §2. */
import { concat } from "../graph/ops.js";
import type { Method } from "./method.js";

export const promptTuning: Method = {
  name: "prompt",
  parameters: ({ width }) => [{ name: "prompt", shape: ["P", width], perRow: true }],
  attach: (b, { prompt }) => ({ ...b, embeddings: (x) => concat(b.graph, [prompt!, b.embeddings(x)], 1) }),
  behind: true,
  adds: ({ prompt }) => ({ tokens: prompt!.shape.at(-2)!, keys: 0 }),
};
