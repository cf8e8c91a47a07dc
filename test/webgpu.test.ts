/**
 * @file The WebGPU device computes what the CPU computes, and does the large work of a step itself. It runs on the card of this machine, or on
 * SwiftShader, the software card that Chromium has beside it; without either, the tests say that they are skipped.
 *
 * SwiftShader takes no 16-bit floats, so a float16 checkpoint is not among the models.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import type { Parameters, Tensor } from "../src/base/tensor.js";
import { type Engine, type EngineOptions, openEngine } from "../src/engine/engine.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { type EncodedRow, makeBatch } from "../src/text/batch.js";
import { distance } from "./helpers/close.js";

const swiftShader = ["/usr/lib/chromium", "/usr/lib/chromium-browser", "/opt/google/chrome"]
  .map((folder) => join(folder, "vk_swiftshader_icd.json"))
  .find((file) => existsSync(file));
// read by the Vulkan loader when the first session on the device opens
if (swiftShader !== undefined) process.env.VK_DRIVER_FILES = process.env.VK_ICD_FILENAMES = swiftShader;

const folderOf = (model: string) => fileURLToPath(new URL(`fixtures/${model}`, import.meta.url));
const open = async (model: string, options: EngineOptions) =>
  openEngine(await openCheckpoint(folderOf(model)), { threads: 1, ...options });

/** What stands against the device; null where it does not start. */
const missing = await (async () => {
  const engine = await open("tiny-t5-v11", { device: "webgpu" });
  try {
    await engine.forward();
    return null;
  } catch (error) {
    return String(error);
  } finally {
    await engine.dispose();
  }
})();
if (missing !== null) console.warn(`tests of WebGPU are SKIPPED: ${missing}`);

/** Three rows of different length, one with a text of one token. */
function rowsOf({ checkpoint: { config } }: Engine): EncodedRow[] {
  const ids = (length: number, from: number) =>
    Int32Array.from({ length }, (_, i) => 3 + ((i * 37 + from * 11) % (config.vocabulary - 3)));
  return [
    [7, 3],
    [4, 2],
    [1, 1],
  ].map(([text, target], n) => ({
    id: `row ${n}`,
    input: ids(text!, n),
    ...(config.family !== "t5" && { first: 5 + n }),
    target: ids(target!, n + 5),
    choices: [ids(1, 1), ids(3, 2)],
    gold: 0,
    truncated: false,
  }));
}

function promptOf({ checkpoint: { config } }: Engine): { prompt: Tensor } {
  const [P, D] = [4, config.width];
  return { prompt: { shape: [P, D], data: Float32Array.from({ length: P * D }, (_, i) => Math.sin(i)) } };
}

/** Everything that the device is asked for. */
async function everything(engine: Engine) {
  const rows = rowsOf(engine);
  const batch = makeBatch(rows);
  const prompt: Parameters = promptOf(engine);
  const ones = new Float32Array(rows.length).fill(1);
  const { logits } = await (await engine.forward()).run(prompt, batch);
  const train = await engine.train();
  const shared = await train.run(prompt, batch, ones);
  const apart = await train.run([prompt, prompt, prompt], batch, ones);
  const scores = await (await engine.score()).run(prompt, rows);
  const written = await (await engine.generate()).run(prompt, rows, 8);
  return { logits: logits.data, shared, apart, scores: scores.flatMap((one) => [...one]), written };
}

describe.skipIf(missing !== null)("the device webgpu", () => {
  test.each(["tiny-t5-v11", "tiny-t5-bf16", "tiny-causal-llama", "tiny-causal-mistral", "tiny-causal-gpt2"])(
    "%s: logits, loss, gradients, scores and texts of the CPU",
    async (model) => {
      const [cpu, card] = [await open(model, {}), await open(model, { device: "webgpu" })];
      const [wanted, got] = [await everything(cpu), await everything(card)];
      await cpu.dispose();
      await card.dispose();
      expect(distance(got.logits, wanted.logits)).toBeLessThan(2e-5);
      for (const one of ["shared", "apart"] as const) {
        expect(distance(got[one].loss, wanted[one].loss)).toBeLessThan(2e-5);
        expect(distance(got[one].gradients.prompt!.data, wanted[one].gradients.prompt!.data)).toBeLessThan(2e-5);
      }
      expect(distance(got.scores, wanted.scores)).toBeLessThan(2e-5);
      expect(got.written).toEqual(wanted.written);
    },
  );

  describe("a training step", () => {
    const place = mkdtempSync(join(tmpdir(), "softprompt-webgpu-"));
    afterAll(() => rmSync(place, { recursive: true, force: true }));

    test.each(["tiny-t5-v11", "tiny-causal-llama", "tiny-causal-gpt2"])(
      "%s: the CPU computes lengths alone, and only what is fed and asked for is copied",
      async (model) => {
        const engine = await open(model, { device: "webgpu", profile: join(place, model) });
        const rows = rowsOf(engine);
        await (await engine.train()).run(promptOf(engine), makeBatch(rows), new Float32Array(rows.length).fill(1));
        await engine.dispose();
        const files = readdirSync(place).filter((file) => file.startsWith(`${model}_`));
        expect(files.length).toBeGreaterThan(0);
        const nodes = files
          .flatMap((file) => JSON.parse(readFileSync(join(place, file), "utf8")))
          .filter(({ cat, args }) => cat === "Node" && args?.op_name !== undefined)
          .map(({ args }) => args as { op_name: string; provider: string; output_type_shape: object[] });
        const elsewhere = nodes.filter(
          ({ provider, output_type_shape }) =>
            provider === "CPUExecutionProvider" && output_type_shape.some((type) => "float" in type),
        );
        expect(nodes.filter(({ op_name }) => op_name === "MatMul").length).toBeGreaterThan(10);
        expect([...new Set(elsewhere.map(({ op_name }) => op_name))]).toEqual([]);
        expect(nodes.filter(({ op_name }) => op_name.startsWith("Memcpy")).length).toBeLessThan(20);
      },
    );
  });
});
