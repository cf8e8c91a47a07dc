/** @file Writes docs/reference from the doc comments; a part of `npm run docs`. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { referenceFolder, referencePages } from "./public.mjs";

// all of them first: where one cannot be made, those that are there stay
const pages = Object.entries(referencePages());
rmSync(referenceFolder, { recursive: true, force: true });
mkdirSync(referenceFolder, { recursive: true });
for (const [name, page] of pages) writeFileSync(join(referenceFolder, name), page);
