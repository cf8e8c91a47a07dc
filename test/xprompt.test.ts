/**
 * @file XPrompt's search on a real (tiny, random) T5: its choices, what it spends, exact resumption after every kind of death.
 * Authorities: runs of plain tuning, bit for bit; searches that were never stopped.
 */
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { adapterBase, loadAdapter, saveAdapter } from "../src/adapter/adapter.js";
import { sha256 } from "../src/base/files.js";
import { defaults } from "../src/base/options.js";
import type { Tensor } from "../src/base/tensor.js";
import type { Row } from "../src/data/row.js";
import { type Engine, openEngine } from "../src/engine/engine.js";
import { evaluate } from "../src/evaluate/evaluate.js";
import { entryMask, livePieces, maskFromScores, maskToJson } from "../src/method/mask.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { fullModel, partialModel } from "../src/model/partial.js";
import { ownMask } from "../src/prune/candidate.js";
import { importance } from "../src/prune/importance.js";
import { pruneOptions } from "../src/prune/options.js";
import { holdOut } from "../src/prune/space.js";
import { halvingPlan, linearFlops, planFlops } from "../src/prune/strategies.js";
import { type XPromptInput, type XPromptResult, xprompt } from "../src/prune/xprompt.js";
import { singleStage } from "../src/schedule/schedule.js";
import { forecast } from "../src/train/forecast.js";
import { bundle } from "./helpers/bundle.js";
import { memoryFolder } from "./helpers/memory-folder.js";
import { tinyTokenizer } from "./helpers/tiny.js";
import { D, K, openTiny, P, plain, prompt, rows, scoring, settings, task, validation } from "./helpers/tiny-prompt.js";
import { withoutClock } from "./helpers/without-clock.js";

const folders = memoryFolder("softprompt-xprompt-");
let engine: Engine;
beforeAll(async () => {
  engine = await openTiny();
});
afterAll(async () => {
  await engine?.dispose();
  rmSync(folders, { recursive: true, force: true });
});

const options = { ...defaults(pruneOptions), pieces: K, tokensPruned: [1, 2], piecesPruned: [2, 4], workers: 1 };
function search(more: Partial<XPromptInput> = {}): Promise<XPromptResult> {
  return xprompt({
    engine,
    tokenizer: tinyTokenizer,
    task,
    train: rows,
    validation,
    prompt,
    schedule: singleStage(engine.checkpoint.config, 8),
    retrainSchedule: singleStage(engine.checkpoint.config, 8),
    settings,
    options,
    run: null,
    resume: false,
    observe: () => {},
    ...more,
  });
}

describe("the search", () => {
  test("without validation rows a holdout chooses, and no score is made up for rows that there are not", async () => {
    const result = await search({ validation: [], options: { ...options, level: "tokens", holdout: 0.25 } });
    expect(result.best.scores).toHaveProperty("accuracy");
    expect(result.selection).toEqual({ split: "holdout", rows: 6, reportedRows: 0 });
    expect(result.reported).toEqual({ best: {}, control: {}, tuned: {} });
    expect(result.cost.reporting).toBe(0);
  });

  test("linear: token counts, then piece counts for the best; the control is plain tuning continued", async () => {
    const result = await search();
    const names = result.candidates.map((c) => c.name);
    expect(names.slice(0, 2)).toEqual(["t01-p00", "t02-p00"]);
    const first = result.candidates
      .slice(0, 2)
      .sort((a, b) => b.score - a.score || b.tokensPruned - a.tokensPruned)[0]!;
    expect(names.slice(2)).toEqual([2, 4].map((p) => `t0${first.tokensPruned}-p0${p}`));
    expect(result.best.score).toBe(Math.max(...result.candidates.map((c) => c.score)));
    for (const { counts, tokensPruned, piecesPruned } of result.candidates)
      expect(counts).toMatchObject({ tokens: P - tokensPruned, pieces: (P - tokensPruned) * (K - piecesPruned) });
    const control = await plain(engine, 8, { parameters: { prompt: result.tuned.prompt } });
    expect(result.control.prompt).toEqual(control.best.parameters.prompt);
    expect(result.mean.count).toBe(4);
    expect(result.selection).toEqual({ split: "validation", rows: 12, reportedRows: 12 });
    expect(result.reported.best).toEqual(result.best.scores);
    const { neurons, tuning, scoring, control: c, search: s, total } = result.cost;
    expect(total).toBe(neurons + tuning + scoring + c + s);
    expect(s).toBe(result.candidates.reduce((sum, { cost }) => sum + cost.trainFlops + cost.evalFlops, 0));
  });

  test("candidates start from the rewound values: tuned, initial, or of a step", async () => {
    const tuned = await plain(engine, 8, { keep: [3] });
    const only = { ...options, level: "tokens" as const, tokensPruned: [1] };
    const starts = { tuned: tuned.best.parameters.prompt!, init: prompt, "step:3": tuned.kept.get(3)!.prompt! };
    const live = entryMask(
      maskFromScores(await scoreOf(tuned.best.parameters.prompt!), { tokensPruned: 1, piecesPruned: 0 }),
      D,
    );
    for (const [rewindTo, values] of Object.entries(starts)) {
      const run = mkdtempSync(join(folders, "rewind-"));
      await search({ options: { ...only, rewindTo }, run: join(run, "x") });
      const job = await plain(engine, 8, {
        parameters: { prompt: { shape: [P, D], data: values.data.map((v, n) => (live[n] ? v : 0)) } },
        mask: maskFromScores(await scoreOf(tuned.best.parameters.prompt!), { tokensPruned: 1, piecesPruned: 0 }),
      });
      const kept = JSON.parse(readFileSync(join(run, "x/candidates/t01-p00/candidate.json"), "utf8")).body;
      expect(Buffer.from(kept.prompt.data, "base64")).toEqual(Buffer.from(job.best.parameters.prompt!.data.buffer));
    }
    await expect(search({ options: { ...only, rewindTo: "step:9" } })).rejects.toThrow(/N up to 8/);
  });

  const scoreOf = (at: Tensor) => importance(engine, tinyTokenizer, task, rows, at, scoring);

  test("a holdout chooses on rows that are neither trained on nor reported on", async () => {
    const result = await search({ options: { ...options, holdout: 0.25, tokensPruned: [1], level: "tokens" } });
    expect(result.selection).toEqual({ split: "holdout", rows: 6, reportedRows: 12 });
    expect(result.importance.examples).toBe(18);
    // what is reported is of the validation rows, measured here anew; the rows that chose would say something else
    const on = async (at: Tensor, scored: readonly Row[]) =>
      (await evaluate(engine, fullModel(engine.checkpoint.config), tinyTokenizer, task, scored, { prompt: at })).scores;
    for (const which of ["best", "control", "tuned"] as const) {
      const { prompt: kept, scores } = result[which];
      expect([which, result.reported[which]]).toEqual([which, await on(kept, validation)]);
      expect([which, scores]).toEqual([which, await on(kept, holdOut(rows, 0.25, settings.seed).held)]);
    }
    // the two may agree by chance; that rows were scored for the report may not
    expect(result.cost.reporting).toBeGreaterThan(0);
  });

  test("dropped tokens leave the sequence: fewer FLOPs, a shorter prompt", async () => {
    const one = { ...options, level: "tokens" as const, tokensPruned: [2] };
    const zero = await search({ options: one });
    const drop = await search({ options: { ...one, prunedTokens: "drop" } });
    expect(zero.best.prompt.shape).toEqual([P, D]);
    expect(drop.best.prompt.shape).toEqual([P - 2, D]);
    expect(drop.best.cost.trainFlops).toBeLessThan(zero.best.cost.trainFlops);
    expect(drop.best.mask).toEqual(zero.best.mask);
    expect(drop.best.counts).toEqual(zero.best.counts);
    expect(zero.best.counts).toMatchObject({ tokens: P - 2, pieces: (P - 2) * K, fraction: 0.5 });
  });

  test("dropped and zeroed, the same cells have the same mask and sizes; each adapter predicts as its candidate", async () => {
    const [zero, drop] = await Promise.all(
      (["zero", "drop"] as const).map((prunedTokens) =>
        search({ options: { ...options, search: "grid", prunedTokens } }),
      ),
    );
    const facts = ({ candidates }: XPromptResult) =>
      candidates.map(({ name, mask, counts }) => ({ name, mask, counts }));
    expect(facts(drop!)).toEqual(facts(zero!));
    expect(drop!.best.counts.fraction).toBe(drop!.best.counts.parameters / (P * D));
    for (const { best } of [zero!, drop!])
      for (const form of ["both", "compact"] as const) {
        const folder = mkdtempSync(join(folders, "adapter-"));
        saveAdapter(
          folder,
          {
            prompt: best.prompt,
            mask: ownMask(best),
            base: await adapterBase(engine.checkpoint),
            tokenizer: tinyTokenizer.sha256,
            task,
            training: { method: "xprompt", schedule: [], seed: 0, settings: {} },
            scores: null,
            kept: { config: {}, extras: {} },
          },
          form,
        );
        const loaded = loadAdapter(folder);
        expect(loaded.prompt).toEqual(best.prompt);
        expect(loaded.mask).toEqual(ownMask(best));
        const told = (at: Tensor) =>
          evaluate(engine, fullModel(engine.checkpoint.config), tinyTokenizer, task, validation, { prompt: at });
        const { predictions, scores } = await told(loaded.prompt);
        expect(predictions).toEqual((await told(best.prompt)).predictions);
        expect(scores).toEqual(best.scores);
      }
  });

  test("a dropped prompt's file of an earlier version, with the mask of its survivors, is read as the whole prompt's", async () => {
    const run = join(folders, "earlier");
    const dropping = { ...options, prunedTokens: "drop" as const };
    const now = await search({ run, options: dropping });
    const file = join(run, "candidates", now.best.name, "candidate.json");
    const [, key, body] = /^{"key":"(.*?)","sha256":".*?","body":(.*)}\n$/s.exec(readFileSync(file, "utf8"))!;
    const old = JSON.parse(body!);
    old.mask = maskToJson(ownMask(now.best)!);
    old.counts = { tokens: 1, pieces: 1, parameters: 1, fraction: 1 };
    const text = JSON.stringify(old);
    writeFileSync(file, `{"key":"${key}","sha256":"${sha256(text)}","body":${text}}\n`);
    expect(withoutClock(await search({ run, options: dropping, resume: true }))).toEqual(withoutClock(now));
    // before costs were kept apart: the finished run beside it says them, and nothing is trained
    delete old.cost.paperFlops;
    const older = JSON.stringify(old);
    writeFileSync(file, `{"key":"${key}","sha256":"${sha256(older)}","body":${older}}\n`);
    let steps = 0;
    const observe = (e: { kind: string; event?: { kind: string } }) => void (e.event?.kind === "step" && steps++);
    const again = await search({ run, options: dropping, resume: true, observe: observe as XPromptInput["observe"] });
    expect(withoutClock(again)).toEqual(withoutClock(now));
    expect(steps).toBe(0);
  });

  test("pieces can be scored again after the tokens are pruned, and ranked over all tokens", async () => {
    const run = join(folders, "rescored");
    const once = await search();
    const again = await search({ run, options: { ...options, rescorePieces: true, pieceRanking: "global" } });
    const { tokensPruned } = again.candidates.at(-1)!;
    expect(existsSync(join(run, `scores-t${tokensPruned}.json`))).toBe(true);
    expect(again.cost.scoring).toBeGreaterThan(1.9 * once.cost.scoring);
    const last = again.candidates.at(-1)!;
    expect(last.counts.pieces).toBe((P - tokensPruned) * (K - last.piecesPruned));
    expect(new Set(livePieces(last.mask!).filter((n) => n > 0)).size).toBeGreaterThan(1);
  });

  test.each(["zero", "drop"] as const)(
    "iterative: survivors are scored anew and pruned further (%s)",
    async (prunedTokens) => {
      const own = { ...options, tokensPruned: [1, 2, 3], piecesPruned: [2, 4, 6], prunedTokens };
      const linear = await search({ options: own });
      const run = join(folders, `iterative-${prunedTokens}`);
      const found = await search({ run, options: { ...own, search: "iterative" } });
      // the first has nothing before it: it is linear's own
      expect(found.candidates[0]).toEqual({ ...linear.candidates[0], cost: expect.anything() });
      expect(found.candidates.map(({ tokensPruned }) => tokensPruned).slice(0, 3)).toEqual([1, 2, 3]);
      const best = found.candidates
        .slice(0, 3)
        .sort((a, b) => b.score - a.score || b.tokensPruned - a.tokensPruned)[0]!;
      const chain = [...found.candidates.slice(0, 3), best, ...found.candidates.slice(3)];
      for (const [i, { mask, counts, tokensPruned, piecesPruned }] of chain.entries()) {
        expect(counts).toMatchObject({ tokens: P - tokensPruned, pieces: (P - tokensPruned) * (K - piecesPruned) });
        const before = chain[i - 1];
        if (before === undefined || i === 3) continue;
        const [live, earlier] = [entryMask(mask!, D), entryMask(before.mask!, D)];
        expect(live.every((alive, n) => !alive || earlier[n])).toBe(true);
      }
      // the second is pruned by the importance of the first, after its retraining
      const [first, second] = found.candidates;
      const again = await scoreOf(first!.prompt);
      const kept = [...first!.mask!.tokens.keys()].filter((i) => first!.mask!.tokens[i]);
      const scores = prunedTokens === "zero" ? kept.map((i) => again.tokens[i]!) : [...again.tokens];
      const lowest = kept[scores.indexOf(Math.min(...scores))]!;
      expect([first!.mask!.tokens[lowest], second!.mask!.tokens[lowest]]).toEqual([1, 0]);
      // six candidates, of which the last is not scored, and the tuned prompt
      expect(found.cost.scoring).toBeGreaterThan(linear.cost.scoring * (prunedTokens === "zero" ? 4.9 : 3));
      expect(withoutClock(await search({ run, resume: true, options: { ...own, search: "iterative" } }))).toEqual(
        withoutClock(found),
      );
      // other counts, in the same folder: what is pruned after others is another candidate
      const fewer = { ...own, search: "iterative" as const, tokensPruned: [2, 3] };
      const other = await search({ run, resume: true, options: fewer });
      expect(other.candidates.map(({ name }) => name)).not.toContain(found.candidates[2]!.name);
    },
  );

  test("FPT × XPrompt: partial models in the tuning, the scoring and the retrainings", async () => {
    const { config } = engine.checkpoint;
    const growing = {
      ...singleStage(config, 8),
      name: "fpt",
      stages: [
        { partial: partialModel(config, { depth: 2 }), steps: 4 },
        { partial: fullModel(config), steps: 4 },
      ] as const,
    };
    const whole = await search();
    const fast = await search({
      schedule: growing,
      retrainSchedule: growing,
      options: { ...options, importanceDepth: 2 },
    });
    expect(fast.cost.total).toBeLessThan(whole.cost.total);
    expect(fast.importance.partial).not.toBe("full");
    expect(fast.candidates.length).toBe(4);
  });
});

test("halving: rungs continue where they stopped, and what it spent, evaluations and all, is what its plan says", async () => {
  const retrainSchedule = singleStage(engine.checkpoint.config, 16);
  const wide = { ...options, piecesPruned: [1, 2, 4, 6], tokensPruned: [1, 2, 3], halvingMinSteps: 2 };
  const trained = new Map<string, number[]>();
  const halving = await search({
    retrainSchedule,
    options: { ...wide, search: "halving" },
    observe: (e) => {
      if (e.kind === "candidate" && e.event.kind === "step" && e.name !== "control")
        trained.set(e.name, [...(trained.get(e.name) ?? []), e.event.step]);
    },
  });
  const linear = await search({ retrainSchedule, options: wide });
  // no step is ever done twice, none is left out
  for (const steps of trained.values()) expect(steps).toEqual(steps.map((_, i) => i + 1));
  const foreseen = forecast({
    ...{
      engine,
      tokenizer: tinyTokenizer,
      task,
      train: rows,
      validation,
      parameters: { prompt },
      mask: null,
      settings,
    },
    ...{ schedule: retrainSchedule, run: null, observe: () => {} },
  });
  const space = {
    ...{ tokens: [1, 2, 3], pieces: [1, 2, 4, 6], steps: 16, halvingMinSteps: 2, halvingBudget: 0.4 },
    forecast: () => foreseen,
  };
  const plan = halvingPlan(15, space);
  // the rungs that end at steps 4 and 8 are evaluated by the trainer alone, the one that ends at 2 by the search
  expect(plan.map(({ steps }) => steps)).toEqual([2, 4, 8, 16]);
  const measured = (r: XPromptResult) => r.candidates.reduce((sum, c) => sum + c.cost.trainFlops + c.cost.evalFlops, 0);
  expect(measured(halving) / planFlops(plan, foreseen)).toBeCloseTo(1, 9);
  expect(measured(linear) / linearFlops(space)).toBeCloseTo(1, 9);
  expect(measured(halving) / measured(linear)).toBeLessThanOrEqual(0.4);
  expect(halving.cost.search).toBe(measured(halving));
  expect(halving.best.finished).toBe(true);
  expect(halving.mean.count).toBe(halving.candidates.filter((c) => c.finished).length);
  // an early-stopped candidate is reported as such, with what it had reached
  expect(halving.candidates.some((c) => !c.finished && c.steps === 2 && Number.isFinite(c.score))).toBe(true);
});

describe("interruption", () => {
  test("a search stopped anywhere and resumed gives the same result as one that was not", async () => {
    const whole = withoutClock(await search({ run: join(folders, "whole") }));
    for (const stopAt of [3, 14, 31]) {
      const run = join(folders, `stopped-${stopAt}`);
      let steps = 0;
      const stop = new AbortController();
      const count = (event: { kind: string }) => {
        if (event.kind === "step" && ++steps === stopAt) stop.abort("SIGINT");
      };
      const stopped = search({
        run,
        signal: stop.signal,
        observe: (e) => (e.kind === "tune" || e.kind === "candidate") && count(e.event),
      });
      await expect(stopped).rejects.toMatchObject({ kind: "interrupted", exitCode: 130 });
      expect(withoutClock(await search({ run, resume: true }))).toEqual(whole);
    }
    expect(steps(await countSteps(join(folders, "whole")))).toBe(0);
    await expect(search({ run: join(folders, "whole") })).rejects.toThrow(/already holds a search/);
    await expect(
      search({ run: join(folders, "whole"), resume: true, options: { ...options, pieces: 16 } }),
    ).rejects.toThrow(/changed/);
  });

  /** Steps that resuming a finished search takes. */
  async function countSteps(run: string): Promise<string[]> {
    const seen: string[] = [];
    await search({ run, resume: true, observe: (e) => e.kind === "candidate" && seen.push(e.event.kind) });
    return seen;
  }
  const steps = (seen: string[]) => seen.filter((kind) => kind === "step").length;

  test("a torn candidate file costs nothing but its reading", async () => {
    const run = join(folders, "torn");
    const whole = withoutClock(await search({ run }));
    const file = join(run, "candidates/t01-p00/candidate.json");
    writeFileSync(file, readFileSync(file, "utf8").slice(0, 500));
    expect(withoutClock(await search({ run, resume: true }))).toEqual(whole);
  });
});

test("worker processes find what one process finds", { timeout: 120_000 }, async () => {
  const base = join(folders, "base");
  mkdirSync(base);
  cpSync(fileURLToPath(new URL("fixtures/tiny-t5-v11", import.meta.url)), base, { recursive: true });
  // not the defaults: what a worker's engine computes with is what its parent's does
  const own = openEngine(await openCheckpoint(base), { threads: 1, lowMemory: true, plainOps: true });
  try {
    const module = await bundle("test/helpers/tiny-worker.ts");
    const tokens = { ...options, level: "tokens" as const };
    const one = await search({ engine: own, options: tokens });
    const two = await search({
      engine: own,
      options: tokens,
      run: join(folders, "workers"),
      workers: { count: 2, module },
    });
    expect(existsSync(join(folders, "workers/candidates/worker.json"))).toBe(true);
    expect(withoutClock(two)).toEqual(withoutClock(one));
    for (const { name } of [...two.candidates, two.control]) {
      const { identity } = JSON.parse(readFileSync(join(folders, "workers/candidates", name, "run/run.json"), "utf8"));
      expect([identity["engine.lowMemory"], identity["engine.plainOps"]]).toEqual(["true", "true"]);
    }
  } finally {
    await own.dispose();
  }
});

test("killed again and again, with workers, a search ends as one that was not, and repeats at most the step in progress", async () => {
  const base = fileURLToPath(new URL("fixtures/tiny-t5-v11", import.meta.url));
  const [program, module] = [await bundle("test/helpers/tiny-search.ts"), await bundle("test/helpers/tiny-worker.ts")];
  const start = (run: string, workers: number, killAt: number) =>
    new Promise<{ lines: string[]; code: number | null }>((resolve) => {
      const child = spawn(process.execPath, [program, base, join(folders, run), String(workers), module]);
      const lines: string[] = [];
      let rest = "";
      child.stdout.on("data", (bytes: Buffer) => {
        const parts = (rest + bytes.toString()).split("\n");
        rest = parts.pop()!;
        lines.push(...parts);
        if (lines.length >= killAt) child.kill("SIGKILL");
      });
      child.on("close", (code) => resolve({ lines, code }));
    });
  const whole = await start("kill-none", 1, Number.POSITIVE_INFINITY);
  expect(whole.code).toBe(0);
  for (const workers of [1, 2]) {
    const seen: string[] = [];
    let end: Awaited<ReturnType<typeof start>> | null = null;
    let kills = 0;
    // the first line of a process may be a step done again; with two workers, one of each
    for (const killAt of [3, 9, 17, 14, Number.POSITIVE_INFINITY]) {
      end = await start(`kill-${workers}`, workers, killAt);
      seen.push(...end.lines.filter((line) => line.startsWith("step")));
      if (end.code === null) kills++;
      else break;
    }
    expect(kills).toBeGreaterThanOrEqual(3);
    expect(end!.code).toBe(0);
    const result = (lines: string[]) => JSON.parse(lines.at(-1)!.replace(/^result /, ""));
    expect(result(end!.lines)).toEqual(result(whole.lines));
    const repeated = seen.length - new Set(seen).size;
    expect(repeated).toBeLessThanOrEqual(kills * workers);
  }
});

describe("a candidate whose numbers go wrong", () => {
  /** The engine, in which a prompt with so many zero tokens has no finite loss. */
  const broken = (...zeroTokens: number[]): Engine =>
    Object.create(engine, {
      train: {
        value: async (...which: Parameters<Engine["train"]>) => {
          const program = await engine.train(...which);
          const run: typeof program.run = async (given, batch, weights) => {
            const found = await program.run(given, batch, weights);
            const { data } = (given as { prompt: Tensor }).prompt;
            const rows = Array.from({ length: P }, (_, n) => data.subarray(n * D, (n + 1) * D));
            const zero = rows.filter((row) => row.every((value) => value === 0)).length;
            return zeroTokens.includes(zero) ? { ...found, loss: found.loss.map(() => Number.NaN) } : found;
          };
          return { run };
        },
      },
    });

  test("is ranked last, counted, kept, and not tried again; the others are trained as without it", async () => {
    const folder = join(folders, "one-fails");
    const whole = await search();
    const events: string[] = [];
    const found = await search({
      engine: broken(2),
      run: folder,
      observe: (event) => {
        if (event.kind === "candidate" && event.event.kind === "skip") events.push(event.name);
      },
    });
    const failed = found.candidates.filter((candidate) => candidate.failed !== undefined);
    expect(failed.map(({ name, finished, score }) => [name, finished, score])).toEqual([["t02-p00", false, -Infinity]]);
    expect(failed[0]!.failed).toMatch(/not finite/);
    expect(failed[0]!.cost.trainFlops).toBeGreaterThan(0);
    expect(found.cost.search).toBeGreaterThan(failed[0]!.cost.trainFlops);
    const same = (name: string) => [whole, found].map(({ candidates }) => candidates.find((one) => one.name === name));
    const [before, now] = same("t01-p00");
    expect(now!.prompt).toEqual(before!.prompt);
    expect(found.best.failed).toBeUndefined();
    expect(found.mean.count).toBe(found.candidates.length - 1);
    expect(Number.isFinite(found.mean.score)).toBe(true);
    expect(events).toContain("t02-p00");
    events.length = 0;
    const again = await search({ engine: broken(2), run: folder, resume: true });
    expect(events).toEqual([]);
    expect(again.candidates.map(({ name, failed }) => [name, failed])).toEqual(
      found.candidates.map(({ name, failed }) => [name, failed]),
    );
  });

  test("ends the search where every one goes wrong, and where it is the control", async () => {
    await expect(search({ engine: broken(1, 2) })).rejects.toMatchObject({
      kind: "numeric",
      problem: "no candidate could be trained to its end",
    });
    await expect(search({ engine: broken(0) })).rejects.toMatchObject({ kind: "numeric" });
  });

  test("iterative pruning goes on from the last that was trained", async () => {
    const found = await search({ engine: broken(1), options: { ...options, search: "iterative", piecesPruned: [] } });
    expect(found.candidates.map(({ name, failed }) => [name.slice(0, 3), failed === undefined])).toEqual([
      ["t01", false],
      ["t02", true],
    ]);
  });
});
