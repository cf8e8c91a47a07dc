/**
 * @file The work of softprompt doctor: what runs here, on which devices, and what is missing.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, rmdir, statfs } from "node:fs/promises";
import { arch, availableParallelism, cpus, freemem, platform, tmpdir, totalmem } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { bundledFolder, bundledNames } from "../../base/bundled.js";
import { cacheFolder } from "../../base/digest.js";
import { hubCache, ownCache } from "../../base/files.js";
import { expandPath, homeFolder } from "../../base/home.js";
import { packageInfo } from "../../base/package.js";
import { defineTask } from "../../data/define.js";

import { largestEightBit, plannedEightBits } from "../../engine/eight-bit.js";
import { choosePrecision, timeProducts } from "../../engine/precision.js";
import { hubCacheFolder } from "../../hub/cache.js";
import { storedBlocks } from "../../model/block-weights.js";
import { openCheckpoint } from "../../model/checkpoint.js";
import { eightBitText } from "../../model/eight-bit.js";
import { productsOf } from "../../model/quantise.js";
import { byteText } from "../../report/format.js";
import { plainTable } from "../../report/markdown.js";
import { enginePackage, nodeRuntime } from "../../runtime/node.js";
import { type Device, devices } from "../../runtime/runtime.js";

import { modelFolder, openModel } from "../../tasks/model.js";
import { predict } from "../../tasks/predict.js";
import type { Answer, CommandContext } from "../command.js";
import { modelContext } from "../progress.js";
import { quickstartSettings } from "../quickstart-settings.js";
import type { DoctorValues } from "../tables/doctor.js";
import { tryDevice } from "./device-probe.js";

interface Finding {
  readonly what: string;
  readonly found: string;
  /** "fault" stops softprompt from working; "note" is worth knowing. */
  readonly state: "ok" | "note" | "fault";
  readonly remedy?: string;
}

/** Lowest Node version, as package.json's engines says. */
const leastNode = [20, 19] as const;

export async function doctor(options: DoctorValues, context: CommandContext): Promise<Answer> {
  const { resultColors: c } = context.terminal;
  const findings = [
    node(),
    machine(),
    await engine(),
    await eightBit(),
    ...(options.model === undefined ? [] : await precisionOf(options.model, options, context)),
    ...(await gpu()),
    await disk(),
    ...(await caches()),
    await model(),
  ];
  const marks = { ok: c.green("ok"), note: c.yellow("note"), fault: c.red("fault") };
  const lines = findings.flatMap((f) => [
    [marks[f.state], f.what, f.found],
    ...(f.remedy === undefined ? [] : [["", "", c.dim(`→ ${f.remedy}`)]]),
  ]);
  const faults = findings.filter((f) => f.state === "fault").length;
  const verdict = faults === 0 ? "softprompt works here." : `${faults} fault${faults === 1 ? "" : "s"} to mend.`;
  return {
    json: { version: packageInfo().version, ok: faults === 0, findings },
    text: `${plainTable(lines)}\n\n${verdict}`,
    exitCode: faults === 0 ? 0 : 7,
  };
}

function node(): Finding {
  const [major, minor] = process.versions.node.split(".").map(Number) as [number, number];
  const fine = major > leastNode[0] || (major === leastNode[0] && minor >= leastNode[1]);
  return {
    what: "Node",
    found: process.versions.node,
    state: fine ? "ok" : "fault",
    remedy: fine ? undefined : `install Node ${leastNode.join(".")} or newer`,
  };
}

function machine(): Finding {
  const model = cpus()[0]?.model.trim() ?? "unknown processor";
  return {
    what: "Machine",
    found: `${platform()}-${arch()}, ${model}, ${availableParallelism()} threads, ${byteText(freemem())} of ${byteText(totalmem())} memory free`,
    state: "ok",
  };
}

async function engine(): Promise<Finding> {
  try {
    const { version } = await nodeRuntime.info();
    const tried = await devicesTried();
    const working = tried.filter(({ problem }) => problem === null).map(({ name }) => name);
    const broken = tried.filter(({ problem }) => problem !== null);
    const told = broken.map(({ name, problem }) => `${name} (${problem}; it needs ${devices[name].needs})`).join("; ");
    return {
      what: "ONNX Runtime",
      found: `${version}, devices: ${working.join(", ") || "none"}${told === "" ? "" : `; does not start: ${told}`}`,
      state: working.includes("cpu") ? "ok" : "fault",
      ...(working.includes("cpu") ? {} : { remedy: "install again; the CPU engine is part of the package" }),
    };
  } catch (error) {
    return {
      what: "ONNX Runtime",
      found: error instanceof Error ? error.message.split("\n")[0]! : String(error),
      state: "fault",
      remedy: "install again; if the engine's own install script failed: npm install --ignore-scripts",
    };
  }
}

interface Tried {
  readonly name: Device;
  /** Why a graph does not run there; null where it does. */
  readonly problem: string | null;
}

let tried: Promise<Tried[]> | undefined;

/**
 * Every device that ONNX Runtime lists, each tested with a tiny graph, because the list has all devices of the build, including those that
 * do not start here.
 */
function devicesTried(): Promise<Tried[]> {
  tried ??= (async () => {
    const { devices: listed } = await nodeRuntime.info();
    const found: Tried[] = [];
    for (const name of Object.keys(devices) as Device[])
      if (listed.includes(name) && (name !== "cuda" || cudaInstalled()))
        found.push({ name, problem: name === "cpu" ? await tryDevice(name) : await triedApart(name) });
    return found;
  })();
  return tried;
}

/**
 * tryDevice in a process of its own: a GPU's driver writes warnings to standard error where it finds no card, and may end the
 * process that asks it.
 */
async function triedApart(device: Device): Promise<string | null> {
  const script = fileURLToPath(new URL("device-probe.js", import.meta.url));
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [script, device], { timeout: 60_000 });
    return (JSON.parse(stdout) as { problem: string | null }).problem;
  } catch (error) {
    const { signal, code } = error as { signal?: string | null; code?: number | null };
    return signal ? `the attempt ended by ${signal}` : `the attempt ended with code ${code}`;
  }
}

/** Without its libraries the attempt would give no more information than "not installed". */
function cudaInstalled(): boolean {
  return existsSync(join(enginePackage(), "bin/napi-v6", platform(), arch(), "libonnxruntime_providers_cuda.so"));
}

let largest: ReturnType<typeof largestEightBit> | undefined;

/** The largest 8-bit integer that signed products bear here, asked once. */
function largestHere(): ReturnType<typeof largestEightBit> {
  largest ??= largestEightBit({ device: "cpu", plainOps: false });
  return largest;
}

/** The effect of `--precision int8` on this machine. */
async function eightBit(): Promise<Finding> {
  const what = "8-bit layers";
  try {
    const most = await largestHere();
    const found =
      most === 127
        ? "products are exact here: weights to 127 (--precision int8)"
        : "larger products saturate on this processor: weights have 7 bits, or 8 as unsigned numbers in a model with very large neurons (--precision int8)";
    // those of T5-base
    const shapes = [
      { out: 768, into: 768, layers: 1 },
      { out: 2048, into: 768, layers: 1 },
    ];
    const { float32, int8 } = await timeProducts(shapes, { threads: 0, plainOps: false });
    const gain = `of T5-base's shapes they are ${(float32 / int8).toFixed(1)} times as fast as float32's`;
    return { what, found: `${found}; ${gain}`, state: "ok" };
  } catch (error) {
    return { what, found: error instanceof Error ? error.message.split("\n")[0]! : String(error), state: "note" };
  }
}

/** What `--precision auto` takes for a model here and why, and which of its layers 8 bits would leave in float32. */
async function precisionOf(
  name: string,
  { revision, offline }: DoctorValues,
  { terminal, signal }: CommandContext,
): Promise<Finding[]> {
  const { folder, label, gguf } = await modelFolder(name, { revision, offline }, modelContext(terminal, signal));
  const checkpoint = await openCheckpoint(folder, { name: label, gguf });
  const { config } = checkpoint;
  const eightBit = await plannedEightBits(checkpoint);
  const most = await largestHere();
  const times = await timeProducts(config, { threads: 0, plainOps: false, ...productsOf(eightBit.values(), most) });
  const { precision, why } = choosePrecision(times);
  const stored = await storedBlocks(checkpoint);
  return [
    { what: "Precision", found: `for ${label} auto takes ${precision}: ${why}`, state: "ok" },
    { what: "Exact layers", found: eightBitText({ config, eightBit }), state: "ok" },
    ...(stored === null
      ? []
      : [
          {
            what: "Blocks",
            found: `${stored.text}; ${byteText(stored.bytes)} (--precision stored)`,
            state: "ok",
          } as const,
        ]),
  ];
}

/** A GPU that is there but not used is the most frequent surprise. */
async function gpu(): Promise<Finding[]> {
  if (platform() !== "linux" || !existsSync("/dev/nvidiactl")) return [];
  const here = await devicesTried().catch(() => []);
  if (here.some(({ name, problem }) => name === "cuda" && problem === null))
    return [{ what: "NVIDIA GPU", found: "use it with --device cuda", state: "ok" }];
  return [
    {
      what: "NVIDIA GPU",
      found: "there, but ONNX Runtime's CUDA libraries are not installed",
      state: "note",
      remedy: "README, “With a GPU”, has the one command that fetches them",
    },
  ];
}

async function disk(): Promise<Finding> {
  const asked = (process.env.HF_HOME && expandPath(process.env.HF_HOME, process.env)) || homeFolder() || tmpdir();
  const place = existingAbove(asked);
  try {
    const probe = await mkdtemp(join(tmpdir(), "softprompt-doctor-"));
    await rm(probe, { recursive: true });
    const { bavail, bsize } = await statfs(place).catch(() => statfs(tmpdir()));
    const free = bavail * bsize;
    return {
      what: "Disk",
      found: `${byteText(free)} free at ${place}`,
      state: free < 1e9 ? "note" : "ok",
      remedy: free < 1e9 ? "a base model from a hub needs up to several GB; set HF_HOME to a larger disk" : undefined,
    };
  } catch (error) {
    return {
      what: "Disk",
      found: `the temporary folder cannot be written: ${error instanceof Error ? error.message : error}`,
      state: "fault",
      remedy: "set TMPDIR to a folder you may write",
    };
  }
}

/** The path, or the nearest folder above it that is there. */
function existingAbove(path: string): string {
  const above = dirname(path);
  return existsSync(path) || above === path ? path : existingAbove(above);
}

/** Whether a folder can be written, or made. Nothing stays of the attempt. */
async function writingProblem(folder: string): Promise<string | null> {
  try {
    await rmdir(await mkdtemp(join(existingAbove(folder), ".softprompt-doctor-")));
    return null;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

/** The folders that are written unasked, which lie in the home folder where no variable names others. */
async function caches(): Promise<Finding[]> {
  const hub = () => {
    try {
      return hubCacheFolder();
    } catch {
      return null;
    }
  };
  const each = [
    {
      ...ownCache,
      what: "Cache",
      folder: cacheFolder(),
      state: "fault",
      lost: "--precision int8 and GGUF files do not work",
    },
    // what was fetched before is still read
    { ...hubCache, what: "Hub's cache", folder: hub(), state: "note", lost: "nothing can be fetched from a hub" },
  ] as const;
  return Promise.all(
    each.map(async ({ what, folder, state, whose, variable, lost }): Promise<Finding> => {
      const problem = folder === null ? "this user has no home folder" : await writingProblem(folder);
      if (problem === null) return { what, found: folder!, state: "ok" };
      return {
        what,
        found: `${whose} cannot be written${folder === null ? "" : ` at ${folder}`} (${problem}): ${lost}`,
        state,
        remedy: `set ${variable} to a folder that may be written`,
      };
    }),
  );
}

/** The quickstart's model answers one text: graph, engine, tokenizer and weights work together. The other bundled ones must lie there. */
async function model(): Promise<Finding> {
  const what = "Bundled models";
  const missing = bundledNames.filter((name) => !existsSync(join(bundledFolder(name), "model.safetensors")));
  if (missing.length > 0)
    return {
      what,
      found: `missing: ${missing.join(", ")}`,
      state: "note",
      remedy: "quickstart needs t5-nano; any other command takes --model PATH or a hub id",
    };
  try {
    const opened = await openModel(quickstartSettings.model);
    try {
      const started = performance.now();
      const task = defineTask({ name: "doctor", template: "{text}", verbalizer: { no: "negative", yes: "positive" } });
      await predict(opened, null, ["Does this work?"], { task });
      return {
        what,
        found: `${quickstartSettings.model} answered a first text in ${Math.round(performance.now() - started)} ms`,
        state: "ok",
      };
    } finally {
      await opened.dispose();
    }
  } catch (error) {
    return {
      what,
      found: error instanceof Error ? error.message.split("\n")[0]! : String(error),
      state: "fault",
      remedy: "install again; if it stays, report it with SOFTPROMPT_DEBUG=1 softprompt doctor",
    };
  }
}
