/** @file The option that asks for published numbers: apart from them, so that a command's help loads no tables. */
import { choice } from "../base/options.js";

/** Which published numbers a study may show. */
export const references = ["none", "xprompt"] as const;
/** Name of published numbers. */
export type ReferenceName = (typeof references)[number];

/** The option that asks for them. */
export const referenceOptions = {
  reference: choice({
    values: references,
    default: "none",
    source: "our addition",
    help: "Set the study's scores beside a paper's own, in its layout: xprompt is XPrompt's Tables 1 to 3 for T5 Large, XL and XXL, drawn grey",
  }),
};
