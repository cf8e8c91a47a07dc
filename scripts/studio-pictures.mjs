/**
 * @file The studio's pictures in docs/pictures, taken of the real page in a headless Chromium ($CHROMIUM, else chromium of the path): a run,
 * and two runs beside each other. `npm run pictures:studio`. It trains the two first, on the quickstart's rows; a minute or two.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
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

try {
  const rows = join(root, "examples/quickstart");
  const data = ["--train", `${rows}/train.jsonl`, "--validation", `${rows}/validation.jsonl`, "--template", "{text}"];
  const job = ["--model", "t5-nano", ...data, "--label-column", "label", "--task", "reviews"];
  const steps = ["--steps", "120", "--eval-every", "10", "--batch-size", "8"];
  softprompt("train", ...job, ...steps, "--output", "runs/reviews");
  softprompt("train", ...job, ...steps, "--schedule", "fpt-cr", "--output", "runs/reviews-fpt");
  const { child, address } = await studio();
  for (const [name, { hash, height }] of Object.entries(pictures)) {
    const { status } = spawnSync(
      chromium,
      [
        ...[
          "--headless",
          "--no-sandbox",
          "--disable-gpu",
          "--hide-scrollbars",
          `--user-data-dir=${join(place, "profile")}`,
        ],
        ...[`--window-size=1280,${height}`, "--virtual-time-budget=6000"],
        `--screenshot=${join(root, "docs/pictures", `${name}.png`)}`,
        `${address}${hash}`,
      ],
      { stdio: "inherit", timeout: 120_000 },
    );
    if (status !== 0) throw new Error(`${chromium} ended with ${status}`);
  }
  child.kill("SIGINT");
} finally {
  rmSync(place, { recursive: true, force: true });
}
