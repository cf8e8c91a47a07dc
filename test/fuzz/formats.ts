/** @file The table of untrusted formats (docs/reliability.md). Name → sound files, changes, reader. */
import { closeSync, openSync } from "node:fs";
import { dirname, join } from "node:path";
import { dataFormats } from "./data-formats.js";
import { type Format, inMemory } from "./format.js";
import { modelFormats } from "./model-formats.js";
import { runFormats } from "./run-formats.js";

/** @param fixtures the folder test/fixtures */
export function formats(fixtures: string): Record<string, Format> {
  return { ...modelFormats(fixtures), ...runFormats(), ...dataFormats(fixtures) };
}

/** Readers with the faults that the fuzzer must see, to test the fuzzer: they take the sound file and fail at any other. */
const faults: Record<string, () => unknown> = {
  "broken: throws": () => {
    throw new RangeError("a bug");
  },
  "broken: hangs": () => {
    for (;;);
  },
  "broken: dies": () => process.abort(),
  "broken: slow": () => {
    const spent = () => process.cpuUsage().user + process.cpuUsage().system;
    const until = spent() + 2_500_000;
    while (spent() < until);
  },
  "broken: takes memory": () => void Buffer.alloc(700e6, 1),
  "broken: writes": () => closeSync(openSync(join(dirname(process.env.TMPDIR!), "elsewhere"), "w")),
  "broken: pollutes": () => Object.assign(Object.prototype, { polluted: true }),
};
export const broken: Record<string, Format> = Object.fromEntries(
  Object.entries(faults).map(([name, fault]) => [
    name,
    inMemory(
      "file",
      () => [Uint8Array.of(1)],
      () => Uint8Array.of(2),
      (bytes) => (bytes[0] === 1 ? undefined : fault()),
    ),
  ]),
);
