/**
 * @file The models that ship with the package, one row each. In: a name. Out: whether it is one of them, and its folder.
 */
import { packageFile } from "./package.js";

interface BundledModel {
  /** What it is, in one line for help texts. */
  readonly about: string;
}

/** By the name that opens them; `models/NAME/README.md` is the card. */
const bundledModels = {
  "t5-nano": { about: "4 million parameters, the fastest here" },
  "t5-mini": { about: "20 million parameters, 541 million tokens" },
} as const satisfies Record<string, BundledModel>;

/** A name that opens a bundled model. */
export type BundledName = keyof typeof bundledModels;

/** Their names, in the order of the table. */
export const bundledNames = Object.keys(bundledModels) as BundledName[];

/** "t5-nano (4 million parameters, …) or …", for help texts. */
export const bundledText = bundledNames.map((name) => `${name} (${bundledModels[name].about})`).join(" or ");

/** Whether a model of this name ships with the package; a folder of that name goes before it. */
export function isBundled(name: string): name is BundledName {
  return Object.hasOwn(bundledModels, name);
}

/** Folder of a bundled model. */
export function bundledFolder(name: BundledName): string {
  return packageFile(`models/${name}`);
}
