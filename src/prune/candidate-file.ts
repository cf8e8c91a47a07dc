/**
 * @file candidate.json: a candidate that was trained, with the key of its inputs and a checksum. In: Candidate. Out: the file, and back.
 */
import { join } from "node:path";
import { z } from "zod";
import { SoftpromptError } from "../base/errors.js";
import { readWhole, writeFileAtomic } from "../base/files.js";
import { floatsFromText, floatsToText } from "../base/floats.js";
import { parseJson } from "../base/json.js";
import { sealed, unsealed } from "../base/kept.js";
import { maskFromJson, maskToJson } from "../method/mask.js";
import type { Candidate, CandidateCost } from "./types.js";

/** A candidate as read back, with the cost of its evaluations between rungs. */
export interface Kept extends Candidate {
  readonly rungs: Candidate["history"];
  readonly rungFlops: number;
  readonly rungSeconds: number;
}

export function writeCandidate(folder: string, key: string, candidate: Kept): void {
  const body = JSON.stringify({
    ...candidate,
    mask: candidate.mask && maskToJson(candidate.mask),
    prompt: { shape: candidate.prompt.shape, data: floatsToText(candidate.prompt.data) },
  });
  writeFileAtomic(join(folder, "candidate.json"), sealed(body, key));
}

/**
 * Reads the result that trainCandidate left in `folder`, in this or another process. @param key of its inputs; undefined accepts any.
 * @returns null when there is none yet, or the file is torn or from before costs were kept apart (then the run beside it goes on
 * from its own snapshot, which for a finished one costs nothing).
 * @throws SoftpromptError "run" for a complete file that is not a candidate, or has other inputs.
 */
export function readCandidate(folder: string, key?: string): Kept | null {
  const path = join(folder, "candidate.json");
  const text = readWhole(path, "run")?.toString("utf8");
  const opened = unsealed(text ?? "");
  if ("damage" in opened || opened.key === undefined) return null;
  if (key !== undefined && opened.key !== key)
    throw new SoftpromptError("run", "this candidate was made from other inputs", {
      where: folder,
      expected: "the same start prompt, mask, rows, settings and base model",
      hint: "start the search in another folder",
    });
  const parsed = form.safeParse(parseJson(opened.body, path, "run"));
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    if (issue.path.join(".") === "cost.paperFlops" && issue.code === "invalid_type") return null;
    throw wrong(path, `${issue.path.join(".") || "the file"}: ${issue.message}`);
  }
  const { mask, prompt, ...rest } = parsed.data;
  const data = floatsFromText(prompt.data, path, "run");
  if (data.length !== prompt.shape[0] * prompt.shape[1] || !data.every(Number.isFinite))
    throw wrong(path, `the prompt is not ${prompt.shape.join(" × ")} finite numbers`);
  return { ...rest, mask: mask === null ? null : maskFromJson(mask, path), prompt: { shape: prompt.shape, data } };
}

function wrong(where: string, got: string): SoftpromptError {
  return new SoftpromptError("run", "this is not a candidate as a search writes it", {
    where,
    got,
    hint: "remove the candidate's folder; it is trained again",
  });
}

const count = z.int().nonnegative();
const amount = z.number().nonnegative();
/** JSON has no NaN and no infinity: such a number is written as null. */
const loss = z.union([z.number(), z.null().transform(() => Number.NaN)]);
const score = z.union([z.number(), z.null().transform(() => Number.NEGATIVE_INFINITY)]);
/** A candidate's cost, as files of all versions hold it. */
export const costForm = z.object({
  trainFlops: amount,
  evalFlops: amount,
  paperFlops: amount,
  seconds: amount,
  trainSeconds: amount,
  evalSeconds: amount,
}) satisfies z.ZodType<CandidateCost>;
const history = z.array(z.object({ step: count, score: loss, loss, flops: amount }));

const form = z.object({
  name: z.string().max(200),
  tokensPruned: count,
  piecesPruned: count,
  mask: z.unknown(),
  counts: z.object({ tokens: count, pieces: count, parameters: count, fraction: amount }),
  prompt: z.object({ shape: z.tuple([count, count]), data: z.string() }),
  score,
  scores: z.record(z.string(), loss),
  loss,
  bestStep: count,
  steps: count,
  finished: z.boolean(),
  failed: z.string().max(10_000).optional(),
  cost: costForm,
  history,
  rungs: history,
  rungFlops: amount,
  rungSeconds: amount,
});
