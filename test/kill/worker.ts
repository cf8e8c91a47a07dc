/**
 * @file One session of a training in a process of its own, begun or resumed, to be killed at a random moment from outside or at a
 * chosen byte or operation by the fault layer inside. Prints `ready` when training begins and the result's fingerprint at the end.
 *
 * Arguments: folder, then JSON of WorkerPlan.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { openRun } from "../../src/run/folder.js";
import { trainRun } from "../../src/run/train.js";
import { fakeEngine } from "../helpers/fake-engine.js";
import { type FaultPlan, faultyOps } from "../helpers/faults.js";
import { fingerprint, fptJob } from "../helpers/job.js";

export interface WorkerPlan {
  /** The parabola (a few milliseconds a pass, so that a random moment falls between any two), or the real engine. */
  readonly engine: "fake" | "tiny";
  /** Folder of the tiny T5. */
  readonly model: string;
  readonly faults: FaultPlan;
}

const [, , folder, text] = process.argv as unknown as [string, string, string, string];
const plan = JSON.parse(text) as WorkerPlan;
const pause = () => new Promise<void>((done) => setTimeout(done, 2));

const kinds = {
  fake: async () => fptJob({ engine: fakeEngine({ before: pause }) }),
  // loaded when wanted: ONNX Runtime alone takes longer to load than the parabola to be learnt
  tiny: async () => {
    const { tinyEngine, tinyJob } = await import("../helpers/tiny-job.js");
    return tinyJob(await tinyEngine(2, plan.model));
  },
};
const job = await kinds[plan.engine]();
process.stdout.write("ready\n");
const ops = faultyOps({ ...plan.faults, kill: true });
const run = openRun(folder, { resume: existsSync(join(folder, "run.json")), ops });
const warnings: string[] = [];
const result = await trainRun({
  ...job,
  settings: { ...job.settings, snapshotEvery: 2 },
  run,
  observe: (event) => void (event.kind === "warning" && warnings.push(event.message)),
});
run.close();
await job.engine.dispose();
process.stdout.write(`${JSON.stringify({ fingerprint: fingerprint(result), ops: ops.count, warnings })}\n`);
