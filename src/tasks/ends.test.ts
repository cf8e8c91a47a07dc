/**
 * @file A text that is written ends at the token that targets are trained to end with, also where the model's files name another one:
 * in every call that writes, the same text. The model (test/helpers/chain-causal.ts) writes 🙂깰 and the tokenizer's end after "x"; its
 * config.json knows only another end.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { chainCausal } from "../../test/helpers/chain-causal.js";
import type { Adapter } from "../adapter/types.js";
import { defineTask } from "../data/define.js";
import { generationFlops, shapeOfRows } from "../engine/flops.js";
import { fullModel } from "../model/partial.js";
import { parseSafetensors, writeSafetensors } from "../model/safetensors.js";
import { encodeRows } from "../text/rows.js";
import { endsOf } from "../text/rules.js";
import { evaluate } from "./evaluate.js";
import { generate } from "./generate.js";
import { type Model, openModel } from "./model.js";
import { predict } from "./predict.js";

let model: Model;
let folder: string;
beforeAll(async () => {
  folder = chainCausal({ config: { eos_token_id: 1 } });
  model = await openModel(folder);
});
afterAll(async () => {
  await model.dispose();
  rmSync(folder, { recursive: true, force: true });
});

describe("a model whose files name another end than its tokenizer", () => {
  const free = defineTask({ name: "free", template: "{text}", verbalizer: null, maxTargetTokens: 24 });
  const labels = defineTask({ name: "labels", template: "{text}", verbalizer: { yes: "🙂깰", no: "DEF" } });

  test("it is so", async () => {
    expect(model.checkpoint.config).toMatchObject({ eosIds: [1] });
    expect(model.tokenizer.eosIds).toEqual([2]);
    expect(await generate(model, { prompt: "x", maxTokens: 24 })).toBe("🙂깰");
  });
  test("predict writes what generate writes; the text is a label's", async () => {
    const [text] = await predict(model, null, ["x"], { task: free });
    expect(text!.text).toBe("🙂깰");
    const [label] = await predict(model, null, ["x"], { task: labels, evaluateBy: "generation" });
    expect(label).toMatchObject({ label: "yes", text: "🙂깰" });
  });
  test("evaluate finds it right, in a batch with a text that goes on", async () => {
    const rows = ["x", "C"].map((input, n) => ({
      id: `rows[${n}]`,
      input,
      label: null,
      target: "🙂깰",
      references: ["🙂깰"],
    }));
    const { scores, predictions } = await evaluate(model, rows, { task: free });
    expect(predictions.map(({ text }) => text)).toEqual(["🙂깰", "DEFGHIJABCDEFGHIJABCDEFG"]);
    expect(scores.exactMatch).toBe(0.5);
  });
  test.each([["x"], ["C"]])(
    "the cost of writing after %j is that of the passes that were made, not of the task's limit",
    async (input) => {
      const { checkpoint, engine, tokenizer } = model;
      const row = { id: "rows[0]", input, label: null, target: "o", references: ["o"] };
      const encoded = encodeRows(free, [row], tokenizer, 492);
      const bare = { prompt: { shape: [0, checkpoint.config.width], data: new Float32Array(0) } };
      const program = await engine.generate(fullModel(checkpoint.config));
      let passes = 0;
      for await (const _ of program.stream(bare, encoded, 24, { ends: endsOf(tokenizer) })) passes++;
      expect(passes).toBe(input === "x" ? Buffer.byteLength("🙂깰") + 1 : 24);
      const shape = { ...shapeOfRows(checkpoint.config, encoded, 0), target: passes };
      const { flops } = await evaluate(model, [row], { task: free, loss: false });
      expect(flops).toBe(generationFlops(checkpoint.config, fullModel(checkpoint.config), shape).total);
    },
  );
});

test("an adapter tuned in chats ends its answers at the chat's end of turn, on a model opened for chats or not", async () => {
  const chat =
    "{% for m in messages %}{{ '<|start|>' + m['role'] + '\\n' + m['content'] + '<|end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant\\n' }}{% endif %}";
  const folder = chainCausal({ chat, config: { eos_token_id: 0 } });
  const file = join(folder, "tokenizer_config.json");
  // the tokenizer's own end is another token than the template's
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), eos_token: "<unk>" }));
  const chats = await openModel(folder, { chat: true });
  const plain = await openModel(folder);
  try {
    const { width } = chats.checkpoint.config;
    const adapter: Adapter = {
      prompt: { shape: [2, width], data: new Float32Array(2 * width).fill(0.01) },
      mask: null,
      base: { name: "", revision: null, sha256: null, family: null, width, layers: null, heads: null },
      tokenizer: null,
      task: defineTask({ name: "free", template: "{text}", verbalizer: null, maxTargetTokens: 10 }),
      chat: true,
      training: null,
      scores: null,
      kept: { config: {}, extras: {} },
    };
    for (const one of [chats, plain]) {
      expect((await predict(one, adapter, ["a1"]))[0]!.text).toBe("ok");
      expect(await generate(one, { adapter, prompt: "a1", maxTokens: 10 })).toBe("ok");
    }
  } finally {
    await chats.dispose();
    await plain.dispose();
    rmSync(folder, { recursive: true, force: true });
  }
});

test.each([0, 5])(
  "a model whose weights are no numbers writes nothing, whatever its padding is (%i)",
  async (padId) => {
    const folder = chainCausal({ config: { pad_token_id: padId } });
    const file = join(folder, "model.safetensors");
    const { entries, tensor } = parseSafetensors(readFileSync(file), file);
    const tensors = Object.fromEntries([...entries.keys()].map((name) => [name, tensor(name)]));
    tensors["model.norm.weight"]!.data[0] = Number.NaN;
    writeFileSync(file, writeSafetensors(tensors));
    const broken = await openModel(folder);
    try {
      const task = defineTask({ name: "labels", template: "{text}", verbalizer: { yes: "AB", no: "DEF" } });
      const refused = { kind: "numeric" };
      for (const temperature of [0, 1])
        await expect(generate(broken, { prompt: "x", maxTokens: 4, temperature })).rejects.toMatchObject(refused);
      for (const evaluateBy of ["ranking", "generation"] as const)
        await expect(predict(broken, null, ["x"], { task, evaluateBy })).rejects.toMatchObject(refused);
    } finally {
      await broken.dispose();
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
