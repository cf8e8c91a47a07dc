/** @file What machine a figure is from. Out: the processor's name, cores that may be used, and its vector instructions where the system tells them. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { dirname } from "node:path";

export function processor() {
  const told = existsSync("/proc/cpuinfo") ? /^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] : "";
  return {
    name: cpus()[0].model.trim(),
    cores: availableParallelism(),
    flags: (told ?? "").split(" ").filter((flag) => /^(avx|amx|fma|f16c)/.test(flag)),
  };
}

/** Writes figures as JSON, with the day, the machine and the Node that made them. */
export function saveFigures(file, figures) {
  const made = { date: new Date().toISOString().slice(0, 10), processor: processor(), node: process.version };
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify({ ...made, ...figures }, null, 1)}\n`);
}
