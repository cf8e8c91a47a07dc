/**
 * Every kind of method with the virtual tokens at every kind of place: it trains, or the options are refused before anything runs. No
 * combination reaches the engine's own checks, whose words are of graphs and not of options.
 */
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { loadRows } from "../src/tasks/data.js";
import { type Model, openModel } from "../src/tasks/model.js";
import { prune } from "../src/tasks/prune.js";
import { tune } from "../src/tasks/tune.js";
import { tinyCausal } from "./helpers/tiny-causal.js";

const opened: Model[] = [];
afterAll(async () => {
  for (const model of opened) await model.dispose();
});

const rows = ["good", "bad", "so good", "so bad"].map((text, n) => ({ text, label: n % 2 ? "b" : "a" }));
const dataAt = (promptPosition: string) =>
  loadRows(rows, { template: "it is {text}", validationRows: rows, labels: ["a", "b"], promptPosition });
const steps = { steps: 1, evalEvery: 1, batchSize: 2, virtualTokens: 2, baselines: false } as const;

const methods = {
  prompt: { method: "prompt" },
  "p-tuning": { method: "p-tuning" },
  prefix: { method: "prefix" },
  "projected prefix": { method: "prefix", prefixHidden: 4 },
  lora: { method: "lora", loraRank: 2 },
  full: { method: "full" },
} as const;
const late = { "late prompt": { method: "prompt", insertLayer: 1 } } as const;

const t5 = fileURLToPath(new URL("../models/t5-nano", import.meta.url));
describe.each([
  {
    name: "T5",
    folder: () => t5,
    methods: { ...methods, ...late },
    trains: { end: ["prompt", "p-tuning", "lora", "full"], decoder: ["prompt"] },
  },
  {
    name: "a decoder-only model",
    folder: () => tinyCausal(),
    methods,
    trains: { end: ["prompt"], "start:1,end:1": ["prompt"] },
  },
])("$name", ({ folder, methods, trains }) => {
  const cells = Object.entries(trains).flatMap(([place, names]) =>
    Object.entries(methods).map(([name, options]) => ({ place, name, options, works: names.includes(name) })),
  );
  let model: Promise<Model> | undefined;
  const theModel = async () => {
    model ??= openModel(folder(), { threads: 1 }).then((one) => {
      opened.push(one);
      return one;
    });
    return model;
  };

  test.each(cells)("$name, tokens at $place: trained: $works", async ({ place, options, works }) => {
    const tuned = tune(await theModel(), await dataAt(place), { ...steps, ...options });
    if (works) expect((await tuned).training.steps).toBe(1);
    else
      await expect(tuned).rejects.toMatchObject({
        kind: "usage",
        problem: "this method does not work with the virtual tokens at this place",
        parts: { where: "promptPosition", got: expect.stringMatching(/^another place, with (method|insertLayer) /) },
      });
  });

  test("a search over a prefix is refused there as its tuning is", async () => {
    const search = { ...steps, method: "prefix", pieces: 2, tokensPruned: [1], piecesPruned: [1] } as const;
    const searched = prune(await theModel(), await dataAt("end"), search);
    await expect(searched).rejects.toMatchObject({ kind: "usage", parts: { where: "promptPosition" } });
  });
});
