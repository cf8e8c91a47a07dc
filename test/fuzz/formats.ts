/** @file The table of formats that strangers may hand us (issue: hostile files). Name → sound files, changes, reader. */
import { dataFormats } from "./data-formats.js";
import type { Format } from "./format.js";
import { modelFormats } from "./model-formats.js";
import { runFormats } from "./run-formats.js";

/** @param fixtures the folder test/fixtures */
export function formats(fixtures: string): Record<string, Format> {
  return { ...modelFormats(fixtures), ...runFormats(), ...dataFormats() };
}
