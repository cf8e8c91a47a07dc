/**
 * @file The card of an adapter: it offers PEFT's code exactly where PEFT's files lie beside it, and says elsewhere why there are none and
 * what reads the adapter instead. For every method, on an encoder-decoder and a decoder-only model, and for every place of a prompt.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { saveAdapter } from "../src/adapter/adapter.js";
import type { Adapter } from "../src/adapter/types.js";
import { type MethodName, methodNames } from "../src/method/options.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { methodAdapter, promptAdapter } from "./helpers/adapters.js";

const root = mkdtempSync(join(tmpdir(), "softprompt-card-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const models = { T5: "tiny-t5-v11", Llama: "tiny-causal-llama" } as const;
const open = (model: keyof typeof models) =>
  openCheckpoint(fileURLToPath(new URL(`fixtures/${models[model]}`, import.meta.url)));

/** The card, and whether PEFT's files lie beside it. */
function saved(adapter: Adapter) {
  const folder = mkdtempSync(join(root, "adapter-"));
  saveAdapter(folder, adapter);
  const card = readFileSync(join(folder, "README.md"), "utf8");
  return { card, hasFiles: existsSync(join(folder, "adapter_config.json")) };
}

const offersPeft = (card: string) => /^library_name: peft$/m.test(card) && card.includes("from peft import PeftModel");

/** The reason of the card, without what surrounds it. */
const reasonOf = (card: string) =>
  /PEFT cannot load it, because (.+); softprompt can,.*:\n\n```sh\nsoftprompt predict .* --adapter \./.exec(card)?.[1];

const task = (template: string) => ({
  name: "two words",
  template,
  verbalizer: { good: "good", bad: "bad" },
  metrics: ["accuracy"] as ["accuracy"],
  maxTargetTokens: 4,
  targetPrefix: "",
});

describe("methods that leave no prompt", () => {
  const reasons: Partial<Record<`${keyof typeof models} ${MethodName}`, RegExp>> = {
    "T5 prefix":
      /^it gives a prefix to the decoder's self attention alone, and this one is in encoder.self and decoder.cross$/,
    "T5 full": /no such method as full/,
    "Llama full": /no such method as full/,
  };
  const titles: Partial<Record<MethodName, RegExp>> = { prefix: /^Prefix/, lora: /^LoRA/, full: /^Fine-tuned weights/ };
  const applied = methodNames.filter((name) => ["prefix", "lora", "full"].includes(name));
  test.each((["T5", "Llama"] as const).flatMap((model) => applied.map((method) => [model, method] as const)))(
    "%s, %s",
    async (model, method) => {
      const settings = method === "full" ? { fullParts: [model === "T5" ? "layer_norm" : "norm"] } : {};
      const { card, hasFiles } = saved(await methodAdapter(await open(model), method, settings));
      expect(/^# (.+)$/m.exec(card)?.[1]).toMatch(titles[method]!);
      expect(card).not.toContain("- prompt-tuning");
      const reason = reasons[`${model} ${method}`];
      expect(hasFiles).toBe(reason === undefined);
      expect(offersPeft(card)).toBe(hasFiles);
      if (reason) expect(reasonOf(card)).toMatch(reason);
    },
  );

  test("a prefix of T5's decoder: where PEFT ties layers, they must be equal", async () => {
    const checkpoint = await open("T5");
    const adapter = await methodAdapter(checkpoint, "prefix", { prefixAttentions: ["decoder.self"] });
    const apart = saved(adapter);
    expect(apart.hasFiles).toBe(false);
    expect(reasonOf(apart.card)).toMatch(
      /one prefix to layers l and l \+ 1 of an encoder-decoder, and here they have two$/,
    );
    const [name, tensor] = Object.entries(adapter.applied!.parameters)[0]!;
    const alike = { ...tensor, data: tensor.data.map(() => 0.25) };
    const tied = saved({ ...adapter, applied: { ...adapter.applied!, parameters: { [name]: alike } } });
    expect([tied.hasFiles, offersPeft(tied.card)]).toEqual([true, true]);
  });

  test("a prompt that enters before a later block", async () => {
    const { card, hasFiles } = saved(await methodAdapter(await open("Llama"), "prompt", { insertLayer: 1 }));
    expect([hasFiles, offersPeft(card)]).toEqual([false, false]);
    expect(reasonOf(card)).toMatch(/before the first block/);
  });
});

describe("prompts", () => {
  test.each([
    ["in front of the text", "{text}", true],
    ["behind the text", "{text} {prompt}", false],
    ["on both sides", "{prompt:1} {text} {prompt:2}", false],
    ["on the decoder's side", "{text}{prompt:decoder}", false],
  ])("%s", async (place, template, fits) => {
    const adapter = await promptAdapter(await open(place.includes("decoder") ? "T5" : "Llama"), 3, 1, {
      task: task(template),
    });
    const { card, hasFiles } = saved(adapter);
    expect([hasFiles, offersPeft(card)]).toEqual([fits, fits]);
    if (!fits) {
      expect(reasonOf(card)).toMatch(/before the text/);
      expect(card).toContain("3 virtual tokens of width");
      expect(card).not.toContain("before the text of");
    }
  });
});
