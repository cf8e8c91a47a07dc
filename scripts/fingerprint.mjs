/**
 * @file What four fixed commands leave behind, as sha256: run it before and after a change that must not change any number.
 *
 *     node scripts/fingerprint.mjs [ROOT]     ROOT: the built checkout to run, default this one
 *
 * The commands: the quickstart, an FPT run, an XPrompt search with two workers, and a run that is stopped by a signal and resumed.
 * Hashed are the adapter's weights, metrics.jsonl without clocks, and the scores. Equal only on one machine: float32 kernels differ by processor.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(process.argv[2] ?? fileURLToPath(new URL("..", import.meta.url)));
const main = join(root, "dist/cli/main.js");
const work = mkdtempSync(join(tmpdir(), "softprompt-fingerprint-"));
const sha = (data) => createHash("sha256").update(data).digest("hex").slice(0, 16);
const common = [
  "--model",
  "t5-nano",
  "--task",
  "quickstart",
  "--batch-size",
  "8",
  "--threads",
  "1",
  "--warmup-steps",
  "0",
];

function run(args) {
  const { status, stderr } = spawnSync(process.execPath, [main, ...args], {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error(`${args.join(" ")} ended with ${status}: ${stderr.slice(-2000)}`);
}

/** Clocks and costs of opening depend on the machine; everything else is of the training. */
function metrics(folder) {
  const lines = readFileSync(join(folder, "metrics.jsonl"), "utf8").trimEnd().split("\n");
  return sha(
    lines
      .map((line) => {
        const { time, seconds, openSeconds, ...rest } = JSON.parse(line);
        return JSON.stringify(rest);
      })
      .join("\n"),
  );
}

const scores = (folder) => sha(JSON.stringify(JSON.parse(readFileSync(join(folder, "result.json"), "utf8")).scores));
const adapter = (folder) => sha(readFileSync(join(folder, "adapter/adapter_model.safetensors")));
const show = (name, folder, parts) =>
  console.log(name.padEnd(11), ...Object.entries(parts).map(([key, of]) => `${key} ${of(folder)}`));

try {
  const quick = join(work, "quick");
  run(["quickstart", "--output", quick]);
  show("quickstart", quick, { adapter, metrics, scores });

  const fpt = join(work, "fpt");
  run([
    "train",
    ...common,
    "--schedule",
    "fpt-cr",
    "--reduce-decoder",
    "yes",
    "--steps",
    "24",
    "--eval-every",
    "8",
    "--output",
    fpt,
  ]);
  show("fpt", fpt, { adapter, metrics, scores });

  const search = join(work, "search");
  const prune = ["--tokens-pruned", "2,4", "--pieces-pruned", "4,8", "--workers", "2", "--retrain-steps", "8"];
  run(["prune", ...common, "--steps", "16", "--eval-every", "8", ...prune, "--output", search]);
  show("xprompt", search, { adapter, scores });

  const resumed = join(work, "resumed");
  const args = ["train", ...common, "--steps", "40", "--eval-every", "10", "--output", resumed];
  const first = spawn(process.execPath, [main, ...args], { cwd: root, stdio: "ignore" });
  const ended = new Promise((done) => first.on("exit", done));
  const log = join(resumed, "metrics.jsonl");
  while (first.exitCode === null && !(existsSync(log) && readFileSync(log, "utf8").includes('"step":7,')))
    await new Promise((done) => setTimeout(done, 20));
  first.kill("SIGINT");
  if ((await ended) !== 130) throw new Error("the run to be resumed was not stopped");
  run(["train", "--resume", resumed]);
  show("resumed", resumed, { adapter, metrics, scores });
} finally {
  rmSync(work, { recursive: true, force: true });
}
