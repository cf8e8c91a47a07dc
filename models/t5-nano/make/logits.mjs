/**
 * @file Our float32 logits of t5-nano on 100 real rows, for logits.py to compare with transformers'.
 *
 *   npm run build && node models/t5-nano/make/logits.mjs DATASETS OUT.json
 *   python models/t5-nano/make/logits.py OUT.json
 *
 * In: the first 100 validation rows of DATASETS/SST-2. Out: token ids, masks and logits [B, U, V] as JSON. Allowed: 1e-4, relative.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const from = (path) => import(join(root, "dist", path));
const { openCheckpoint } = await from("model/checkpoint.js");
const { openEngine } = await from("engine/engine.js");
const { loadTokenizer } = await from("text/load.js");
const { loadDataset } = await from("data/dataset.js");
const { encodeRows } = await from("text/encode.js");
const { makeBatch } = await from("text/batch.js");

const [datasets, out] = process.argv.slice(2);
const folder = join(root, "models/t5-nano");
const checkpoint = await openCheckpoint(folder);
const engine = openEngine(checkpoint);
const data = await loadDataset({ task: "sst2", folder: join(datasets, "SST-2") });
const rows = encodeRows(data.validation.slice(0, 100), data.task, await loadTokenizer(folder), { maxInputTokens: 128 });
const batch = makeBatch(rows);
const noPrompt = { shape: [0, checkpoint.config.width], data: new Float32Array(0) };
const { logits } = await (await engine.forward()).run(noPrompt, batch);
const { inputIds, inputMask, targetIds, targetMask } = batch;
const plain = Object.entries({ inputIds, inputMask, targetIds, targetMask, logits: logits.data });
writeFileSync(out, JSON.stringify({ rows: batch.size, ...Object.fromEntries(plain.map(([k, v]) => [k, Array.from(v)])) }));
await engine.dispose();
