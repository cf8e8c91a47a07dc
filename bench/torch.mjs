/** @file A Python process with bench/pytorch.py's training steps: a variant's name in, milliseconds out, one step at a time. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** Lets the thread pool that worked last stop spinning before the next one is timed. */
export const rest = () => new Promise((resolve) => setTimeout(resolve, 300));

/**
 * The steps of some variants, warm.
 * @param {string} python an interpreter that has torch, transformers and peft
 * @param {string} size a name that bench/pytorch.py knows
 * @param {{ variants: string[], threads: string, batch: number, prompt: number, input: number, target: number, micro?: number, warm?: number }} how
 */
export async function openTorch(python, size, { variants, ...how }) {
  const numbers = Object.entries(how).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const script = join(import.meta.dirname, "pytorch.py");
  const child = spawn(python, [script, size, "--serve", "--variants", variants.join(","), ...numbers], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  child.on("error", (error) => console.error(`cannot start ${python}: ${error.message}`));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${python} bench/pytorch.py ended; its own message stands above`);
    return value;
  };
  const versions = JSON.parse(await next());
  return {
    versions,
    async step(variant) {
      child.stdin.write(`${variant}\n`);
      return Number(await next());
    },
    dispose: () => child.stdin.end(),
  };
}
