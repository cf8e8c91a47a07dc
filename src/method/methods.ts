/** @file The methods of tuning, listed by hand. */
import type { Method } from "./method.js";
import { promptTuning } from "./prompt.js";

export const methods = { prompt: promptTuning } as const satisfies Record<string, Method>;
export type MethodName = keyof typeof methods;
