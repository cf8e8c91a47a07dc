/**
 * @file Peak memory of one training step on a large model, by default a T5-Large-shaped random BF16 checkpoint, batch 4 × 128.
 *
 * node bench/memory.mjs [--size large|tinyllama-1.1b|FILE.gguf|…] [--batch 4] [--micro ROWS] [--input 128] [--steps 3] [--dtype BF16] [--threads 0] [--only default,lowMemory,int8,stored,int4]
 * Each way runs in a child process of its own; the figure is the kernel's high-water mark of its resident memory
 * (VmHWM), in which pages of the mapped weight file count as long as they are resident. Linux only.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { batchOf, nameOf } from "./batch.mjs";

const { values: options } = parseArgs({
  options: {
    size: { type: "string", default: "large" },
    batch: { type: "string", default: "4" },
    micro: { type: "string" },
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

const isGguf = (path) => /\.gguf$/i.test(path);

const status = (key) =>
  Number(readFileSync("/proc/self/status", "utf8").match(new RegExp(`${key}:\\s+(\\d+) kB`))[1]) * 1024;

/**
 * The checkpoint in the form that is asked for, which is made at the first call, in the benchmark's own process, and the engine's options. A
 * GGUF file's forms are kept in the user's cache.
 */
async function opened(way) {
  const { inEightBits, largestEightBit, openCheckpoint, withBlocks } = await import("softprompt/engine");
  const plain = await openCheckpoint(options.folder);
  const kept = (name) => (isGguf(options.folder) ? {} : { cache: join(options.folder, name) });
  if (way === "int8") {
    const eightBit = await largestEightBit({ device: "cpu", plainOps: false });
    return { checkpoint: await inEightBits(plain, { most: eightBit, ...kept("int8") }), given: { eightBit } };
  }
  if (way === "stored" || way === "int4")
    return { checkpoint: await withBlocks(plain, { kind: way, ...kept("blocks") }), given: { blocks: way } };
  return { checkpoint: plain, given: { lowMemory: way === "lowMemory" } };
}

async function child() {
  const { openEngine } = await import("softprompt/engine");
  const { checkpoint, given } = await opened(options.child);
  const engine = openEngine(checkpoint, { ...given, threads: Number(options.threads) });
  const from = performance.now();
  const train = await engine.train();
  const openMs = performance.now() - from;
  const openPeak = status("VmHWM");
  const [rows, T, U, P] = [options.batch, options.input, options.target, options.prompt].map(Number);
  const B = Number(options.micro ?? rows);
  const { width } = checkpoint.config;
  const batch = batchOf(checkpoint.config, { batch: B, input: T, target: U });
  const prompt = { shape: [P, width], data: new Float32Array(P * width).fill(0.1) };
  let stepMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < Number(options.steps); i++) {
    const from = performance.now();
    for (let done = 0; done < rows; done += B) {
      const { loss, gradients } = await train.run({ prompt }, batch, new Float32Array(B).fill(1 / (rows * U)));
      if (![...loss, ...gradients.prompt.data].every(Number.isFinite)) throw new Error("the step gave NaN or infinity");
    }
    stepMs = Math.min(stepMs, performance.now() - from);
  }
  await engine.dispose();
  console.log(JSON.stringify({ openMs, openPeak, stepMs, peak: status("VmHWM"), parameters: checkpoint.parameters }));
}

if (options.child !== undefined) await child();
else {
  const { modelFolder } = await import("./checkpoint.mjs");
  const wanted = options.folder ?? options.size;
  const { folder, dispose } = isGguf(wanted)
    ? { folder: wanted, dispose: () => {} }
    : modelFolder(wanted, options.dtype);
  try {
    options.folder = folder;
    const ways = ["default", "lowMemory", "int8", isGguf(folder) ? "stored" : "int4"];
    for (const way of options.only ? options.only.split(",") : ways) {
      await opened(way);
      const own = process.argv.slice(2).filter((a, i, all) => a !== "--only" && all[i - 1] !== "--only");
      const args = [fileURLToPath(import.meta.url), ...own, "--child", way, "--folder", folder];
      const { stdout, stderr, status: code } = spawnSync(process.execPath, args, { encoding: "utf8" });
      if (code !== 0) throw new Error(`${way} failed: ${stderr}`);
      const r = JSON.parse(stdout);
      console.log(
        `${isGguf(folder) ? basename(folder) : nameOf(options.size)} (${(r.parameters / 1e6).toFixed(0)} M${isGguf(folder) ? "" : `, ${options.dtype}`}), batch ${options.batch} × ${options.input}${options.micro ? ` (${options.micro} rows at a time)` : ""}, ${way}: ` +
          `peak ${(r.peak / 1e9).toFixed(2)} GB (opening ${(r.openPeak / 1e9).toFixed(2)} GB), open ${(r.openMs / 1000).toFixed(1)} s, best step ${(r.stepMs / 1000).toFixed(2)} s`,
      );
    }
  } finally {
    dispose();
  }
}
