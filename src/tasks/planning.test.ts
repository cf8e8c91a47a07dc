/** @file Options of another method or another start are refused, not ignored. */
import { expect, test } from "vitest";
import { defaults } from "../base/options.js";
import { methodOptions } from "../method/options.js";
import { promptOptions } from "./options.js";
import { checkEffect } from "./planning.js";

const usual = {
  ...defaults(methodOptions),
  ...defaults(promptOptions),
  method: "prompt",
  init: "sampledVocab",
} as const;

test.each<[object, RegExp]>([
  [{ initFrom: "runs/earlier" }, /initFrom has no effect[\s\S]*init fromPrompt[\s\S]*init sampledVocab/],
  [{ initText: "good" }, /initText[\s\S]*init text or continuation/],
  [{ initRange: 0.5 }, /initRange[\s\S]*init uniform/],
  [{ initAnyBase: true, init: "text", initText: "good" }, /initAnyBase/],
  [{ method: "superpos", init: "text", initText: "good" }, /initText[\s\S]*starts from a prompt[\s\S]*superpos/],
  [{ loraRank: 3 }, /loraRank[\s\S]*method lora[\s\S]*method prompt/],
  [{ method: "lora", insertLayer: 2 }, /insertLayer[\s\S]*method prompt/],
  [{ method: "lora", prefixHidden: 7 }, /prefixHidden[\s\S]*method prefix/],
])("%j", (more, message) => {
  expect(() => checkEffect({ ...usual, ...more })).toThrow(message);
});

test.each<object>([
  {},
  { init: "fromPrompt", initFrom: "runs/earlier", initAnyBase: true },
  { init: "continuation", initText: "good" },
  { init: "uniform", initRange: 0.5 },
  { method: "lora", loraRank: 3 },
  // a value that is the default says nothing: a run's own record holds all of them
  { loraRank: 8, prefixHidden: 0, initAnyBase: false },
])("%j is fine", (more) => {
  expect(() => checkEffect({ ...usual, ...more })).not.toThrow();
});
