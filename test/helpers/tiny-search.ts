/**
 * @file A whole search on a tiny fixture as a process of its own, so that tests can kill it. Goes on with what is in the folder.
 * Arguments: base model, folder, workers, worker program. Prints one line per step and at the end the result without times.
 */
import { defaults } from "../../src/base/options.js";
import { random } from "../../src/base/random.js";
import { openEngine } from "../../src/engine/engine.js";
import { openCheckpoint } from "../../src/model/checkpoint.js";
import { pruneOptions } from "../../src/prune/options.js";
import { xprompt } from "../../src/prune/xprompt.js";
import { singleStage } from "../../src/schedule/schedule.js";
import { trainOptions } from "../../src/train/options.js";
import { tinyDataset, tinyTokenizer } from "./tiny.js";
import { textWithoutClock } from "./without-clock.js";

const [base, run, workers, module] = process.argv.slice(2) as [string, string, string, string];
const engine = openEngine(await openCheckpoint(base), { threads: 1 });
const { task, train, validation } = tinyDataset(24, 12);
const draw = random(5, "tiny search");
const schedule = singleStage(engine.checkpoint.config, 8);
const result = await xprompt({
  engine,
  tokenizer: tinyTokenizer,
  task,
  train,
  validation,
  prompt: { shape: [4, 32], data: Float32Array.from({ length: 128 }, () => draw.uniform(-1.5, 1.5)) },
  schedule,
  retrainSchedule: schedule,
  settings: { ...defaults(trainOptions), learningRate: 0.05, batchSize: 8, microBatchSize: 8, evalEvery: 4 },
  options: { ...defaults(pruneOptions), pieces: 8, tokensPruned: [1, 2, 3], piecesPruned: [2, 4] },
  run,
  resume: true,
  observe: (event) => {
    if ((event.kind === "candidate" || event.kind === "tune") && event.event.kind === "step")
      console.log(`step ${event.kind === "candidate" ? event.name : "tune"} ${event.event.step}`);
  },
  workers: { count: Number(workers), module },
});
console.log(`result ${textWithoutClock(result)}`);
await engine.dispose();
