/**
 * @file The studio's pictures in docs/pictures, taken of the real page in a headless Chromium ($CHROMIUM, else chromium of the path): a run,
 * and two runs beside each other. `npm run pictures:studio`. It trains the two first, on the quickstart's rows; a minute or two.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const main = join(root, "dist/cli/main.js");
const chromium = process.env.CHROMIUM ?? "chromium";
const place = mkdtempSync(join(tmpdir(), "softprompt-studio-pictures-"));

/** Picture → the page's place and the window's height. */
const pictures = {
  "studio-run": { hash: "#/run?path=reviews", height: 1010 },
  "studio-compare": { hash: "#/compare?path=reviews&path=reviews-fpt", height: 1060 },
};

function softprompt(...args) {
  const { status } = spawnSync(process.execPath, [main, ...args], { cwd: place, stdio: "inherit" });
  if (status !== 0) throw new Error(`softprompt ${args[0]} ended with ${status}`);
}

/** Starts the studio. @returns its process and its first line */
async function studio() {
  const child = spawn(process.execPath, [main, "studio", "--port", "0", "--json"], {
    cwd: place,
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const text of child.stdout.setEncoding("utf8")) return { child, ...JSON.parse(text) };
  throw new Error("the studio did not start");
}

/** A Chromium spoken to over a pipe (the DevTools protocol). @returns a call of it, and its process */
function browser() {
  const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"];
  const child = spawn(chromium, [...flags, `--user-data-dir=${join(place, "profile")}`], {
    stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
  });
  const waiting = new Map();
  let [next, rest] = [1, ""];
  child.stdio[4].setEncoding("utf8").on("data", (text) => {
    const messages = (rest + text).split("\0");
    rest = messages.pop();
    for (const { id, result, error } of messages.map((message) => JSON.parse(message)))
      if (error) waiting.get(id)?.fail(new Error(error.message));
      else waiting.get(id)?.done(result);
  });
  const call = (method, params = {}, sessionId = undefined) =>
    new Promise((done, fail) => {
      const id = next++;
      waiting.set(id, { done, fail });
      setTimeout(() => fail(new Error(`${chromium} gave no answer to ${method}`)), 60_000).unref();
      child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  return { call, child };
}

/** Milliseconds until a page has asked for everything and drawn it. */
const untilDrawn = 4000;

try {
  const job = ["--model", "t5-nano", "--task", "quickstart", "--steps", "120", "--eval-every", "10"];
  softprompt("train", ...job, "--output", "runs/reviews");
  softprompt("train", ...job, "--schedule", "fpt-cr", "--output", "runs/reviews-fpt");
  const { child, address } = await studio();
  const { call, child: page } = browser();
  for (const [name, { hash, height }] of Object.entries(pictures)) {
    const { targetId } = await call("Target.createTarget", { url: `${address}${hash}`, width: 1280, height });
    const { sessionId } = await call("Target.attachToTarget", { targetId, flatten: true });
    const size = { width: 1280, height, deviceScaleFactor: 1, mobile: false };
    await call("Emulation.setDeviceMetricsOverride", size, sessionId);
    await new Promise((drawn) => setTimeout(drawn, untilDrawn));
    const { data: picture } = await call("Page.captureScreenshot", { format: "png" }, sessionId);
    writeFileSync(join(root, "docs/pictures", `${name}.png`), Buffer.from(picture, "base64"));
  }
  page.kill();
  child.kill("SIGINT");
} finally {
  rmSync(place, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}
