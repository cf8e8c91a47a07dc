/**
 * @file Names of models that were fetched from a hub: ID@COMMIT, or ID/FILE@COMMIT for one file of a repository. In: a model's name. Out: its parts.
 */

/** A model of a hub. */
export interface HubName {
  /** With an organisation or without one (`gpt2`); with the file behind it, where one file was asked for. */
  readonly id: string;
  readonly revision: string;
}

/** The parts of a hub model's name; null for a folder, a file and a model that ships with us. */
export function hubName(name: string): HubName | null {
  const parts = /^(?!\.)([\w.-]+(?:\/[\w.-]+)*)@([0-9a-f]{40})$/.exec(name);
  return parts && { id: parts[1]!, revision: parts[2]! };
}
