/**
 * @file The folder a run goes to where --output does not say. In: task, method, seed. Out: a path below runs/.
 */
import { join } from "node:path";

/** runs/TASK-METHOD-seedN; of the task's name only what is safe in a file name stays, so that it cannot lead elsewhere. */
export function defaultFolder(task: string, method: string, seed: number): string {
  const safe = task.replaceAll(/[^\w.-]+/g, "-").toLowerCase();
  return join("runs", `${safe}-${method}-seed${seed}`);
}
