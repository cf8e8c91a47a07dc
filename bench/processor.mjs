/** @file What machine a figure is from. Out: the processor's name, cores that may be used, and its vector instructions where the system tells them. */
import { existsSync, readFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";

export function processor() {
  const told = existsSync("/proc/cpuinfo") ? /^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] : "";
  return {
    name: cpus()[0].model.trim(),
    cores: availableParallelism(),
    flags: (told ?? "").split(" ").filter((flag) => /^(avx|amx|fma|f16c)/.test(flag)),
  };
}
