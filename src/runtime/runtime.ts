/**
 * @file The border to ONNX Runtime: the only file that imports it. Checked with onnxruntime-node 1.30.
 *
 * In: model bytes and settings. Out: a raw session; versions and devices for `doctor`. Only inference is used: the
 * training kernels are in a training build only, which has no JavaScript package.
 */
import type { InferenceSession, Tensor } from "onnxruntime-node";
import { SoftpromptError } from "../base/errors.js";
import type { Feed } from "../base/tensor.js";

/** Execution providers by our name. */
export const devices = { cpu: "cpu", webgpu: "webgpu", cuda: "cuda" } as const;
export type Device = keyof typeof devices;

export interface RuntimeOptions {
  readonly threads: number;
  readonly device: Device;
  /** Fewer copies of the weights, slower products. */
  readonly lowMemory: boolean;
  /** Folder that the model's external data lies in. */
  readonly folder: string | null;
  /** External data held in memory, by location. */
  readonly external: readonly { readonly path: string; readonly data: Uint8Array }[];
  /** Where to write ONNX Runtime's own profile (a file prefix); null is off. */
  readonly profile?: string | null;
}

/** An open session; the caller releases it. */
export interface RawSession {
  run(feeds: Readonly<Record<string, Feed>>): Promise<Record<string, Feed>>;
  release(): Promise<void>;
  endProfiling(): void;
}

type Runtime = typeof import("onnxruntime-node");
let loaded: Promise<Runtime> | undefined;

/** Loads ONNX Runtime once; a typed error says what to do where its native library is missing. */
function runtime(): Promise<Runtime> {
  loaded ??= import("onnxruntime-node").then(
    (module) => {
      const ort = (module as { default?: Runtime }).default ?? module;
      ort.env.logLevel = "fatal"; // what matters is thrown, and told in our words
      return ort;
    },
    (cause) => {
      loaded = undefined;
      throw new SoftpromptError("engine", "ONNX Runtime cannot be loaded", {
        where: `onnxruntime-node on ${process.platform}-${process.arch}, Node ${process.version}`,
        expected: "a platform it ships for: linux, darwin or win32, x64 or arm64, with glibc",
        got: cause instanceof Error ? cause.message : cause,
        hint: "run npm install again (npm ci --ignore-scripts is enough for the CPU); Alpine needs a glibc image",
        cause,
      });
    },
  );
  return loaded;
}

/** What ONNX Runtime offers here. */
export async function runtimeInfo(): Promise<{ version: string; devices: string[] }> {
  const ort = await runtime();
  return {
    version: ort.env.versions.node ?? ort.env.versions.common,
    devices: ort.listSupportedBackends().map((b) => b.name),
  };
}

/** Opens a session on model bytes. */
export async function openRaw(bytes: Uint8Array, options: RuntimeOptions): Promise<RawSession> {
  const ort = await runtime();
  let session: InferenceSession;
  try {
    session = await ort.InferenceSession.create(bytes, sessionOptions(options));
  } catch (cause) {
    throw new SoftpromptError("engine", "ONNX Runtime refused the model", {
      where: `session on ${options.device}`,
      got: firstLine(cause),
      hint:
        options.device === "cpu" ? undefined : "try device cpu; softprompt doctor lists the devices of this machine",
      cause,
    });
  }
  return {
    async run(feeds) {
      const tensors: Record<string, Tensor> = {};
      for (const [name, { dtype, data, shape }] of Object.entries(feeds))
        tensors[name] = new ort.Tensor(dtype, data as Float32Array, shape);
      const results = await session.run(tensors);
      return Object.fromEntries(
        Object.entries(results).map(([name, t]) => [name, { dtype: t.type, shape: t.dims, data: t.data } as Feed]),
      );
    },
    release: () => session.release(),
    endProfiling: () => session.endProfiling(),
  };
}

function sessionOptions(options: RuntimeOptions): InferenceSession.SessionOptions {
  return {
    executionProviders: [devices[options.device]],
    intraOpNumThreads: options.threads,
    graphOptimizationLevel: "all",
    logSeverityLevel: 4, // errors are thrown; they need not be printed as well
    // A memory plan per shape would gain some 3 % and keep about 100 kB for each shape ever seen: long runs see thousands.
    enableMemPattern: false,
    // The arena keeps what it once took, in ever larger blocks: some 0.8 GB on T5-Large, for 6 % of speed.
    enableCpuMemArena: !options.lowMemory,
    ...(options.profile ? { enableProfiling: true, profileFilePrefix: options.profile } : {}),
    ...(options.external.length > 0 ? { externalData: [...options.external] } : {}),
    extra: {
      session: {
        ...(options.folder !== null ? { model_external_initializers_file_folder_path: options.folder } : {}),
        // Sessions take turns: a worker that keeps spinning after its run would take a core from the next session.
        force_spinning_stop: "1",
        ...(options.lowMemory ? { disable_prepacking: "1" } : {}),
      },
      // Folding a cast of a 16-bit weight would keep the wide copy for good.
      ...(options.lowMemory
        ? { optimization: { disable_specified_optimizers: "ConstantFolding;CommonSubexpressionElimination" } }
        : {}),
    },
  };
}

/** The first line of an ONNX Runtime message, without its source position. */
export function firstLine(cause: unknown): string {
  return (cause instanceof Error ? cause.message : String(cause)).split("\n")[0]!;
}
