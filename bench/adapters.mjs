/**
 * @file Many adapters on one text: how much longer N answers take than one, when the text is read once for all of them.
 *
 * node bench/adapters.mjs [MODEL] [--adapters 50] [--text 512] [--prompt 20] [--labels 3] [--rounds 5] [--batch 32] [--threads 0]
 *   [--output bench/results/adapters.json]
 * MODEL is a decoder-only model's folder, or a shape with random weights (default smollm2-135m). Every round reads a text that is new to the
 * store, once with one prompt behind it and once with N, in turn; rows go in batches as a predictor's do.
 */
import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { openEngine } from "../dist/engine/engine.js";
import { openCheckpoint } from "../dist/model/checkpoint.js";
import { openTexts } from "../dist/run/text-cache.js";
import { median, time } from "./batch.mjs";
import { modelFolder } from "./checkpoint.mjs";
import { saveFigures } from "./processor.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    adapters: { type: "string", default: "50" },
    text: { type: "string", default: "512" },
    prompt: { type: "string", default: "20" },
    labels: { type: "string", default: "3" },
    rounds: { type: "string", default: "5" },
    batch: { type: "string", default: "32" },
    threads: { type: "string", default: "0" },
    cache: { type: "string", default: "float16" },
    output: { type: "string" },
  },
});
const [N, T, P, labels, rounds, most] = ["adapters", "text", "prompt", "labels", "rounds", "batch"].map((name) =>
  Number(options[name]),
);
const { folder, dispose } = modelFolder(positionals[0] ?? "smollm2-135m");
const checkpoint = await openCheckpoint(folder);
const { config } = checkpoint;
const textCache = options.cache === "off" ? null : { precision: options.cache, memory: 2 ** 31, disk: 0 };
const engine = openEngine(checkpoint, { threads: Number(options.threads), textCache }, undefined, openTexts);
const score = await engine.score(undefined, "behind");
const prompts = Array.from({ length: N }, (_, n) => ({
  prompt: {
    shape: [P, config.width],
    data: Float32Array.from({ length: P * config.width }, (_, i) => Math.sin(n + i * 12.9898) * 0.1),
  },
}));
const choices = Array.from({ length: labels }, (_, n) => Int32Array.of(3 + n));
let texts = 0;
/** A text that was never read. */
function newRow() {
  texts++;
  const ids = Int32Array.from({ length: T }, (_, i) => 3 + ((i * 7919 + texts * 104_729) % (config.vocabulary - 3)));
  const row = { id: "text", input: ids.subarray(0, -1), first: ids.at(-1), promptAt: T, target: choices[0] };
  return { ...row, choices, gold: 0, truncated: false };
}
async function answers(count) {
  const row = newRow();
  for (let from = 0; from < count; from += most) {
    const some = prompts.slice(from, Math.min(count, from + most));
    await score.run(
      some,
      some.map(() => row),
    );
  }
}
await answers(N); // the first run of a shape is not like the others
await answers(1);
const load = loadavg()[0];
const [one, many] = [[], []];
for (let round = 0; round < rounds; round++) {
  one.push(await time(() => answers(1)));
  many.push(await time(() => answers(N)));
}
const [a, b] = [median(one), median(many)];
console.log(
  `one adapter on ${T} tokens: ${a.toFixed(0)} ms; ${N} adapters: ${b.toFixed(0)} ms, ${(b / a).toFixed(2)} × the time of one (median of ${rounds} rounds)`,
);
if (options.output !== undefined)
  saveFigures(options.output, { adapters: N, text: T, prompt: P, labels, load, oneMs: one, manyMs: many });
await engine.dispose();
dispose();
