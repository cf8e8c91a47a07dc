/**
 * @file The report that lies in a study's folder is replaced only by one that holds all of it; another one is kept beside the new.
 *
 * In: a study's folder, its options, its result. Out: where the earlier report is kept, and what differs.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { SoftpromptError } from "../base/errors.js";
import { makeFolder, ownFolder, readWhole, renameFile } from "../base/files.js";
import { isObject, longRunLimits, parseJson } from "../base/json.js";
import { type OptionTable, readOptions } from "../base/options.js";
import { fileNames } from "../run/layout.js";
import type { StudyResult } from "../study/study.js";
import { freeSettings } from "../train/options.js";
import { readConfig } from "./config.js";

/** An earlier report that was kept. */
export interface EarlierReport {
  /** Where its files are now. */
  readonly folder: string;
  /** What it differs in: the end of a sentence about it. */
  readonly differs: string;
}

/** The files of a report. */
const files = [fileNames.config, fileNames.result, fileNames.summary, fileNames.report, fileNames.best];

/** Options that change no score of a report. */
const free: ReadonlySet<string> = new Set([
  ...freeSettings,
  ...["output", "threads", "workers", "offline", "textCacheMemory", "textCacheDisk", "reference"],
  // its lines say what a sweep tried
  ...["try", "mostSettings"],
]);

/** Lists and maps of which a wider report has more: every entry of the narrower one is among them. */
const widening: ReadonlySet<string> = new Set(["tasks", "seeds", "methods", "scoreSteps"]);

/**
 * Moves the report that lies in the folder to a folder beside it, where the new one will not hold all that it says: it is of another study,
 * of other settings, or has scores that the new one has not.
 * @param table options that this study reads @param options their values @returns null where there was none, or the new one holds it all
 * @throws SoftpromptError "io", "run"
 */
export async function keepEarlierReport(
  folder: string,
  table: OptionTable,
  options: Readonly<Record<string, unknown>>,
  result: StudyResult,
): Promise<EarlierReport | null> {
  const present = files.filter((name) => existsSync(join(folder, name)));
  if (present.length === 0) return null;
  const before = readResult(folder);
  const differs =
    before === null
      ? unread
      : before.study !== result.study
        ? `is of study ${before.study}`
        : ((await differenceOfSettings(folder, table, options)) ?? differenceOfScores(before, result));
  if (differs === null) return null;
  const kept = freePlace(folder);
  makeFolder(kept);
  for (const name of present) renameFile(join(folder, name), join(kept, name));
  return { folder: kept, differs };
}

function freePlace(folder: string): string {
  for (let n = 1; ; n++) {
    const place = ownFolder(folder, `${fileNames.earlier}-${n}`);
    if (!existsSync(place)) return place;
  }
}

const listed = z.object({ line: z.string(), task: z.string(), seed: z.number(), score: z.number().nullable() });
/** What a study shows that lists no scores. */
const shown = ["tables", "matrices", "charts"] as const;
const earlierResult = z.looseObject({ study: z.string(), scores: z.array(listed).optional() });
type Listed = z.infer<typeof listed>;

const unread = "cannot be read any more";

/** null where it is damaged, or not there. */
function readResult(folder: string): z.infer<typeof earlierResult> | null {
  try {
    const text = readWhole(join(folder, fileNames.result), "run");
    return earlierResult.safeParse(parseJson(String(text), fileNames.result, "run", longRunLimits)).data ?? null;
  } catch (error) {
    if (error instanceof SoftpromptError && error.kind === "run") return null;
    throw error;
  }
}

/** Names one; null where every score of the earlier report is in the new one, or, of a study that lists none, every figure is the same. */
function differenceOfScores(before: z.infer<typeof earlierResult>, result: StudyResult): string | null {
  const { scores } = result;
  if (before.scores === undefined || scores === undefined)
    return shown.some((part) => JSON.stringify(before[part]) !== JSON.stringify(result[part]))
      ? "has figures that are not in the new one"
      : null;
  const key = ({ line, task, seed, score }: Listed) => JSON.stringify([line, task, seed, score]);
  const now = new Set(scores.map(key));
  const lost = before.scores.find((one) => !now.has(key(one)));
  return lost === undefined ? null : `has scores that are not in the new one, as ${nameOf(lost)}`;
}

const nameOf = ({ line, task, seed }: Listed) => `${line} on ${task}, seed ${seed}`;

/** Names the options that differ; null where the new settings are the earlier ones, or have more tasks, seeds, methods. */
async function differenceOfSettings(
  folder: string,
  table: OptionTable,
  options: Readonly<Record<string, unknown>>,
): Promise<string | null> {
  const own = Object.fromEntries(Object.entries(table).filter(([key]) => !free.has(key)));
  let before: Readonly<Record<string, unknown>>;
  try {
    before = readOptions(own, await readConfig(join(folder, fileNames.config), own, table), fileNames.config);
  } catch (error) {
    if (error instanceof SoftpromptError && error.kind === "usage") return unread;
    throw error;
  }
  const changed = Object.keys(own).filter((key) => !holds(key, options[key], before[key]));
  return changed.length === 0 ? null : `is of other settings (${changed.join(", ")})`;
}

/** Whether a value of an option holds all that an earlier one did. */
function holds(key: string, now: unknown, before: unknown): boolean {
  const text = (value: unknown) => JSON.stringify(value ?? null);
  if (!widening.has(key)) return text(now) === text(before);
  if (Array.isArray(now) && Array.isArray(before)) return before.every((one) => now.includes(one));
  if (isObject(now) && isObject(before))
    return Object.entries(before).every(([name, value]) => text(now[name]) === text(value));
  return text(now) === text(before);
}
