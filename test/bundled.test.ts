/**
 * The models that ship with the package: each opens by its name wherever a model is named, a folder of that name goes before it, and its
 * logits, losses and prompt gradients are those of transformers (test/oracles/bundled_t5.py).
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { saveAdapter } from "../src/adapter/adapter.js";
import { bundledFolder, bundledNames, isBundled } from "../src/base/bundled.js";
import { openWithAdapter } from "../src/cli/actions/recorded-model.js";
import type { CommandContext } from "../src/cli/command.js";
import { openEngine } from "../src/engine/engine.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { modelFolder, openModel } from "../src/tasks/model.js";
import { modelOptions } from "../src/tasks/options.js";
import { type EncodedRow, makeBatch } from "../src/text/batch.js";
import { promptAdapter } from "./helpers/adapters.js";
import { distance, expectClose } from "./helpers/close.js";
import { readFixture } from "./helpers/safetensors.js";

/** As test/parity.test.ts has it: both sides compute in float32, only the order of sums differs. */
const tolerance = 5e-5;

interface Oracle {
  readonly every: number;
  readonly rows: readonly { readonly input: number[]; readonly target: number[] }[];
}

const place = mkdtempSync(join(tmpdir(), "softprompt-bundled-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));
const local = { revision: undefined, offline: true };
const terminal = { status: () => {}, say: () => {} } as unknown as CommandContext["terminal"];

test("the table has every folder under models/, and the help of --model names them all", () => {
  const folders = readdirSync(fileURLToPath(new URL("../models", import.meta.url)));
  expect([...bundledNames].sort()).toEqual(folders.sort());
  for (const name of bundledNames) expect(modelOptions.model.help).toContain(name);
  for (const name of ["t5-micro", "", "toString", "__proto__", "T5-mini"]) expect(isBundled(name)).toBe(false);
});

test("a folder of a bundled model's name goes before it", async () => {
  const before = process.cwd();
  mkdirSync(join(place, "t5-mini"));
  process.chdir(place);
  try {
    expect((await modelFolder("t5-mini", local)).folder).toBe("t5-mini");
  } finally {
    process.chdir(before);
  }
});

describe.each(bundledNames)("%s", (name) => {
  const read = (end: string) => new URL(`fixtures/bundled/${name}.${end}`, import.meta.url);
  const { every, rows } = JSON.parse(readFileSync(read("json"), "utf8")) as Oracle;
  const wanted = readFixture(read("safetensors"));
  const batch = makeBatch(
    rows.map(
      ({ input, target }, i): EncodedRow => ({
        id: `row ${i}`,
        input: Int32Array.from(input),
        target: Int32Array.from(target),
        choices: null,
        gold: -1,
        truncated: false,
      }),
    ),
  );

  test("its folder opens without a network, under its name", async () => {
    expect(await modelFolder(name, local)).toEqual({ folder: bundledFolder(name), label: name });
    expect(existsSync(join(bundledFolder(name), "README.md"))).toBe(true);
    await using model = await openModel(name, { threads: 1, offline: true });
    expect(model.checkpoint.config.width).toBe(wanted.prompt!.shape[1]);
    expect(model.tokenizer.encode("sst2").length).toBeGreaterThan(0);
  });

  test("an adapter that records it opens it, and its card says how Python finds it", async () => {
    const checkpoint = await openCheckpoint(bundledFolder(name), { name });
    const adapter = await promptAdapter(checkpoint, 2);
    expect(adapter.base.name).toBe(name);
    const folder = join(place, name, "adapter");
    mkdirSync(folder, { recursive: true });
    saveAdapter(folder, adapter);
    expect(readFileSync(join(folder, "README.md"), "utf8")).toContain(`["softprompt", "inspect", "${name}",`);
    const model = await openWithAdapter(undefined, adapter, {}, { terminal, signal: new AbortController().signal });
    try {
      expect(model.checkpoint.config.width).toBe(checkpoint.config.width);
    } finally {
      await model.dispose();
    }
  });

  test.each(["gpt2", "org/model-GGUF/model-Q8_0.gguf"])(
    "a recorded hub model is asked for by its id: %s",
    async (id) => {
      const adapter = await promptAdapter(await openCheckpoint(bundledFolder(name), { name }), 2);
      const revision = "0123456789abcdef0123456789abcdef01234567";
      const recorded = { ...adapter, base: { ...adapter.base, name: id, revision } };
      const asked = openWithAdapter(undefined, recorded, local, { terminal, signal: new AbortController().signal });
      // it is not in this machine's cache
      await expect(asked).rejects.toMatchObject({ kind: "network" });
    },
  );

  test("logits, losses and prompt gradients are transformers'", async () => {
    const engine = openEngine(await openCheckpoint(bundledFolder(name)), { threads: 1 });
    try {
      const prompt = { prompt: wanted.prompt! };
      const { logits } = await (await engine.forward()).run(prompt, batch);
      const [, U, V] = logits.shape as [number, number, number];
      const sampled = rows.flatMap(({ target }, b) =>
        target.flatMap((_, u) =>
          Array.from({ length: Math.ceil(V / every) }, (_, k) => logits.data[(b * U + u) * V + k * every]!),
        ),
      );
      expect(sampled).toHaveLength(wanted.logits!.data.length);
      expect(distance(sampled, wanted.logits!.data)).toBeLessThan(tolerance);
      const train = await engine.train();
      const ones = new Float32Array(rows.length).fill(1);
      const got = await train.run(prompt, batch, ones);
      expectClose({ shape: [rows.length], data: got.loss }, wanted.loss!, tolerance);
      expectClose({ shape: wanted.gradients!.shape, data: got.gradients.prompt!.data }, wanted.gradients!, tolerance);
      const none = { prompt: { shape: [0, wanted.prompt!.shape[1]!], data: new Float32Array(0) } };
      const bare = await train.run(none, batch, ones);
      expectClose({ shape: [rows.length], data: bare.loss }, wanted["bare.loss"]!, tolerance);
    } finally {
      await engine.dispose();
    }
  });
});
