/**
 * @file softprompt doctor: what runs here, on which devices, and what is missing.
 */
import { existsSync } from "node:fs";
import { mkdtemp, rm, statfs } from "node:fs/promises";
import { arch, availableParallelism, cpus, freemem, platform, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { expandPath, homeFolder } from "../../base/home.js";
import { packageFile, packageInfo } from "../../base/package.js";
import { defineTask } from "../../data/define.js";
import { byteText } from "../../report/format.js";
import { plainTable } from "../../report/markdown.js";
import { enginePackage, nodeRuntime } from "../../runtime/node.js";
import { bundledModel, openModel } from "../../tasks/model.js";
import { predict } from "../../tasks/predict.js";
import { command } from "../command.js";

interface Finding {
  readonly what: string;
  readonly found: string;
  /** "fault" stops softprompt from working; "note" is worth knowing. */
  readonly state: "ok" | "note" | "fault";
  readonly remedy?: string;
}

/** Lowest Node version, as package.json's engines says. */
const leastNode = [20, 19] as const;

export const doctor = command({
  summary: "check what runs here, which devices there are, and what is missing",
  description:
    "Looks at Node, ONNX Runtime and its devices, memory and disk, and lets the bundled model answer a text. Each fault comes with its remedy; exits with 7 when something needed is missing.",
  positionals: [],
  sections: {},
  examples: ["softprompt doctor", "softprompt doctor --json"],
  async run(_, __, { terminal: { resultColors: c } }) {
    const findings = [node(), machine(), await engine(), ...(await gpu()), await disk(), await model()];
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
  },
});

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
    return { what: "ONNX Runtime", found: `${version}, devices: ${(await devicesHere()).join(", ")}`, state: "ok" };
  } catch (error) {
    return {
      what: "ONNX Runtime",
      found: error instanceof Error ? error.message.split("\n")[0]! : String(error),
      state: "fault",
      remedy: "install again; if the engine's own install script failed: npm install --ignore-scripts",
    };
  }
}

/** What softprompt offers of what ONNX Runtime lists: it names cuda wherever it could run, installed or not. */
async function devicesHere(): Promise<string[]> {
  const { devices: listed } = await nodeRuntime.info();
  const installed: Readonly<Record<string, () => boolean>> = {
    cpu: () => true,
    webgpu: () => true,
    cuda: () => {
      return existsSync(join(enginePackage(), "bin/napi-v6", platform(), arch(), "libonnxruntime_providers_cuda.so"));
    },
  };
  return listed.filter((name) => installed[name]?.() ?? false);
}

/** A GPU that is there but not used is the most frequent surprise. */
async function gpu(): Promise<Finding[]> {
  if (platform() !== "linux" || !existsSync("/dev/nvidiactl")) return [];
  const devices = await devicesHere().catch(() => [] as string[]);
  if (devices.includes("cuda")) return [{ what: "NVIDIA GPU", found: "use it with --device cuda", state: "ok" }];
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
  const place = (process.env.HF_HOME && expandPath(process.env.HF_HOME, process.env)) || homeFolder() || tmpdir();
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

/** The bundled model answers one text: graph, engine, tokenizer and weights work together. */
async function model(): Promise<Finding> {
  const what = "Bundled model";
  if (!existsSync(join(packageFile("models/t5-nano"), "model.safetensors")))
    return {
      what,
      found: "missing",
      state: "note",
      remedy: "quickstart needs it; any other command takes --model PATH or a hub id",
    };
  try {
    const opened = await openModel(bundledModel);
    try {
      const started = performance.now();
      const task = defineTask({ name: "doctor", template: "{text}", verbalizer: { no: "negative", yes: "positive" } });
      await predict(opened, null, ["Does this work?"], { task });
      return { what, found: `answered a first text in ${Math.round(performance.now() - started)} ms`, state: "ok" };
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
