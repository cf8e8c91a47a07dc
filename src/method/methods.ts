/** @file The methods of tuning, listed by hand. */
import type { Method } from "./method.js";
import { promptTuning } from "./prompt.js";

/** The methods of tuning, by name. */
export const methods = { prompt: promptTuning } as const satisfies Record<string, Method>;
/** Name of a method. */
export type MethodName = keyof typeof methods;
