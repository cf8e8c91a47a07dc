/** @file Options of asking a model in context, as data: an instruction and examples before each text. */
import { integer, string } from "../base/options.js";

export const inContextOptions = {
  shots: integer({
    default: 0,
    min: 0,
    max: 1000,
    unit: "examples",
    help: "Put so many training rows with their answers before each text, labels in their shares; a row has as many as fit",
  }),
  shotSeed: integer({ default: 0, min: 0, help: "Draws these examples; equal seeds draw equal ones" }),
  instruction: string({ help: "Put this text before each text, and before the examples" }),
};
