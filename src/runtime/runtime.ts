/**
 * @file The interface of an inference runtime. node.ts implements it with ONNX Runtime for Node; one for browsers would be another file
 * beside it.
 *
 * In: model bytes, the files that hold its weights, settings. Out: a raw session: named tensors in and out.
 */
import type { Feed } from "../base/tensor.js";

/** What a device is to ONNX Runtime, and what a machine must have for it; null: nothing. */
interface DeviceRow {
  readonly provider: string;
  readonly needs: string | null;
}

/** Execution providers by our name. */
export const devices = {
  cpu: { provider: "cpu", needs: null },
  webgpu: {
    provider: "webgpu",
    needs: "a graphics card with its driver, and on Linux the Vulkan loader (package libvulkan1 or vulkan-loader)",
  },
  cuda: {
    provider: "cuda",
    needs: "an NVIDIA card, CUDA 12, cuDNN 9 and the libraries that ONNX Runtime's install script fetches (README.md)",
  },
} as const satisfies Record<string, DeviceRow>;
/** Name of an execution provider. */
export type Device = keyof typeof devices;

/** How a session is opened. */
export interface RuntimeOptions {
  readonly threads: number;
  readonly device: Device;
  /** Fewer copies of the weights, slower products. */
  readonly lowMemory: boolean;
  /** Take memory in large blocks and never give it back. */
  readonly arena: boolean;
  /** Keep a packed copy of each product's weights: it spares their packing in every product. */
  readonly packWeights: boolean;
  /** Where to write the runtime's own profile (a file prefix); null is off. */
  readonly profile: string | null;
}

/** Where a model's weights lie. */
export interface WeightFiles {
  /** The one folder that holds them, read in place; null when they lie in several, or there are none. */
  readonly folder: string | null;
  /** By real path, and what the model calls each. */
  readonly files: readonly { readonly path: string; readonly location: string }[];
}

/** An open session; the caller releases it. */
export interface RawSession {
  /** @param outputs which come back; default all */
  run(feeds: Readonly<Record<string, Feed>>, outputs?: readonly string[]): Promise<Record<string, Feed>>;
  release(): Promise<void>;
  endProfiling(): void;
}

/** Runs models: the only access to an inference library. */
export interface Runtime {
  readonly name: "node" | "web";
  /** The execution providers that are available here. */
  info(): Promise<{ readonly version: string; readonly devices: readonly string[] }>;
  /** @throws SoftpromptError "engine" where the runtime is missing, or refuses the model. */
  open(model: Uint8Array, weights: WeightFiles, options: RuntimeOptions): Promise<RawSession>;
}

/** The first line of a runtime's message, without its source position. */
export function firstLine(cause: unknown): string {
  return (cause instanceof Error ? cause.message : String(cause)).split("\n")[0]!;
}
