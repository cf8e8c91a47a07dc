/**
 * @file A base model's tokenizer, as that model takes its rows. In: a Checkpoint. Out: a Tokenizer with the family's rules.
 */
import { loadTokenizer } from "../text/load.js";
import { causalRules } from "../text/rules.js";
import { limitedTo, type Tokenizer } from "../text/tokenizer.js";
import { architectureOf } from "./architectures.js";
import type { Checkpoint } from "./checkpoint.js";

/** @throws SoftpromptError "checkpoint" where the folder has no tokenizer that can be read. */
export async function openTokenizer({ folder, config }: Pick<Checkpoint, "folder" | "config">): Promise<Tokenizer> {
  const tokenizer = limitedTo(await loadTokenizer(folder), config.vocabulary);
  return architectureOf(config).taskType === "CAUSAL_LM" ? { ...tokenizer, rules: causalRules(tokenizer) } : tokenizer;
}
