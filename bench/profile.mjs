/**
 * @file Where the time of a training step goes: kernel time by operator, as ONNX Runtime's own profiler has it.
 *
 * node bench/profile.mjs [small|base|smollm2-135m|FOLDER …] [--precision float32|int8] [--steps 7] [--shapes] [--batch 8] [--input 128] [--json]
 * Of every node the median of its runs counts, so a moment of load does not. With --shapes the rows tell the outputs' shapes apart.
 * A step with the profiler is a little slower than one without: `npm run bench` has the speed.
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { inEightBits, largestEightBit, openCheckpoint, openEngine } from "softprompt/engine";
import { batchOf, median, nameOf } from "./batch.mjs";
import { modelFolder } from "./checkpoint.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    precision: { type: "string", default: "float32" },
    steps: { type: "string", default: "7" },
    batch: { type: "string", default: "8" },
    input: { type: "string", default: "128" },
    prompt: { type: "string", default: "20" },
    target: { type: "string", default: "4" },
    threads: { type: "string", default: "0" },
    plain: { type: "boolean", default: false },
    shapes: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const [batch, input, prompt, target, threads, steps] = ["batch", "input", "prompt", "target", "threads", "steps"].map(
  (name) => Number(options[name]),
);

/** Runs the step under the profiler. @returns the events of its file */
async function profiled(checkpoint, session) {
  const place = mkdtempSync(join(tmpdir(), "softprompt-profile-"));
  try {
    const engine = openEngine(checkpoint, { ...session, profile: join(place, "step") });
    const train = await engine.train();
    const { config } = checkpoint;
    const data = new Float32Array(prompt * config.width).fill(0.1);
    const weights = new Float32Array(batch).fill(1 / (batch * target));
    for (let i = 0; i < steps; i++)
      await train.run(
        { prompt: { shape: [prompt, config.width], data } },
        batchOf(config, { batch, input, target }),
        weights,
      );
    await engine.dispose();
    return readdirSync(place).flatMap((name) => JSON.parse(readFileSync(join(place, name), "utf8")));
  } finally {
    rmSync(place, { recursive: true });
  }
}

const shapeOf = (types) => (types ?? []).map((of) => `[${Object.values(of)[0]}]`).join(" ");

/** Milliseconds of a step and number of nodes, by operator. */
function byOperator(events) {
  const nodes = new Map();
  for (const { cat, name, dur, args } of events) {
    if (cat !== "Node" || !name.endsWith("_kernel_time")) continue;
    const key = options.shapes ? `${args.op_name} → ${shapeOf(args.output_type_shape)}` : args.op_name;
    const known = nodes.get(name) ?? { key, times: [] };
    known.times.push(dur / 1000);
    nodes.set(name, known);
  }
  const rows = new Map();
  for (const { key, times } of nodes.values()) {
    const row = rows.get(key) ?? { operator: key, nodes: 0, ms: 0 };
    row.nodes++;
    row.ms += median(times);
    rows.set(key, row);
  }
  return [...rows.values()].sort((a, b) => b.ms - a.ms);
}

async function measure(size) {
  const { folder, dispose } = modelFolder(size);
  const cache = mkdtempSync(join(tmpdir(), "softprompt-bench-int8-"));
  try {
    const session = { threads, device: "cpu", plainOps: options.plain };
    const stored = await openCheckpoint(folder);
    const most = options.precision === "int8" ? await largestEightBit(session) : null;
    const checkpoint = most === null ? stored : await inEightBits(stored, { most, cache });
    return byOperator(await profiled(checkpoint, { ...session, eightBit: most }));
  } finally {
    dispose();
    rmSync(cache, { recursive: true });
  }
}

const results = [];
for (const size of positionals.length > 0 ? positionals : ["small"]) {
  const rows = await measure(size);
  const total = rows.reduce((sum, { ms }) => sum + ms, 0);
  results.push({ model: nameOf(size), precision: options.precision, batch, input, prompt, target, ms: total, rows });
  if (options.json) continue;
  console.log(
    `${nameOf(size)}, ${options.precision}, batch ${batch}, ${prompt}+${input} tokens: ${total.toFixed(1)} ms in operators`,
  );
  for (const { operator, nodes, ms } of rows.filter((row) => row.ms >= total / 1000))
    console.log(
      `${ms.toFixed(1).padStart(9)} ms ${((100 * ms) / total).toFixed(1).padStart(5)} % ${String(nodes).padStart(5)} × ${operator}`,
    );
}
if (options.json) console.log(JSON.stringify(results));
