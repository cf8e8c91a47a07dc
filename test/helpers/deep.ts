/** @file A tiny model with more layers: a fixture whose layers are repeated, each with other weights. In: the fixture, how many. Out: a folder. */
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { random } from "../../src/base/random.js";
import type { Tensor } from "../../src/base/tensor.js";
import { writeSafetensors } from "../../src/model/safetensors.js";
import { readFixture } from "./safetensors.js";

const layerOf = /^(.*\b(?:layers|block|h)\.)(\d+)(\..*)$/;
const counts = ["num_hidden_layers", "num_layers", "num_decoder_layers", "n_layer"];

export function deep(fixture: string, layers: number): string {
  const from = fileURLToPath(new URL(`../fixtures/${fixture}/`, import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), `softprompt-deep-${fixture}-`));
  const config = JSON.parse(readFileSync(join(from, "config.json"), "utf8"));
  for (const name of counts) if (name in config) config[name] = layers;
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  const draw = random(5, fixture);
  const tensors: Record<string, Tensor> = {};
  for (const [name, { shape, data }] of Object.entries(readFixture(pathToFileURL(join(from, "model.safetensors"))))) {
    const [, before, layer, after] = layerOf.exec(name) ?? [];
    if (layer === undefined) tensors[name] = { shape, data };
    else if (layer === "0")
      for (let l = 0; l < layers; l++) {
        // block 0 owns T5's table of relative positions
        if (l > 0 && name.includes("relative_attention_bias")) continue;
        const size = 0.5 + 2 * draw.next();
        tensors[`${before}${l}${after}`] = { shape, data: data.map((x) => x * size + draw.uniform(-0.05, 0.05)) };
      }
  }
  writeFileSync(join(folder, "model.safetensors"), writeSafetensors(tensors));
  return folder;
}
