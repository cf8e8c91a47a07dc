/**
 * @file Throws mutated files at the readers, in processes that may hang, die or eat memory: they are watched from here.
 *
 * In: formats, how many inputs of each. Out: a summary per format; a finding is an input that did not end in a value or in
 * SoftpromptError within its bounds. Format, seed and number give the input again (`--formats F --seed S --from N --runs 1`).
 */
import { spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { keptName, type Line, type State, type WorkerPlan } from "./names.js";

export interface FuzzSettings {
  /** The bundled worker.ts. */
  readonly program: string;
  readonly fixtures: string;
  readonly formats: readonly string[];
  /** Inputs of each format, and the number of the first. */
  readonly runs: number;
  readonly from?: number;
  readonly seed: number;
  /** Begin no further range after so many minutes. Default none. */
  readonly minutes?: number;
  /** Processes side by side. Default 2. */
  readonly jobs?: number;
  /** Folder for the inputs of findings. */
  readonly findings: string;
  readonly progress?: (line: string) => void;
  /** Told after every range: a run of hours that is stopped has its figures. */
  readonly soFar?: (summaries: readonly FormatSummary[]) => void;
}

export interface FormatSummary {
  readonly format: string;
  readonly inputs: number;
  readonly read: number;
  readonly refused: number;
  /** Different reasons for refusal: how far behind the first check the inputs came. */
  readonly reasons: readonly string[];
  /** Milliseconds of processor time of the slowest input. */
  readonly slowest: number;
  /** Largest growth of resident memory during one input, in MB. */
  readonly growthMb: number;
  /** Inputs at which the faster way hung or died, and which the product's own way answered within its limits. */
  readonly leftToLimits: number;
  readonly findings: readonly { readonly input: number; readonly problem: string }[];
  readonly seconds: number;
}

/** Inputs per process; a new one starts clean. */
const chunk = 5_000;
/**
 * Milliseconds at one input after which a process hangs: of its processor time, which is thrice the limit of a slow input, or on
 * the clock, for one that waits for ever. A loaded machine may let a process stand still for half a minute.
 */
const patience = { processor: 6_000, clock: 120_000 };

interface Tally {
  inputs: number;
  read: number;
  refused: number;
  reasons: Set<string>;
  slowest: number;
  growth: number;
  leftToLimits: number;
  findings: { input: number; problem: string }[];
  seconds: number;
}

export async function fuzz(settings: FuzzSettings): Promise<FormatSummary[]> {
  const first = settings.from ?? 0;
  const tallies = new Map(
    settings.formats.map((format): [string, Tally] => [
      format,
      {
        ...{ inputs: 0, read: 0, refused: 0, slowest: 0, growth: 0, leftToLimits: 0, seconds: 0 },
        reasons: new Set(),
        findings: [],
      },
    ]),
  );
  // a range of every format in turn, so that a run that is cut short has tried them all
  const work = Array.from({ length: Math.ceil(settings.runs / chunk) }, (_, n) => n).flatMap((n) =>
    settings.formats.map((format) => ({
      format,
      from: first + n * chunk,
      to: first + Math.min(settings.runs, (n + 1) * chunk),
    })),
  );
  const deadline = performance.now() + (settings.minutes ?? Number.POSITIVE_INFINITY) * 60_000;
  const one = async () => {
    for (let next = work.shift(); next !== undefined && performance.now() < deadline; next = work.shift()) {
      const started = performance.now();
      const tally = tallies.get(next.format)!;
      await fuzzRange(settings, next, tally);
      tally.inputs += next.to - next.from;
      tally.seconds += (performance.now() - started) / 1000;
      settings.soFar?.(summaries(tallies));
      const { read, refused, reasons, slowest, findings } = tally;
      settings.progress?.(
        `${next.format}: ${read + refused} of ${settings.runs}, ${read} read, ${refused} refused for ${reasons.size} reasons, slowest ${slowest} ms, ${findings.length} findings`,
      );
    }
  };
  await Promise.all(Array.from({ length: settings.jobs ?? 2 }, one));
  return summaries(tallies);
}

function summaries(tallies: ReadonlyMap<string, Tally>): FormatSummary[] {
  return [...tallies].map(([format, { reasons, growth, seconds, ...tally }]) => ({
    format,
    ...tally,
    reasons: [...reasons].sort(),
    growthMb: Math.round(growth / 1e6),
    seconds: Math.round(seconds),
  }));
}

/** One range of one format: a process after another until every input was tried. */
async function fuzzRange(
  settings: FuzzSettings,
  range: Pick<WorkerPlan, "format" | "from" | "to">,
  tally: Tally,
): Promise<void> {
  const found = (input: number, problem: string, scratch: string) => {
    tally.findings.push({ input, problem });
    // one fault is found again and again: it is told once
    const fault = problem.slice(0, 60);
    if (!tally.findings.some((other) => other.input !== input && other.problem.startsWith(fault)))
      settings.progress?.(`${range.format}, input ${input}: ${problem}`);
    const name = keptName({ ...range, seed: settings.seed }, input);
    if (existsSync(join(scratch, "kept", name)))
      cpSync(join(scratch, "kept", name), join(settings.findings, name), {
        ...{ recursive: true, verbatimSymlinks: true },
        filter: (file) => lstatSync(file).size < 1e8, // not the giants that take no room only where they lie
      });
  };
  for (let from = range.from; from < range.to; ) {
    const scratch = scratchFolder();
    try {
      const plan = { ...range, from, seed: settings.seed, fixtures: settings.fixtures, scratch };
      const { state, lines, ended } = await worker(settings.program, { ...plan, mode: "fuzz" });
      if (state === null) throw new Error(`the fuzzing process of ${range.format} did not start: ${ended}`);
      tally.read += state.read;
      tally.refused += state.refused;
      tally.slowest = Math.max(tally.slowest, state.slowest);
      tally.growth = Math.max(tally.growth, state.growth);
      for (const line of lines) {
        if (line.kind === "reason") tally.reasons.add(line.reason);
        if (line.kind === "finding") found(line.input, line.problem, scratch);
        if (line.kind === "slow") {
          const { ended: end, lines: more } = await worker(settings.program, {
            ...{ ...plan, from: line.input, to: line.input + 1, mode: "careful" },
          });
          const wrong = more.find((other) => other.kind === "finding");
          if (wrong?.kind === "finding") found(line.input, wrong.problem, scratch);
          else if (end === null) tally.leftToLimits++;
          else found(line.input, end, scratch);
        }
      }
      from = state.input + 1;
      if (ended === null || state.input >= range.to) continue;
      const only = { ...plan, from: state.input, to: state.input + 1 };
      await worker(settings.program, { ...only, mode: "keep" });
      const again = range.format === "parquet" ? await worker(settings.program, { ...only, mode: "careful" }) : null;
      if (again?.ended === null && !again.lines.some((line) => line.kind === "finding")) {
        tally.leftToLimits++;
        tally.refused++;
      } else found(state.input, ended, scratch);
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  }
}

/** A folder of a worker, in memory where there is such a place, with bait: what links lead to and nobody may touch. */
function scratchFolder(): string {
  const scratch = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "softprompt-fuzz-"));
  const bait = join(scratch, "bait");
  mkdirSync(bait);
  writeFileSync(join(bait, "file"), "nobody writes here\n");
  spawnSync("mkfifo", [join(bait, "pipe")]); // where there is none, links to it lead nowhere
  return scratch;
}

/** Runs a worker to its end. @returns its last state, its lines, and how it ended: null where it went through */
function worker(
  program: string,
  plan: WorkerPlan,
): Promise<{ state: State | null; lines: Line[]; ended: string | null }> {
  const child = spawn(process.execPath, ["--max-old-space-size=1500", program, JSON.stringify(plan)], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines: Line[] = [];
  let errors = "";
  let done: State | null = null;
  let hung = false;
  let since = { input: -2, clock: 0, processor: 0 };
  const watch = setInterval(() => {
    const now = {
      input: stateOf(plan)?.input ?? -1,
      clock: performance.now(),
      processor: processorTime(child.pid!),
    };
    if (now.input !== since.input) since = now;
    hung =
      now.clock - since.clock > patience.clock ||
      // the product's own way works in a process of its own, and has its own deadline; loading the readers takes its time too
      (plan.mode === "fuzz" && now.input >= 0 && now.processor - since.processor > patience.processor);
    if (hung) child.kill("SIGKILL");
  }, 500);
  createInterface(child.stdout).on("line", (text) => {
    const line = JSON.parse(text) as Line;
    if (line.kind === "done") done = line.state;
    else lines.push(line);
  });
  child.stderr.on("data", (data) => {
    errors = (errors + data).slice(-2000);
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearInterval(watch);
      if (done !== null) resolve({ state: done, lines, ended: null });
      else
        resolve({
          state: stateOf(plan),
          lines,
          ended: hung ? "hangs" : `the process died (${signal ?? code}): ${errors.trim()}`,
        });
    });
  });
}

function stateOf({ scratch }: WorkerPlan): State | null {
  try {
    return JSON.parse(readFileSync(join(scratch, "state"), "utf8"));
  } catch {
    return null; // not begun, or just being written
  }
}

/** Milliseconds of processor time of a process; 0 where the system does not say. */
function processorTime(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!.split(" ");
    return 10 * (Number(fields[11]) + Number(fields[12])); // user and system, in ticks of 1/100 s
  } catch {
    return 0;
  }
}
