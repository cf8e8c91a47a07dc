import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { openCheckpoint } from "./checkpoint.js";
import { inspectModel } from "./inspect.js";

const open = (name: string) => openCheckpoint(fileURLToPath(new URL(`../../test/fixtures/${name}`, import.meta.url)));

test("v1.1, counted by hand: D 32, inner 24, F 48, V 96, 3 + 2 layers", async () => {
  const checkpoint = await open("tiny-t5-v11");
  const summary = inspectModel(checkpoint);
  const [attention, forward] = [4 * 32 * 24, 3 * 32 * 48];
  expect(summary.parametersByPart).toEqual({
    embedding: 96 * 32,
    encoder: 3 * (attention + forward + 2 * 32) + 8 * 3 + 32,
    decoder: 2 * (2 * attention + forward + 3 * 32) + 8 * 3 + 32,
    head: 96 * 32,
  });
  expect(summary.parameters).toBe(checkpoint.parameters);
  expect(summary.byType).toEqual([
    { dtype: "float32", tensors: checkpoint.tensors.size, bytes: 4 * summary.parameters },
  ]);
  expect(summary.fileBytes).toBeGreaterThan(summary.byType[0]!.bytes);
});

test("a tied head has no parameters of its own; 16-bit weights take two bytes", async () => {
  expect(inspectModel(await open("tiny-t5-f16")).parametersByPart.head).toBe(0);
  const { byType, parameters } = inspectModel(await open("tiny-t5-bf16"));
  expect(byType).toMatchObject([{ dtype: "bfloat16", bytes: 2 * parameters }]);
});
