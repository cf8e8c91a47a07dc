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

  const predicting = ["predict", "--model", "t5-nano", "--task", "quickstart"];
  const answered = (text: string) =>
    text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));

  test("predict answers each line while its input stays open; SIGINT ends it", async () => {
    const { child, said, code } = start(predicting, ["pipe", "pipe", "pipe"]);
    for (const n of [1, 2]) {
      child.stdin!.write(`Fine ${n}.\n`);
      // it would wait for ever if it waited for more lines
      while (said.out.split("\n").length - 1 < n) await new Promise((later) => setTimeout(later, 20));
    }
    child.kill("SIGINT");
    expect(await code).toBe(130);
    expect(answered(said.out).map(({ id }) => id)).toEqual(["stdin:1", "stdin:2"]);
    expect(said.err).toContain("SIGINT: stopping");
    expect(said.err).not.toContain("saving");
    expect(said.err).toContain("stopped before the end of the input");
  });

  test("one line of answers for each line of input: texts with braces, JSON with its columns, blank lines, lines that are no text", async () => {
    const lines = [
      Buffer.from("Fine.\n\n{not JSON} at all\n"),
      Buffer.from('{"text": "Good.", "id": 7, "more": [1]}\ncaf\xe9\n', "latin1"),
      Buffer.from('{"other": 1}\n\nLast.'),
    ];
    const { child, said, code } = start([...predicting, "--skip-bad-rows"], ["pipe", "pipe", "pipe"]);
    child.stdin!.end(Buffer.concat(lines));
    expect(await code).toBe(0);
    const found = answered(said.out);
    expect(found.map(({ id }) => id)).toEqual([
      "stdin:1",
      "stdin:2",
      "stdin:3",
      7,
      "stdin:5",
      "stdin:6",
      "stdin:7",
      "stdin:8",
    ]);
    expect(found.map(({ label, error }) => (label === null ? error.problem : "label"))).toEqual([
      "label",
      "this line is blank",
      "label",
      "label",
      "this line is not valid UTF-8",
      "column text is missing",
      "this line is blank",
      "label",
    ]);
    expect(found[3].input).toEqual({ text: "Good.", id: 7, more: [1] });
  });

  test("a line that cannot be used ends predict with 3, after the answers before it", async () => {
    const { child, said, code } = start(predicting, ["pipe", "pipe", "pipe"]);
    child.stdin!.end(Buffer.from("One.\nTwo.\ncaf\xe9\nFour.\n", "latin1"));
    expect(await code).toBe(3);
    expect(answered(said.out)).toHaveLength(2);
    expect(said.err).toMatch(/stdin:3: this line is not valid UTF-8/);
  });

  test("--lines jsonl refuses what is none", async () => {
    const { child, said, code } = start([...predicting, "--lines", "jsonl"], ["pipe", "pipe", "pipe"]);
    child.stdin!.end("{not JSON}\n");
    expect(await code).toBe(3);
    expect(said.err).toMatch(/stdin:1: this is not valid JSON/);
  });

  test("lines that a table held back, since they name no column, are written where an input ends it", async () => {
    const { child, said, code } = start(
      [...predicting, "--lines", "jsonl", "--output", "held.csv"],
      ["pipe", "pipe", "pipe"],
    );
    child.stdin!.end('\n\n{"other": 1}\n');
    expect(await code).toBe(3);
    expect(said.err).toContain("held.csv has the answers of 2 inputs before");
    expect(readFileSync(join(place, "held.csv"), "utf8").trim().split("\n")).toHaveLength(3);
  });

  test("answers go to --output; a file that cannot be written, or is the input, is refused before the model is opened", async () => {
    const { said, code } = start([...predicting, "Fine.", "--output", "there/answers.jsonl"]);
    expect(await code).toBe(0);
    expect(said.out).toBe("");
    expect(answered(readFileSync(join(place, "there/answers.jsonl"), "utf8"))).toHaveLength(1);
    const folder = start([...predicting, "Fine.", "--output", place, "--model", "none"]);
    expect(await folder.code).toBe(10);
    expect(folder.said.err).toMatch(/this is a folder, not a file/);
    const same = start([...predicting, "--file", "x.jsonl", "--output", "./x.jsonl"]);
    expect(await same.code).toBe(2);
    const late = start(["eval", "--model", "none", "--task", "quickstart", "--predictions", place]);
    expect(await late.code).toBe(10);
  });

  test("SIGHUP saves as SIGTERM does, and ends with 129; one that was switched off (nohup) does nothing", async () => {
    const hung = start(tuning("hung"));
    await steps("hung");
    hung.child.kill("SIGHUP");
    expect(await hung.code).toBe(129);
    expect(hung.said.err).toContain("SIGHUP: finishing this step and saving");
    expect(hung.said.out).toContain("train --resume hung");

    const child = spawn("sh", ["-c", `trap '' HUP; exec "$0" "$@"`, process.execPath, main, ...tuning("nohup")], {
      cwd: place,
      stdio: "ignore",
    });
    const code = new Promise((done) => child.on("close", done));
    await steps("nohup");
    if (process.platform === "linux") child.kill("SIGHUP");
    await new Promise((later) => setTimeout(later, 200));
    child.kill("SIGTERM");
    expect(await code).toBe(143);
  });
});
