/**
 * @file ONNX Runtime for Node: the only file that imports it. Checked with onnxruntime-node 1.30.
 *
 * In: model bytes, weight files and settings. Out: a raw session; versions and devices for `doctor`. Only inference is used: the
 * training kernels are in a training build only, which has no JavaScript package.
 */
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { InferenceSession, Tensor } from "onnxruntime-node";
import "./telemetry.js";
import { SoftpromptError } from "../base/errors.js";
import type { Feed } from "../base/tensor.js";
import { devices, firstLine, type Runtime, type RuntimeOptions } from "./runtime.js";

type Ort = typeof import("onnxruntime-node");
let loaded: Promise<Ort> | undefined;

/** Loads ONNX Runtime once; a typed error says what to do where its native library is missing. */
function ort(): Promise<Ort> {
  loaded ??= import("onnxruntime-node").then(
    (module) => {
      const found = (module as { default?: Ort }).default ?? module;
      found.env.logLevel = "fatal"; // important problems are thrown as errors of our own
      return found;
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

/** Folder of the installed engine's package. @throws where it is not installed. */
export function enginePackage(): string {
  return dirname(createRequire(import.meta.url).resolve("onnxruntime-node/package.json"));
}

/** Version of the installed engine, without loading it; "unknown" if it cannot be found. */
export function engineVersion(): string {
  try {
    return JSON.parse(readFileSync(join(enginePackage(), "package.json"), "utf8")).version;
  } catch {
    return "unknown";
  }
}

/** ONNX Runtime in Node. */
export const nodeRuntime: Runtime = {
  name: "node",

  async info() {
    const { env, listSupportedBackends } = await ort();
    return {
      version: env.versions.node ?? env.versions.common,
      devices: listSupportedBackends().map((b) => b.name),
    };
  },

  async open(model, { folder, files }, options) {
    const { InferenceSession, Tensor } = await ort();
    // Files of several folders (or none) cannot be read in place: ONNX Runtime takes one folder, or everything from memory.
    const external: { path: string; data: Uint8Array }[] = [];
    if (folder === null)
      for (const { path, location } of files) external.push({ path: location, data: await readFile(path) });
    let session: InferenceSession;
    const { needs } = devices[options.device];
    try {
      session = await InferenceSession.create(model, sessionOptions(options, folder, external));
    } catch (cause) {
      throw new SoftpromptError("engine", "ONNX Runtime refused the model", {
        where: `session on ${options.device}`,
        got: firstLine(cause),
        hint:
          needs === null
            ? undefined
            : `${options.device} needs ${needs}; softprompt doctor says which devices start here; cpu always does`,
        cause,
      });
    }
    return {
      async run(feeds, outputs) {
        const tensors: Record<string, Tensor> = {};
        for (const [name, { dtype, data, shape }] of Object.entries(feeds))
          tensors[name] = new Tensor(dtype, data as Float32Array, shape);
        const results = await (outputs === undefined ? session.run(tensors) : session.run(tensors, outputs));
        return Object.fromEntries(
          Object.entries(results).map(([name, t]) => [name, { dtype: t.type, shape: t.dims, data: t.data } as Feed]),
        );
      },
      release: () => session.release(),
      endProfiling: () => session.endProfiling(),
    };
  },
};

/**
 * Whether numbers below 1.2e-38 count as zero. The softmax of scores of which a causal mask hides half takes seven times as long with them
 * (docs/log.md, 2026-11-27). ONNX Runtime sets it for the thread that opens the first session too, whose JavaScript then computes so as well:
 * the command line owns its process and asks for it (cli/main.ts), a program that uses the library may.
 */
const flushesDenormals = () => process.env.SOFTPROMPT_DENORMALS === "zero";

function sessionOptions(
  options: RuntimeOptions,
  folder: string | null,
  external: readonly { readonly path: string; readonly data: Uint8Array }[],
): InferenceSession.SessionOptions {
  return {
    executionProviders: [devices[options.device].provider],
    intraOpNumThreads: options.threads,
    graphOptimizationLevel: "all",
    logSeverityLevel: 4, // errors are thrown; they need not be printed as well
    // A memory plan per shape would save some 3 % of time, but keep about 100 kB for each shape, and long runs have thousands of shapes.
    enableMemPattern: false,
    // The arena never frees memory and takes ever larger blocks: some 0.8 GB on T5-Large, for a gain of 6 % in speed.
    enableCpuMemArena: options.arena,
    ...(options.profile ? { enableProfiling: true, profileFilePrefix: options.profile } : {}),
    ...(external.length > 0 ? { externalData: [...external] } : {}),
    extra: {
      session: {
        ...(folder !== null ? { model_external_initializers_file_folder_path: folder } : {}),
        ...(flushesDenormals() ? { set_denormal_as_zero: "1" } : {}),
        // Sessions take turns: a worker that keeps spinning after its run would take a core from the next session.
        force_spinning_stop: "1",
        ...(options.packWeights ? {} : { disable_prepacking: "1" }),
      },
      // Folding the cast of a 16-bit weight would keep its float32 copy in memory permanently.
      ...(options.lowMemory
        ? { optimization: { disable_specified_optimizers: "ConstantFolding;CommonSubexpressionElimination" } }
        : {}),
    },
  };
}
