/**
 * @file Peak memory of one training step on a large model, by default a T5-Large-shaped random BF16 checkpoint, batch 4 × 128.
 *
 * node bench/memory.mjs [--size large|tinyllama-1.1b|…] [--batch 4] [--input 128] [--steps 3] [--dtype BF16] [--threads 0] [--only default|lowMemory|int8]
 * Each way runs in a child process of its own; the figure is the kernel's high-water mark of its resident memory
 * (VmHWM), in which pages of the mapped weight file count as long as they are resident. Linux only.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { batchOf, nameOf } from "./batch.mjs";

const { values: options } = parseArgs({
  options: {
    size: { type: "string", default: "large" },
    batch: { type: "string", default: "4" },
    input: { type: "string", default: "128" },
    prompt: { type: "string", default: "20" },
    target: { type: "string", default: "4" },
    threads: { type: "string", default: "0" },
    steps: { type: "string", default: "3" },
    dtype: { type: "string", default: "BF16" },
    only: { type: "string" },
    folder: { type: "string" },
    child: { type: "string" },
  },
});

const status = (key) =>
  Number(readFileSync("/proc/self/status", "utf8").match(new RegExp(`${key}:\\s+(\\d+) kB`))[1]) * 1024;

/** The checkpoint, with 8-bit layers if asked for; they are made at the first call, in the benchmark's own process. */
async function opened(int8) {
  const { inEightBits, largestEightBit, openCheckpoint } = await import("softprompt/engine");
  const checkpoint = await openCheckpoint(options.folder);
  if (!int8) return { checkpoint, most: null };
  const most = await largestEightBit({ device: "cpu", plainOps: false });
  return { checkpoint: await inEightBits(checkpoint, { most, cache: join(options.folder, "int8") }), most };
}

async function child() {
  const { openEngine } = await import("softprompt/engine");
  const int8 = options.child === "int8";
  const { checkpoint, most } = await opened(int8);
  const engine = openEngine(checkpoint, {
    eightBit: most,
    lowMemory: options.child === "lowMemory",
    threads: Number(options.threads),
  });
  const from = performance.now();
  const train = await engine.train();
  const openMs = performance.now() - from;
  const openPeak = status("VmHWM");
  const [B, T, U, P] = [options.batch, options.input, options.target, options.prompt].map(Number);
  const { width } = checkpoint.config;
  const batch = batchOf(checkpoint.config, { batch: B, input: T, target: U });
  const prompt = { shape: [P, width], data: new Float32Array(P * width).fill(0.1) };
  let stepMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < Number(options.steps); i++) {
    const from = performance.now();
    const { loss, gradients } = await train.run({ prompt }, batch, new Float32Array(B).fill(1 / (B * U)));
    stepMs = Math.min(stepMs, performance.now() - from);
    if (![...loss, ...gradients.prompt.data].every(Number.isFinite)) throw new Error("the step gave NaN or infinity");
  }
  await engine.dispose();
  console.log(JSON.stringify({ openMs, openPeak, stepMs, peak: status("VmHWM"), parameters: checkpoint.parameters }));
}

if (options.child !== undefined) await child();
else {
  const { modelFolder } = await import("./checkpoint.mjs");
  const { folder, dispose } = modelFolder(options.folder ?? options.size, options.dtype);
  try {
    options.folder = folder;
    for (const way of options.only ? [options.only] : ["default", "lowMemory", "int8"]) {
      if (way === "int8") await opened(true);
      const own = process.argv.slice(2).filter((a, i, all) => a !== "--only" && all[i - 1] !== "--only");
      const args = [fileURLToPath(import.meta.url), ...own, "--child", way, "--folder", folder];
      const { stdout, stderr, status: code } = spawnSync(process.execPath, args, { encoding: "utf8" });
      if (code !== 0) throw new Error(`${way} failed: ${stderr}`);
      const r = JSON.parse(stdout);
      console.log(
        `${nameOf(options.size)} (${(r.parameters / 1e6).toFixed(0)} M, ${options.dtype}), batch ${options.batch} × ${options.input}, ${way}: ` +
          `peak ${(r.peak / 1e9).toFixed(2)} GB (opening ${(r.openPeak / 1e9).toFixed(2)} GB), open ${(r.openMs / 1000).toFixed(1)} s, best step ${(r.stepMs / 1000).toFixed(2)} s`,
      );
    }
  } finally {
    dispose();
  }
}
