/**
 * @file softprompt serve as a command: what it tells, how signals end it, and that its page says its limits as they are. Needs npm run build.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { flagName } from "../src/base/options.js";
import { serveOptions } from "../src/serve/options.js";
import { promptAdapter, saved } from "./helpers/serve.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const main = join(root, "dist/cli/main.js");
const place = mkdtempSync(join(tmpdir(), "softprompt-serve-"));
const plain = saved(promptAdapter(null, { tokens: 3, seed: 1 }), join(place, "plain"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

/** Starts the command and waits for its first line. */
async function start(...flags: string[]) {
  const argv = [main, "serve", "--model", "t5-nano", "--threads", "1", "--port", "0", "--json", ...flags];
  const child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "pipe"] });
  let [out, err] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    err += text;
  });
  const ended = once(child, "exit").then(([code]) => code as number);
  await expect.poll(() => out.includes("\n") || child.exitCode !== null, { timeout: 60_000 }).toBe(true);
  return { child, ended, first: JSON.parse(out.split("\n")[0]!), err: () => err };
}

const stream = ({ url, token }: { url: string; token: string }) =>
  fetch(`${url}/v1/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({
      model: "t5-nano:plain",
      prompt: Array(40).fill("a"),
      temperature: 2,
      max_tokens: 20_000,
      stream: true,
    }),
  });

describe.skipIf(!existsSync(main) || process.platform === "win32")("the command", () => {
  test("tells where it is, and ends with 0 where nothing was cut off", async () => {
    const { child, ended, first, err } = await start("--adapter", `plain=${plain}`);
    expect(first).toMatchObject({ models: ["t5-nano", "t5-nano:plain"], pid: child.pid });
    const { url, token } = first;
    expect(token).toMatch(/^[\w-]{43}$/);
    const models = await fetch(`${url}/v1/models`, { headers: { authorization: `Bearer ${token}` } });
    expect(models.status).toBe(200);
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
    expect(err()).toContain("SIGTERM: ending what runs");
  });

  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("%s while a text is written that may not end: %i", async (signal, code) => {
    const { child, ended, first, err } = await start(
      "--adapters",
      place,
      "--max-tokens",
      "20000",
      "--shutdown-timeout",
      "0",
    );
    const response = await stream(first);
    const text = response.text();
    child.kill(signal);
    expect(await ended).toBe(code);
    expect(err()).toMatch(/\d+ rows? (was|were) cut off/);
    expect(await text).toContain('"code":"stopping"');
  });

  test("a second signal does not wait", async () => {
    const { child, ended, first } = await start("--adapters", place, "--max-tokens", "20000");
    const response = await stream(first);
    void response.text().catch(() => {});
    child.kill("SIGINT");
    await expect.poll(async () => (await fetch(`${first.url}/health`).catch(() => null))?.status ?? 0).not.toBe(200);
    child.kill("SIGINT");
    expect(await ended).toBe(130);
  });

  test("a token of one's own is not shown, and a public address without one is refused", async () => {
    const file = join(place, "token.txt");
    writeFileSync(file, "0123456789abcdefghij\n");
    const { child, ended, first, err } = await start("--token-file", file);
    expect(first.token).toBeNull();
    expect(JSON.stringify(first) + err()).not.toContain("0123456789abcdefghij");
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
    expect(await refused("--host", "0.0.0.0")).toEqual([2, expect.stringContaining("--token-file")]);
  });
});

test("an adapter that cannot be served is named, and a folder that is not there is refused", async () => {
  const wide = saved(promptAdapter(null, { tokens: 3, seed: 2, width: 7 }), join(place, "wide"));
  const [code, told] = await refused("--adapter", `good=${plain}`, "--adapter", `wide=${wide}`);
  expect([code, told]).toEqual([5, expect.stringContaining(`adapter wide (${wide})`)]);
  const missing = join(place, "nope");
  expect(await refused("--adapters", missing)).toEqual([5, expect.stringContaining(missing)]);
});

/** Exit code and words of a server that does not start. */
async function refused(...flags: string[]): Promise<[number, string]> {
  const argv = [main, "serve", "--model", "t5-nano", ...flags];
  const child = spawn(process.execPath, argv, { stdio: ["ignore", "ignore", "pipe"] });
  let told = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    told += text;
  });
  return [(await once(child, "exit"))[0] as number, told];
}

test("docs/serve.md has the limits as they are", () => {
  const page = readFileSync(join(root, "docs/serve.md"), "utf8");
  const told = [...page.matchAll(/^\| [^|]+ \| `(--[\w-]+)` \| ([\d,]+)(?: KiB)? \|$/gm)].map(([, flag, value]) => [
    flag!,
    Number(value!.replace(",", "")),
  ]);
  expect(told).toHaveLength(7);
  const known = Object.fromEntries(
    Object.entries(serveOptions).map(([key, option]) => [flagName(key), option.default]),
  );
  for (const [flag, value] of told) expect([flag, known[flag!]]).toEqual([flag, value]);
});
