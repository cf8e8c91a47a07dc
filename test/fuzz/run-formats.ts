/** @file Formats of run folders: written by a real training on the fake engine, read by what resumes and reports. */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SoftpromptError } from "../../src/base/errors.js";
import { sha256 } from "../../src/base/files.js";
import { readConfig } from "../../src/cli/config.js";
import { resultText } from "../../src/cli/summary.js";
import { trainTable } from "../../src/cli/tables/train.js";
import { initParameters } from "../../src/optim/parameters.js";
import { trainCandidate } from "../../src/prune/candidate.js";
import { readCandidate } from "../../src/prune/candidate-file.js";
import { importance } from "../../src/prune/importance.js";
import { readPruneResult } from "../../src/prune/record.js";
import { claimFolder, keptScores } from "../../src/prune/search-files.js";
import { reportPage } from "../../src/report/html.js";
import { prunePage, pruneText } from "../../src/report/prune.js";
import { type RunResult, whereWeAre } from "../../src/run/result.js";
import { loadSnapshot } from "../../src/run/snapshot.js";
import { trainRun } from "../../src/run/train.js";
import { singleStage } from "../../src/schedule/schedule.js";
import type { Model } from "../../src/tasks/model.js";
import { prune } from "../../src/tasks/prune.js";
import { readRunReport } from "../../src/tasks/run-report.js";
import { tensorHash } from "../../src/train/identity.js";
import { prepare } from "../../src/train/job.js";
import { checkState, initialState } from "../../src/train/state.js";
import { fakeConfig, fakeEngine, fakeRows, fakeTask, fakeTokenizer } from "../helpers/fake-engine.js";
import { fptJob, startPrompt } from "../helpers/job.js";
import { type Content, type Files, type Format, inFolder } from "./format.js";
import { checksummed, safetensors } from "./framed.js";
import { bytesOf, chance, editBytes, json, jsonLines, type Mutator, textOf } from "./mutate.js";

export function runFormats(): Record<string, Format> {
  const job = fptJob();
  const run = once(() => inScratch(async (folder) => void (await trainRun({ ...job, run: folder }))));
  const aborted = AbortSignal.abort("SIGTERM");
  return {
    "run folder": {
      ...inFolder(
        async () => [await run()],
        [
          [/^run\.json$/, json],
          [/^metrics\.jsonl$/, jsonLines],
          [/snapshots\/.*\.json$/, checksummed],
          [/snapshots\/.*\.safetensors$/, safetensors],
        ],
        (folder) => trainRun({ ...job, run: folder, resume: true, signal: aborted }),
      ),
    },
    checkpoint: resealedPairs(
      inFolder(
        async () => {
          const two = part(await run(), /^snapshots\//);
          const newest = Object.keys(two)
            .sort()
            .at(-1)!
            .replace(/\.\w+$/, "");
          return [two, part(two, new RegExp(`^${newest}\\.`))];
        },
        [
          [/\.json$/, checksummed],
          [/\.safetensors$/, safetensors],
        ],
        (folder) => {
          const saved = loadSnapshot(join(folder, "snapshots"), () => {});
          if (saved === null) return;
          const { start, optimizer, input, totalSteps } = prepare({ ...job, run: null });
          const fresh = initialState(start, initParameters(optimizer, start), "full", input.keep ?? []);
          checkState(saved.state, fresh, { stages: input.schedule.stages.length, totalSteps }, folder);
        },
      ),
    ),
    "metrics.jsonl": report(run, /^metrics\.jsonl$/, jsonLines),
    "result.json": report(run, /^result\.json$/, json),
    "predictions.jsonl": report(run, /^predictions\.jsonl$/, jsonLines),
    "search's result.json": inFolder(
      once(async () => [part(await inScratch(searchOnce), /^result\.json$/)]),
      [[/json$/, json]],
      (folder) => {
        const found = readPruneResult(folder);
        if (found === null) throw new SoftpromptError("run", "this is the result of no search", { where: folder });
        pruneText(found);
        return prunePage(found);
      },
    ),
    "candidate.json": inFolder(
      once(async () => [part(await inScratch(trainOneCandidate), /^candidate\.json$/)]),
      [[/json$/, checksummed]],
      (folder) => {
        const found = readCandidate(folder);
        if (found === null) return;
        if (found.prompt.data.length !== found.prompt.shape.reduce((a, b) => a * b, 1))
          throw new Error("a prompt that is not as long as its shape");
        found.history.map(({ step, score, loss, flops }) => step + score + loss + flops);
        found.cost.trainFlops.toFixed();
        found.rungs.map(({ step }) => step.toFixed());
      },
    ),
    "search.json": inFolder(
      () => inScratchSync((folder) => claimFolder(folder, { a: "1", "training rows": "ab".repeat(32) }, false)),
      [[/json$/, json]],
      (folder) => claimFolder(folder, { a: "1", "training rows": "ab".repeat(32) }, true),
    ),
    "scores.json": inFolder(
      once(async () => [await inScratch(async (folder) => void (await readScores(folder, measured)))]),
      [[/json$/, checksummed]],
      async (folder) => {
        const scores = await readScores(folder, async () => {
          throw new SoftpromptError("run", "the scores are measured again", { where: folder });
        });
        if (scores.tokens.length !== 4 || scores.pieces.length !== 16) throw new Error("scores of another prompt");
        for (const value of [...scores.tokens, ...scores.pieces, scores.flops, scores.seconds])
          if (!Number.isFinite(value)) throw new Error("a score that is no number");
      },
    ),
    "config.yaml": inFolder(
      () => [
        {
          "config.yaml": bytesOf(
            'task: sst2\ndata: d\nsteps: 20\nlearningRate: 0.3\nverbalizer:\n  "0": bad\n  "1": good\n',
          ),
        },
        { "config.yaml": bytesOf('{"task":"sst2","data":"d","steps":20,"depths":[0.5,1]}') },
      ],
      [[/yaml$/, (bytes, draw, others) => (bytes[0] === 0x7b ? json : editBytes)(bytes, draw, others)]],
      (folder) => readConfig(join(folder, "config.yaml"), trainTable),
    ),
  };
}

const measured = () =>
  importance(fakeEngine(), fakeTokenizer, fakeTask, fakeRows(8), startPrompt, {
    pieces: 4,
    layout: "contiguous",
    mode: "perExample",
    normalise: false,
    maxExamples: 0,
    batchSize: 4,
    maxInputTokens: 64,
    seed: 0,
  });
const readScores = (folder: string, measure: typeof measured) =>
  keptScores(join(folder, "scores.json"), tensorHash(startPrompt), { tokens: 4, pieces: 4 }, measure);

/** A search of four candidates. */
async function searchOnce(folder: string): Promise<void> {
  const engine = fakeEngine();
  const checkpoint = { ...engine.checkpoint, parameters: 1000, bytes: 4000 };
  const model: Model = { checkpoint, tokenizer: fakeTokenizer, engine, device: "cpu", dispose: async () => {} };
  const data = { task: fakeTask, train: fakeRows(16), validation: fakeRows(12), test: [], files: [], skipped: 0 };
  await prune(model, data, {
    ...{
      virtualTokens: 4,
      init: "uniform",
      steps: 4,
      batchSize: 8,
      microBatchSize: 8,
      evalEvery: 2,
      learningRate: 0.05,
    },
    ...{ pieces: 4, tokensPruned: [1, 2], piecesPruned: [1, 2], workers: 1, baselines: false, output: folder },
  });
}

async function trainOneCandidate(folder: string): Promise<void> {
  const { task, train: rows, validation, settings, parameters, mask } = fptJob();
  const prompt = parameters.prompt!;
  const schedule = singleStage(fakeConfig, 6);
  const how = {
    engine: fakeEngine(),
    tokenizer: fakeTokenizer,
    task,
    train: rows,
    selection: validation,
    schedule,
    settings,
  };
  await trainCandidate(
    how,
    { name: "t01-p01", tokensPruned: 1, piecesPruned: 1, prompt, mask, drop: false },
    folder,
    4,
  );
}

/** The report of a run, of which one file is changed. */
function report(run: () => Promise<Files>, name: RegExp, mutator: Mutator): Format {
  return inFolder(
    async () => [
      {
        "metrics.jsonl": (await run())["metrics.jsonl"] as Content,
        "result.json": bytesOf(JSON.stringify(result)),
        "predictions.jsonl": predictions,
      },
    ],
    [[name, mutator]],
    (folder) => {
      const told = readRunReport(folder);
      resultText(told.result);
      return reportPage(told);
    },
  );
}

const predictions = bytesOf(
  ["bad", "good"]
    .map(
      (label, n) =>
        `${JSON.stringify({ id: `v:${n}`, input: "x", label: "1", text: "good", probabilities: { 0: 0.25, 1: 0.75 }, trueLabel: String(n), target: label, correct: n === 1 })}\n`,
    )
    .join(""),
);

const result: RunResult = {
  run: {
    task: "sst2",
    method: "prompt-tuning",
    options: { steps: 20, verbalizer: { 0: "bad" } },
    seed: 0,
    commit: null,
    reason: "steps",
    steps: 20,
    bestStep: 10,
  },
  scores: { accuracy: 0.75, macroF1: Number.NaN },
  scoredOn: { split: "validation", rows: 2 },
  baseline: { majority: { accuracy: 0.5 }, noPrompt: null },
  cost: {
    ...{
      flops: 1e12,
      trainFlops: 8e11,
      evalFlops: 2e11,
      paperFlops: 1e11,
      scoringFlops: 0,
      seconds: 3,
      trainSeconds: 2,
      evalSeconds: 1,
      openSeconds: 0,
    },
    perStage: [
      { partial: "full", steps: 20, seconds: 2, evalSeconds: 1, openSeconds: 0, flops: 8e11, paperFlops: 1e11 },
    ],
    ...{ scoringSeconds: 0, trainedParameters: 640, baseParameters: 1e7, adapterBytes: 3000, peakBytes: 1e9 },
  },
  where: whereWeAre({
    device: "cpu",
    model: { name: "fake", sha256: "0".repeat(64) },
    data: [{ path: "train.jsonl", sha256: "0".repeat(64), rows: 2 }],
  }),
};

/** Makes the JSON of a pair name the tensors that lie beside it, in half of the inputs. */
function resealedPairs(format: Format): Format {
  return {
    ...format,
    mutate: (sound, draw, all) => {
      const files: Record<string, Content> = { ...format.mutate(sound, draw, all) };
      if (chance(draw, 0.5))
        for (const [name, content] of Object.entries(files)) {
          const pair = name.replace(/json$/, "safetensors");
          const tensors = files[pair];
          if (pair === name || !(content instanceof Uint8Array) || !(tensors instanceof Uint8Array)) continue;
          const match = /^\{"sha256":"[0-9a-f]{64}","body":(.*)\}\n$/s.exec(textOf(content));
          if (match === null) continue;
          const body = match[1]!.replace(/("tensors":")[0-9a-f]{64}/, `$1${sha256(tensors)}`);
          files[name] = bytesOf(`{"sha256":"${sha256(body)}","body":${body}}\n`);
        }
      return files;
    },
  };
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

/** The files that `write` leaves in a folder of its own. */
async function inScratch(write: (folder: string) => Promise<void>): Promise<Files> {
  const folder = mkdtempSync(join(tmpdir(), "softprompt-fuzz-run-"));
  try {
    await write(folder);
    return filesOf(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function inScratchSync(write: (folder: string) => void): Promise<readonly Files[]> {
  return [await inScratch(async (folder) => write(folder))];
}

function filesOf(folder: string): Files {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    names.map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return [path.slice(folder.length + 1), new Uint8Array(readFileSync(path))];
    }),
  );
}

function part(files: Files, names: RegExp): Files {
  return Object.fromEntries(Object.entries(files).filter(([name]) => names.test(name)));
}
