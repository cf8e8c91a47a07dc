/**
 * @file Greedy generation, tokens a second: ours beside transformers, and llama.cpp where it is at hand, on the same weights.
 *
 * node bench/generate.mjs [MODEL] [--text 64] [--tokens 64] [--batches 1,8] [--rounds 3] [--python python] [--threads N]
 *   [--precisions float32,int8] [--llama-cpp FOLDER --gguf FILE] [--output bench/results/generate.json]
 * MODEL is a decoder-only model's folder, a GGUF file, or a shape with random weights (default smollm2-135m); the precisions are ours. Prefill is part of
 * the time.
 * FOLDER is where `npm install node-llama-cpp` was run; it is no dependency of this package. Needs a Python with torch and transformers;
 * --python "" leaves it out. Engines take turns, round by round.
 */
import { spawn } from "node:child_process";
import { availableParallelism, loadavg } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { openModel } from "softprompt";
import { median } from "./batch.mjs";
import { modelFolder } from "./checkpoint.mjs";
import { saveFigures } from "./processor.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    text: { type: "string", default: "64" },
    tokens: { type: "string", default: "64" },
    batches: { type: "string", default: "1,8" },
    rounds: { type: "string", default: "3" },
    python: { type: "string", default: process.env.PYTHON ?? "python3" },
    threads: { type: "string", default: String(availableParallelism()) },
    precisions: { type: "string", default: "float32" },
    output: { type: "string" },
    "llama-cpp": { type: "string" },
    gguf: { type: "string" },
  },
});
const [T, N, rounds, threads] = [options.text, options.tokens, options.rounds, options.threads].map(Number);
const { folder, dispose } = modelFolder(positionals[0] ?? "smollm2-135m");
const rest = () => new Promise((resolve) => setTimeout(resolve, 300));

async function openOurs(precision) {
  const { checkpoint, engine, dispose } = await openModel(folder, { threads, precision });
  const { vocabulary, width } = checkpoint.config;
  const program = await engine.generate();
  const none = { prompt: { shape: [0, width], data: new Float32Array(0) } };
  return {
    async run(batch) {
      const rows = Array.from({ length: batch }, (_, b) => {
        const ids = Int32Array.from({ length: T }, (_, i) => 3 + (((b * T + i) * 7919) % (vocabulary - 3)));
        const row = { id: `${b}`, input: ids.subarray(0, -1), first: ids.at(-1), target: new Int32Array(0) };
        return { ...row, choices: null, gold: -1, truncated: false };
      });
      const from = performance.now();
      const written = await program.run(none, rows, N);
      return written.flat().length / ((performance.now() - from) / 1000);
    },
    dispose,
  };
}

/** bench/generate.py: a batch size in, tokens a second out. */
async function openTransformers() {
  const script = join(import.meta.dirname, "generate.py");
  const shape = [T, N, threads].map(String);
  const child = spawn(options.python, [script, folder, ...shape], { stdio: ["pipe", "pipe", "inherit"] });
  child.on("error", (error) => console.error(`cannot start ${options.python}: ${error.message}`));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${options.python} bench/generate.py ended; its own message stands above`);
    return value;
  };
  console.error(`transformers: ${await next()}`);
  const run = async (batch) => {
    child.stdin.write(`${batch}\n`);
    return Number(await next());
  };
  return { run, dispose: async () => child.stdin.end() };
}

/** One text alone: llama.cpp as node-llama-cpp has it evaluates sequences by themselves, so a batch has no figure. */
async function openLlamaCpp() {
  const entry = join(options["llama-cpp"], "node_modules/node-llama-cpp/dist/index.js");
  const { getLlama } = await import(pathToFileURL(entry).href);
  const llama = await getLlama({ gpu: false, build: "never", logLevel: "error", maxThreads: threads });
  const model = await llama.loadModel({ modelPath: options.gguf });
  const context = await model.createContext({ contextSize: T + N + 8, threads });
  const sequence = context.getSequence();
  return {
    async run(batch) {
      if (batch > 1) return null;
      await sequence.clearHistory();
      const text = Array.from({ length: T }, (_, i) => 3 + ((i * 7919) % 49_000));
      const from = performance.now();
      let count = 0;
      for await (const _ of sequence.evaluate(text, { temperature: 0, yieldEogToken: true })) if (++count >= N) break;
      return count / ((performance.now() - from) / 1000);
    },
    async dispose() {
      await context.dispose();
      await model.dispose();
    },
  };
}

const engines = new Map();
for (const precision of options.precisions.split(","))
  engines.set(`softprompt, ${precision}`, await openOurs(precision));
if (options.python !== "") engines.set("transformers, float32", await openTransformers());
if (options["llama-cpp"] !== undefined) engines.set("llama.cpp, the GGUF's own bits", await openLlamaCpp());
const load = loadavg()[0];
const figures = [];
for (const batch of options.batches.split(",").map(Number)) {
  const found = new Map();
  for (const [name, engine] of engines) if ((await engine.run(batch)) !== null) found.set(name, []);
  for (let round = 0; round < rounds; round++)
    for (const [name, speeds] of found) {
      await rest();
      speeds.push(await engines.get(name).run(batch));
    }
  for (const [engine, speeds] of found) {
    figures.push({ batch, engine, tokensPerSecond: speeds });
    console.log(`batch ${batch}, ${T} + ${N} tokens  ${engine}: ${median(speeds).toFixed(1)} tokens/s`);
  }
}
for (const engine of engines.values()) await engine.dispose();
dispose();
if (options.output !== undefined)
  saveFigures(options.output, { model: basename(folder), text: T, tokens: N, threads, load, figures });
