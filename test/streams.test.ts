/**
 * @file What the built command line does when one of its streams fails: a reader that is gone, a full device, a pipe that stays open.
 * Needs npm run build.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const main = join(root, "dist/cli/main.js");
const place = mkdtempSync(join(tmpdir(), "softprompt-streams-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

type Stdio = "pipe" | "ignore" | number;

/** Starts softprompt; `stdio` as spawn has it. */
function start(argv: readonly string[], stdio: readonly [Stdio, Stdio, Stdio] = ["ignore", "pipe", "pipe"]) {
  const child = spawn(process.execPath, [main, ...argv], { cwd: place, stdio: [...stdio] });
  const said = { out: "", err: "" };
  child.stdout?.on("data", (d) => {
    said.out += d;
  });
  child.stderr?.on("data", (d) => {
    said.err += d;
  });
  const code = new Promise<number | null>((done) => child.on("close", done));
  return { child, said, code };
}

const tuning = (output: string) =>
  `train --model t5-nano --task quickstart --few-shot 8 --max-eval-rows 4 --batch-size 4 --no-baselines --steps 5000 --eval-every 5000 --output ${output}`.split(
    " ",
  );

/** Waits until a run has made steps. */
async function steps(output: string): Promise<void> {
  const metrics = join(place, output, "metrics.jsonl");
  while (!existsSync(metrics) || !/"step"/.test(readFileSync(metrics, "utf8")))
    await new Promise((next) => setTimeout(next, 50));
}

describe.skipIf(!existsSync(main) || process.platform === "win32")("a stream that fails", { timeout: 60_000 }, () => {
  test("standard error and output closed in the middle of a tuning: it goes on, saves at SIGINT and exits with 130", async () => {
    const { child, code } = start(tuning("closed"), ["ignore", "pipe", "pipe"]);
    await new Promise((told) => child.stderr!.once("data", told));
    child.stderr!.destroy();
    child.stdout!.destroy();
    await steps("closed");
    child.kill("SIGINT");
    expect(await code).toBe(130);
    expect(existsSync(join(place, "closed/adapter/adapter_model.safetensors"))).toBe(true);
  });

  const full = existsSync("/dev/full");
  test.skipIf(!full)("standard error on a full device does not end a tuning", async () => {
    const { child, said, code } = start(tuning("full"), ["ignore", "pipe", openSync("/dev/full", "w")]);
    await steps("full");
    child.kill("SIGINT");
    expect(await code).toBe(130);
    expect(said.out).toContain("train --resume full");
  });

  test
    .skipIf(!full)
    .each([["inspect t5-nano --json"], ["--version"], ["predict Fine. --model t5-nano --task quickstart"]])(
    "standard output on a full device is an error of the file system: %s",
    async (line) => {
      const { said, code } = start(line.split(" "), ["ignore", openSync("/dev/full", "w"), "pipe"]);
      expect(await code).toBe(10);
      expect(said.err).toMatch(/^error standard output: no space is left on the device\n/m);
      expect(said.err).not.toMatch(/at .*\.js|bug/);
    },
  );

  test.each([
    ["inspect t5-nano --json", 0],
    ["inspect nowhere-at-all/x --offline --json", 9],
  ] as const)("nobody reads standard output: the command's own exit code, quietly: %s", async (line, wanted) => {
    const { child, said, code } = start(line.split(" "));
    child.stdout!.destroy();
    expect(await code).toBe(wanted);
    expect(said.err).toBe("");
  });

  test("standard output that is a file is whole", async () => {
    const path = join(place, "inspected.json");
    const { code } = start(["inspect", "t5-nano", "--json"], ["ignore", openSync(path, "w"), "pipe"]);
    expect(await code).toBe(0);
    expect(() => JSON.parse(readFileSync(path, "utf8"))).not.toThrow();
  });

  test("SIGINT ends predict though its input stays open", async () => {
    const { child, said, code } = start("predict --model t5-nano --task quickstart".split(" "), [
      "pipe",
      "pipe",
      "pipe",
    ]);
    child.stdin!.write("Fine.\n");
    await new Promise((later) => setTimeout(later, 2000)); // it says nothing until it has rows enough
    child.kill("SIGINT");
    expect(await code).toBe(130);
    expect(said.err).toContain("stopped before the end of the input");
  });
});
