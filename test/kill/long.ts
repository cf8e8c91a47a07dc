/**
 * @file The long kill test: hundreds of killed processes on both engines, then a disk that is really full.
 *
 * node test/kill/main.mjs [--kills 240] [--seed 1] [--out bench/results/kill.json]
 * Exits with 1 if anything was lost. The full disk needs the right to mount a small tmpfs; without it the summary says so and the
 * fault layer's ENOSPC (test/kill.test.ts, src/train/resume.test.ts) is what stands.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { fullDisk } from "./full-disk.js";
import { killRuns } from "./harness.js";

export async function main(worker: string, model: string, args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      kills: { type: "string", default: "240" },
      seed: { type: "string", default: "1" },
      out: { type: "string", default: "bench/results/kill.json" },
    },
  });
  const kills = Number(values.kills);
  const settings = { program: worker, model, killsPerRun: 6, seed: Number(values.seed) };
  const summaries = [];
  for (const [engine, share] of [
    ["tiny", 1 / 3],
    ["fake", 2 / 3],
  ] as const) {
    const summary = await killRuns({ ...settings, engine, kills: Math.ceil(kills * share) });
    console.log(JSON.stringify(summary));
    summaries.push(summary);
  }
  const disk = await withSmallDisk((folder) => fullDisk(worker, model, folder));
  console.log(JSON.stringify(disk));
  const losses = summaries.flatMap((s) => s.losses).concat(disk.losses ?? []);
  const result = {
    what: "a training process killed by SIGKILL at random moments, inside writes and before file operations, resumed after each",
    kills: summaries.reduce((sum, s) => sum + s.kills, 0),
    runs: summaries.reduce((sum, s) => sum + s.runs, 0),
    losses: losses.length,
    engines: summaries,
    fullDisk: disk,
    where: { node: process.version, platform: `${process.platform} ${process.arch}`, cores: cpus().length },
  };
  mkdirSync(dirname(values.out), { recursive: true });
  writeFileSync(values.out, `${JSON.stringify(result, null, 2)}\n`);
  console.log(`${result.kills} kills in ${result.runs} runs, ${losses.length} losses; written to ${values.out}`);
  return losses.length === 0 ? 0 : 1;
}

/** Mounts a tmpfs of 64 kB for `use`, or says why it could not. */
async function withSmallDisk<T>(
  use: (folder: string) => Promise<T>,
): Promise<T | { skipped: string; losses?: undefined }> {
  const folder = mkdtempSync(join(tmpdir(), "softprompt-full-"));
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], { encoding: "utf8" });
  if (mounted.status !== 0) {
    rmSync(folder, { recursive: true });
    return { skipped: `no tmpfs could be mounted: ${mounted.stderr?.trim() || mounted.error?.message}` };
  }
  try {
    return await use(folder);
  } finally {
    spawnSync("umount", [folder]);
    if (existsSync(folder)) rmSync(folder, { recursive: true, force: true });
  }
}
