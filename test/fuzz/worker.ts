/**
 * @file The process that reads hostile inputs: one format, a range of numbers. Watched from outside (harness.ts).
 *
 * In: a WorkerPlan as JSON. Out: a State in the state file before every input, so that whoever kills this process knows which
 * one hangs; and lines of JSON on stdout: findings, reasons for refusal, at last the State.
 */
import {
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { guard } from "./guard.js";
import { keptName, type Line, type WorkerPlan } from "./names.js";

/** Per input: milliseconds of processor time, bytes of resident memory, characters of a message. */
const most = { milliseconds: 2_000, growth: 500e6, message: 5_000 };

const plan = JSON.parse(process.argv[2]!) as WorkerPlan;
const tell = (line: Line) => writeSync(1, `${JSON.stringify(line)}\n`);

const root = realpathSync(plan.scratch);
const folder = join(root, "in");
const bait = join(root, "bait");
const temporary = join(root, "tmp");
mkdirSync(temporary, { recursive: true });
process.env.TMPDIR = temporary;
const stateFile = openSync(join(root, "state"), "w");
const clearRefs = process.platform === "linux" ? openSync("/proc/self/clear_refs", "w") : null;
// before the readers are loaded, so that they meet the watched functions
const violation = guard([folder, temporary, join(root, "kept")]);
const { formats, broken } = await import("./formats.js");
const { SoftpromptError } = await import("../../src/base/errors.js");
const { random } = await import("../../src/base/random.js");
type Files = import("./format.js").Files;

const format = { ...formats(plan.fixtures), ...broken }[plan.format]!;
const specimens = await format.specimens();
const reader = plan.mode === "careful" ? format.careful! : format.read;
const reasons = new Set<string>();
const fresh = { read: 0, refused: 0, slowest: 0, slowestInput: -1, growth: 0 };
const state = { input: plan.from, ...fresh };
const baitBefore = baitNow();

if (plan.mode === "fuzz") {
  for (const [n, sound] of specimens.entries()) {
    const problem = await attempt(sound);
    if (problem !== null || state.read !== n + 1)
      throw new Error(`sound file ${n} of ${plan.format} is not read: ${problem ?? [...reasons].join("; ")}`);
  }
  Object.assign(state, fresh);
}

for (; state.input < plan.to; state.input++) {
  writeSync(stateFile, JSON.stringify(state).padEnd(200), 0);
  const { input } = state;
  const draw = random(plan.seed, `fuzz/${plan.format}/${input}`);
  const files = format.mutate(specimens[draw.integer(specimens.length)]!, draw, specimens);
  const problem = plan.mode === "keep" ? null : await attempt(files);
  if (plan.mode === "keep" || problem !== null) lay(files, join(root, "kept", keptName(plan, input)));
  if (problem !== null) tell({ kind: "finding", input, problem });
}
tell({ kind: "done", state });

/** Reads one input. @returns what is wrong with how that went, or null */
async function attempt(files: Files): Promise<string | null> {
  if (format.onDisk) lay(files, folder);
  forgetPeak();
  const before = { cpu: spent(), memory: peak() };
  let problem: string | null = null;
  try {
    await reader(files, folder);
    state.read++;
  } catch (error) {
    if (error instanceof SoftpromptError) {
      state.refused++;
      const reason =
        `${error.kind}: ${error.problem.replaceAll(/"(\\.|[^"\\])*"|\d[\d.e+-]*|\b[0-9a-f]{12,}\b/g, "…")}`.slice(
          0,
          90,
        );
      if (!reasons.has(reason) && reasons.size < 1000) tell({ kind: "reason", reason });
      reasons.add(reason);
      if (error.message.length > most.message) problem = `a message of ${error.message.length} characters`;
    } else if (error instanceof Error) problem = (error.stack ?? String(error)).split("\n").slice(0, 5).join(" ");
    else problem = `thrown: ${String(error)}`;
  }
  const took = spent() - before.cpu;
  const growth = peak() - before.memory;
  if (took > state.slowest) Object.assign(state, { slowest: Math.round(took), slowestInput: state.input });
  state.growth = Math.max(state.growth, growth);
  const slow = plan.mode === "fuzz" && took > most.milliseconds;
  const large = growth > most.growth;
  if ((slow || large) && plan.mode === "fuzz" && format.careful !== undefined)
    tell({ kind: "slow", input: state.input });
  else if (slow) problem ??= `took ${Math.round(took)} ms of processor time`;
  else if (large) problem ??= `took ${Math.round(growth / 1e6)} MB of memory`;
  return violation() ?? problem ?? (format.onDisk && baitNow() !== baitBefore ? "the bait was taken" : null);
}

function spent(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Bytes: the most that was resident since forgetPeak(). */
function peak(): number {
  return process.resourceUsage().maxRSS * 1024;
}

/** Linux alone can forget; elsewhere an input is seen only when it takes more than all before it. */
function forgetPeak(): void {
  if (clearRefs !== null) writeSync(clearRefs, "5", 0);
}

/** All there is to know of the folder that nobody may write into. */
function baitNow(): string {
  return readdirSync(bait)
    .map(
      (name) =>
        `${name} ${statSync(join(bait, name)).mtimeMs} ${name === "file" ? readFileSync(join(bait, name), "utf8") : ""}`,
    )
    .join("\n");
}

/** Puts an input's files into an empty folder. */
function lay(files: Files, at: string): void {
  rmSync(at, { recursive: true, force: true });
  mkdirSync(at, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    const path = join(at, name);
    mkdirSync(dirname(path), { recursive: true });
    if (content instanceof Uint8Array) writeFileSync(path, content);
    else if ("link" in content) symlinkSync(content.link, path);
    else if ("folder" in content) mkdirSync(path);
    else {
      writeFileSync(path, "");
      truncateSync(path, content.sparse);
    }
  }
}
