import { expect, test } from "vitest";
import type { Tensor } from "../base/tensor.js";
import { writeSafetensors } from "../model/safetensors.js";
import { initialState, largestState, stateFromSaved, stateToSaved } from "./state.js";

const tensor = (...values: number[]): Tensor => ({ shape: [1, values.length], data: Float32Array.from(values) });

test("a state of several parameters is saved and read back as it was", () => {
  const parameters = { prompt: tensor(1, 2), "lora.a": tensor(3) };
  const moved = { prompt: tensor(5, 6), "lora.a": tensor(7) };
  const state = {
    ...initialState(parameters, { step: 0, tensors: {} }, "full", [0]),
    parameters: moved,
    optimizer: { step: 4, tensors: { "prompt.row": tensor(8), "lora.a.square": tensor(9) } },
    best: { parameters, step: 2, scores: { accuracy: 0.5 } },
    bestOnFull: { parameters: moved, step: 3, scores: {} },
  };
  expect(stateFromSaved(stateToSaved(state), "here")).toEqual(state);
});

test("a state that version 0.1 saved, of one prompt, is read", () => {
  const { rest } = stateToSaved({
    ...initialState({ prompt: tensor(1, 2) }, { step: 0, tensors: {} }, "full", [3]),
    best: { parameters: {}, step: 2, scores: { accuracy: 0.5 } },
  });
  const tensors = {
    prompt: tensor(1, 2),
    best: tensor(3, 4),
    "kept.3": tensor(5, 6),
    "optimizer.row": tensor(7),
    "optimizer.column": tensor(8, 9),
  };
  const state = stateFromSaved({ tensors, rest: { ...rest, optimizerStep: 6, kept: [3] } }, "here");
  expect(state.parameters).toEqual({ prompt: tensors.prompt });
  expect(state.best).toEqual({ parameters: { prompt: tensors.best }, step: 2, scores: { accuracy: 0.5 } });
  expect(state.kept).toEqual(new Map([[3, { prompt: tensors["kept.3"] }]]));
  expect(state.optimizer).toEqual({
    step: 6,
    tensors: { "prompt.row": tensors["optimizer.row"], "prompt.column": tensors["optimizer.column"] },
  });
});

test("the largest state is foretold: with best ones and every kept step it is not larger, and not much smaller", () => {
  const large = { "encoder.weight": { shape: [1000], data: new Float32Array(1000) }, prompt: tensor(1, 2) };
  const optimizer = { step: 0, tensors: { "encoder.weight.square": large["encoder.weight"], "prompt.row": tensor(1) } };
  const fresh = initialState(large, optimizer, "full", [3, 5]);
  const chosen = { parameters: large, step: 2, scores: {} };
  const kept = new Map([3, 5].map((step) => [step, large]));
  const { tensors } = stateToSaved({ ...fresh, best: chosen, bestOnFull: chosen, kept });
  const { length } = writeSafetensors(tensors);
  expect(length).toBeLessThanOrEqual(largestState(fresh, 2));
  expect(length).toBeGreaterThan(0.8 * largestState(fresh, 2));
});
